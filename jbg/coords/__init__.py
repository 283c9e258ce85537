"""Parameter-free bijectors between what a flow works in and Cartesian positions."""

from jbg.coords.backbone import backbone_torsions, chiral_centres, signed_volume
from jbg.coords.internal import internal, torsions_of
from jbg.coords.molecular import (
    CoordinateFit,
    MolecularCoordinates,
    coordinates_from_fit,
    fit_coordinates,
    molecular_coordinates,
)
from jbg.coords.torsions import rotor_candidates
from jbg.coords.zmatrix import ZMatrix, build_zmatrix

__all__ = [
    "CoordinateFit",
    "MolecularCoordinates",
    "ZMatrix",
    "backbone_torsions",
    "build_zmatrix",
    "chiral_centres",
    "coordinates_from_fit",
    "fit_coordinates",
    "internal",
    "molecular_coordinates",
    "rotor_candidates",
    "signed_volume",
    "torsions_of",
]
