"""Monte-Carlo moves that turn one part of a molecule about a bond by any angle.

Dynamics crosses a torsional barrier once in nanoseconds; a random rotation tries the far side at
once. Turning the atoms on one side of a bond rigidly about it keeps volume and leaves the bond
where it is, so proposing a uniform angle is symmetric, and the Metropolis rule with the energy
alone is exact.
"""

from typing import NamedTuple

import numpy as np

from jbg.coords.zmatrix import bonded_neighbours
from jbg.interfaces import Topology


class RotatableBond(NamedTuple):
    """Atoms ``axis`` = (fixed end, turned end), and the atoms beyond the latter, which move."""

    axis: tuple[int, int]
    moved: np.ndarray


def rotatable_bonds(topology: Topology) -> tuple[RotatableBond, ...]:
    """Every bond outside rings with at least one more atom on each side; the smaller side moves."""
    neighbours = bonded_neighbours(topology)
    bonds = []
    for i, j in topology.bonds.tolist():
        beyond_j = _side(neighbours, start=j, without=i)
        if i in beyond_j:
            continue  # a ring closes behind it
        beyond_i = _side(neighbours, start=i, without=j)
        fixed, end, moved = (i, j, beyond_j) if len(beyond_j) <= len(beyond_i) else (j, i, beyond_i)
        if len(moved) > 1 and min(len(beyond_i), len(beyond_j)) > 1:
            bonds.append(RotatableBond((fixed, end), np.array(sorted(moved - {end}))))
    return tuple(bonds)


def rotate(x: np.ndarray, bonds: tuple[RotatableBond, ...], chosen: np.ndarray, angles: np.ndarray):
    """Turn configuration b about bond ``chosen[b]`` by ``angles[b]`` (Rodrigues' formula).

    Args:
        x: (B, atoms, 3).
        bonds: from :func:`rotatable_bonds`.
        chosen: (B,) indices into ``bonds``.
        angles: (B,) radians.

    Returns:
        A new array (B, atoms, 3).
    """
    x = x.copy()
    for k in np.unique(chosen):
        rows = np.flatnonzero(chosen == k)
        (fixed, end), moved = bonds[k]
        origin = x[rows, None, end]
        axis = origin - x[rows, None, fixed]
        axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
        arm = x[rows[:, None], moved] - origin
        cos, sin = np.cos(angles[rows, None, None]), np.sin(angles[rows, None, None])
        along = axis * (axis * arm).sum(-1, keepdims=True)
        x[rows[:, None], moved] = origin + along + cos * (arm - along) + sin * np.cross(axis, arm)
    return x


def _side(neighbours: list[list[int]], *, start: int, without: int) -> set[int]:
    """Atoms reached from ``start`` when the bond from it to ``without`` is cut."""
    seen, todo = {start}, [start]
    while todo:
        atom = todo.pop()
        for other in neighbours[atom]:
            if other not in seen and (atom, other) != (start, without):
                seen.add(other)
                todo.append(other)
    return seen
