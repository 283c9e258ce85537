"""Parameter-free bijectors between what a flow works in and Cartesian positions."""

from jbg.coords.backbone import backbone_torsions, chiral_centres, side_chain_centres, signed_volume
from jbg.coords.coordinate_fit import CoordinateFit, fit_coordinates
from jbg.coords.internal import internal, torsions_of
from jbg.coords.mixed import MixedCoordinates, mixed_from_fit
from jbg.coords.mixed_fit import MixedFit, fit_mixed, mixed_atoms
from jbg.coords.molecular import (
    MolecularCoordinates,
    coordinates_from_fit,
)
from jbg.coords.pca import (
    PrincipalComponents,
    Standardisation,
    fit_principal_components,
    fit_standardisation,
    principal_components,
    standardisation,
)
from jbg.coords.permutation import in_cell, relabel
from jbg.coords.reduced import ReducedCoordinates, reduced_from_fit
from jbg.coords.reduced_fit import ReducedFit, fit_reduced, refit_reduced
from jbg.coords.reduced_set import HEAVY, KIM, CoordinateSet, backbone_atoms
from jbg.coords.rings import ring_flips
from jbg.coords.torsions import rotor_candidates
from jbg.coords.zmatrix import ZMatrix, build_zmatrix, disulfides

__all__ = [
    "HEAVY",
    "KIM",
    "CoordinateFit",
    "CoordinateSet",
    "MixedCoordinates",
    "MixedFit",
    "MolecularCoordinates",
    "PrincipalComponents",
    "ReducedCoordinates",
    "ReducedFit",
    "Standardisation",
    "ZMatrix",
    "backbone_atoms",
    "backbone_torsions",
    "build_zmatrix",
    "chiral_centres",
    "coordinates_from_fit",
    "disulfides",
    "fit_coordinates",
    "fit_mixed",
    "fit_principal_components",
    "fit_reduced",
    "fit_standardisation",
    "in_cell",
    "internal",
    "mixed_atoms",
    "mixed_from_fit",
    "principal_components",
    "reduced_from_fit",
    "refit_reduced",
    "relabel",
    "ring_flips",
    "rotor_candidates",
    "side_chain_centres",
    "signed_volume",
    "standardisation",
    "torsions_of",
]
