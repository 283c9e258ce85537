"""Atoms of a protein that are folded into one labelling: the hydrogens of CH3 and NH3+, the oxygens of COO-, the
sides of phenyl rings."""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jbg.coords import ZMatrix, ring_flips, rotor_candidates
from jbg.coords.rings import RingFlips
from jbg.runs import Run
from jbg.studies.molecule.energies import ENERGIES
from jbg.studies.molecule.options import EnergyChoice
from jbg.studies.molecule.stored import Built, StoredMolecule
from jbg.systems.exchange_symmetry import exchangeable

# kJ/mol: AMBER's improper torsions depend on the order of their atoms, which planar groups do not feel
NEARLY = 3.0


def host_energies(
    run: Run, molecule: StoredMolecule, energies: EnergyChoice
) -> Callable[[np.ndarray], np.ndarray]:
    """Compiled (n, atoms, 3) nm -> kJ/mol ``(n,)``, in single precision, which NEARLY leaves room for."""
    potential = ENERGIES[energies].potential(run, molecule.system_xml, molecule.positions)
    compiled = jax.jit(potential)
    return lambda x: np.asarray(compiled(jnp.asarray(x.reshape(len(x), -1).T, jnp.float32)))


def rotors_of(
    molecule: Built, zmatrix: ZMatrix, energies: Callable[[np.ndarray], np.ndarray]
) -> tuple[tuple[int, ...], ...]:
    """Groups of atoms turning about one bond that the force field tells apart by impropers at most."""
    same = lambda i, j: exchangeable(energies, molecule.positions, i, j, tolerance=NEARLY)
    groups = rotor_candidates(molecule.topology, zmatrix)
    return tuple(g for g in groups if all(same(i, j) for i, j in itertools.pairwise(g)))


def flips_of(
    molecule: Built, zmatrix: ZMatrix, energies: Callable[[np.ndarray], np.ndarray]
) -> RingFlips:
    """Rings whose two sides the force field tells apart by impropers at most."""
    flips = ring_flips(molecule.topology, zmatrix)

    def same(pairs: np.ndarray) -> bool:
        i, j = pairs[pairs[:, 0] >= 0].T
        return exchangeable(energies, molecule.positions, i, j, tolerance=NEARLY)

    kept = np.array([same(pairs) for pairs in flips.pairs], bool)
    return RingFlips(*(column[kept] for column in flips)) if flips.n else flips
