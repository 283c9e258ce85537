"""The coordinates of a run, fitted to its data, and what these remember of their start."""

from collections.abc import Sequence

from jbg.coords import build_zmatrix, coordinates_from_fit, fit_coordinates
from jbg.runs import Run
from jbg.simulation.torsion_rotation import RotatableBond
from jbg.studies.dataset import LEARN, Dataset
from jbg.studies.molecule.files import COORDINATES, DOMAIN
from jbg.studies.molecule.reference import BIASED, Memory, memory, start_sides
from jbg.studies.molecule.states import backbone_bonds
from jbg.studies.molecule.stored import StoredMolecule, symmetric_rotors


def fit_in(
    run: Run, molecule: StoredMolecule, bonds: Sequence[RotatableBond], data: Dataset
) -> None:
    """Write the coordinates, which frames lie in their domain, and how many of these remember their start.

    Args:
        run: where to.
        molecule: that the frames are of.
        bonds: its rotatable ones.
        data: of the run.
    """
    topology = molecule.topology
    zmatrix = build_zmatrix(topology, molecule.positions)
    frames = data.x.reshape(len(data.x), -1, 3)
    fit = fit_coordinates(
        zmatrix,
        frames,
        rotors=symmetric_rotors(molecule, zmatrix),
        ladder=data.chain,
        fitted=data.role == LEARN,
        soft_bonds=backbone_bonds(topology, bonds),
    )
    inside = coordinates_from_fit(topology, fit).in_domain(frames)
    remembered = Memory(0, BIASED)
    if not data.weighted:
        remembered = memory(topology, data, inside, start_sides(run))
    run.save_arrays(DOMAIN, inside=inside, **remembered._asdict())
    run.save_arrays(COORDINATES, **fit._asdict())
