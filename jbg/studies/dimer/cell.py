"""One labelling of the dimer's identical particles: its left particle first, the discs as the lattice sites that
they are nearest to in all (`coords.relabel`)."""

import numpy as np

from jbg import coords
from jbg.studies.problem import Symmetry
from jbg.systems.dimer import lattice, symmetries


def one_labelling(x: np.ndarray) -> np.ndarray:
    """x ``(n, 76)`` with the dimer's left particle first and the discs labelled as their lattice sites are."""
    x = np.array(x, np.float32)
    turned = x[:, 0] > x[:, 2]
    x[turned, :4] = x[turned][:, [2, 3, 0, 1]]
    return coords.relabel(x, lattice(36, 1.5), np.arange(2, 38)).astype(np.float32)


def in_cell(x: np.ndarray) -> np.ndarray:
    """Whether x ``(n, 76)`` is labelled as `one_labelling` does."""
    x = np.asarray(x)
    return (x[:, 0] <= x[:, 2]) & coords.in_cell(x, lattice(36, 1.5), np.arange(2, 38))


def symmetry() -> Symmetry:
    """The symmetries of the box, and the one labelling that the target is restricted to."""
    return Symmetry(symmetries(), in_cell)
