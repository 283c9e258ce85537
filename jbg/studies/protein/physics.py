"""The densities of a protein's study: the Boltzmann density of all atoms, and the region around the structure."""

from collections.abc import Callable

import numpy as np

from jbg.coords import backbone_atoms
from jbg.coords.rmsd import make_rmsd
from jbg.interfaces import State, Target
from jbg.runs import Run
from jbg.studies.molecule.energies import ENERGIES
from jbg.studies.molecule.problem import system_of
from jbg.studies.molecule.stored import StoredMolecule
from jbg.studies.protein.options import ProteinOptions
from jbg.targets import make_target

PIECE = 2048  # configurations looked at at once


def target_of(run: Run, molecule: StoredMolecule, options: ProteinOptions) -> Target:
    """The reduced energy of positions, everywhere."""
    potential = ENERGIES[options.energies].potential(run, molecule.system_xml, molecule.positions)
    return make_target(system_of(molecule, potential), options.temperature)


def near_start(molecule: StoredMolecule, within: float) -> State | None:
    """Configurations whose backbone (N, CA, C) lies ``within`` nm RMSD of the minimised structure; None for 0."""
    if not within:
        return None
    atoms = np.array(sorted(backbone_atoms(molecule.topology)), int)
    rmsd = make_rmsd(molecule.positions, atoms)
    return State(
        name="native",
        contains=lambda x: rmsd(x) <= within,
        definition=f"backbone RMSD at most {within:g} nm from the structure given, minimised",
    )


def inside_of(native: State) -> Callable[[np.ndarray], np.ndarray]:
    """Whether configurations ``(n, dim)`` lie in the state, ``(n,)`` bool, in pieces of one size."""

    def inside(x: np.ndarray) -> np.ndarray:
        n, size = len(x), min(len(x), PIECE)
        pieces = (np.resize(x[i : i + size], (size, x.shape[1])) for i in range(0, n, max(size, 1)))
        found = [np.asarray(native.contains(piece.T)) for piece in pieces]
        return np.concatenate([*found, np.zeros(0, bool)])[:n]

    return inside
