"""Which atoms a force field cannot tell apart, such as the hydrogens of a methyl group.

Not the oxygens of a carboxylate: AMBER's improper torsions depend on the order of their atoms.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

_N_FRAMES = 4
_DISTORTION = 0.005  # nm; enough to tell any two atoms apart, small enough for finite energies


def exchangeable(
    energies: Callable[[np.ndarray], np.ndarray],
    positions: np.ndarray,
    i: ArrayLike,
    j: ArrayLike,
    *,
    tolerance: float = 1e-4,
) -> bool:
    """Whether swapping the places of atoms i and j leaves the energy as it was.

    Tried on a few randomly distorted copies of ``positions``: equal to 1e-6 relative or ``tolerance``.

    Args:
        energies: (B, atoms, 3) nm -> (B,) kJ/mol, in double precision: ``ContextPool(..., platform=
            "Reference").energies``. In single precision rounding may hide a symmetry.
        positions: (atoms, 3) nm, a sane structure.
        i, j: atom numbers, or as many of each, which are swapped together.
        tolerance: kJ/mol. 3 kJ/mol let pass what differs by the order of atoms in an improper torsion alone:
            carboxylates, distorted as they are here, differ by up to 1.5, phenyl rings by tenths; other atoms by
            hundreds.
    """
    positions = np.asarray(positions, float)
    noise = np.random.default_rng(0).normal(size=(_N_FRAMES, *positions.shape))
    frames = positions + _DISTORTION * noise
    swapped = frames.copy()
    first, second = np.atleast_1d(i), np.atleast_1d(j)
    swapped[:, first], swapped[:, second] = frames[:, second], frames[:, first]
    before, after = np.split(energies(np.concatenate([frames, swapped])), 2)
    return bool(np.allclose(before, after, rtol=1e-6, atol=tolerance))
