"""Bonds, angles and torsions of generated frames, one by one, against those of a simulation.

The Kolmogorov distance of bonds and angles is the largest difference of the two cumulative distributions, and in
[0, 1]. For torsions, which have no first value, it is Kuiper's: the largest difference plus the largest the other
way, the same wherever the circle is cut. Beside each stands its floor, what some chains of the simulation show
against the others: correlated frames differ by more than as many independent ones. Host code, float64.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jbg.analysis.leave_one_out import halves_of_chains
from jbg.coords import torsions_of
from jbg.coords.zmatrix import bonded_neighbours
from jbg.interfaces import ConfigError, Topology

KINDS = ("bonds", "angles", "torsions")
CHUNK = 2**22  # values measured at once


class BondedTerms(NamedTuple):
    """Which atoms make the bonds ``(b, 2)``, angles ``(a, 3)`` and torsions ``(t, 4)`` of a molecule."""

    bonds: np.ndarray
    angles: np.ndarray
    torsions: np.ndarray


class GeometryDistance(NamedTuple):
    """Of each bond, angle or torsion ``(m,)``: distance from the reference, and the mean of that between halves of
    its chains, of which a perfect model may show half."""

    distance: np.ndarray
    floor: np.ndarray


def bonded_terms(topology: Topology) -> BondedTerms:
    """Every bond, every pair of bonds at one atom, and every chain of three bonds between four atoms."""
    near = bonded_neighbours(topology)
    bonds = [(i, j) for i, others in enumerate(near) for j in sorted(others) if i < j]
    angles = [(i, j, k) for j, others in enumerate(near) for i in others for k in others if i < k]
    torsions = [
        (i, j, k, m)
        for j, k in bonds
        for i in sorted(near[j])
        for m in sorted(near[k])
        if len({i, j, k, m}) == 4
    ]
    found = (
        np.array(rows, int).reshape(-1, n) for n, rows in enumerate((bonds, angles, torsions), 2)
    )
    return BondedTerms(*found)


def measured(frames: ArrayLike, atoms: ArrayLike) -> np.ndarray:
    """Bonds (nm), angles or torsions (radians) of frames ``(n, atoms, 3)``: ``(n, m)`` for ``atoms`` ``(m, 2)``,
    ``(m, 3)`` or ``(m, 4)``."""
    x, rows = np.asarray(frames), np.asarray(atoms, int)
    n, step = len(x), max(1, CHUNK // max(1, len(rows)))
    of = {2: _lengths, 3: _angles, 4: _torsions}[rows.shape[1]]
    parts = [of(x[i : i + step].astype(np.float64), rows) for i in range(0, n, step)]
    return np.concatenate([*parts, np.zeros((0, len(rows)))])


def geometry_distance(
    generated: ArrayLike,
    data: ArrayLike,
    chain: ArrayLike,
    atoms: ArrayLike,
    *,
    repeats: int = 4,
    seed: int = 0,
) -> GeometryDistance:
    """Kolmogorov distance (Kuiper's of torsions) of each bond, angle or torsion.

    Args:
        generated: frames ``(n, atoms, 3)``, nm.
        data: frames ``(k, atoms, 3)`` of chains, nm; exchangeable atoms named as in ``generated``.
        chain: label of each of these ``(k,)``.
        atoms: ``(m, 2)``, ``(m, 3)`` or ``(m, 4)``, from `bonded_terms`.
        repeats: splits of the chains that the floor is the mean of.
        seed: of these.

    Raises:
        ConfigError: no frames of either kind, of different molecules, or a single chain.
    """
    generated, data = np.asarray(generated), np.asarray(data)
    if not (len(generated) and len(data)) or generated.shape[1:] != data.shape[1:]:
        raise ConfigError(
            "geometry: expected generated and simulated frames of one molecule, got "
            f"{generated.shape} and {data.shape}"
        )
    halves = halves_of_chains(chain, len(data), repeats, seed)
    distance = kuiper if np.shape(atoms)[1] == 4 else kolmogorov
    own, known = measured(generated, atoms), measured(data, atoms)
    floors = [distance(known[a], known[b]) for a, b in halves]
    return GeometryDistance(distance(own, known), np.mean(floors, axis=0))


def kolmogorov(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """max_x |F_a(x) - F_b(x)| of the columns of a ``(n, m)`` and b ``(k, m)``: ``(m,)``."""
    above, below = _differences(np.asarray(a), np.asarray(b))
    return np.maximum(above, below)


def kuiper(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """max_x (F_a - F_b) + max_x (F_b - F_a) of the columns (Kuiper 1960), for angles: ``(m,)``."""
    above, below = _differences(np.asarray(a), np.asarray(b))
    return above + below


def _differences(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """max (F_a - F_b) and max (F_b - F_a) of each column, neither below 0."""
    found = np.zeros((2, a.shape[1]))
    for column in range(a.shape[1]):
        first, second = np.sort(a[:, column]), np.sort(b[:, column])
        at = np.concatenate([first, second])
        shares = [np.searchsorted(each, at, side="right") / len(each) for each in (first, second)]
        off = shares[0] - shares[1]
        found[:, column] = max(off.max(), 0.0), max(-off.min(), 0.0)
    return found[0], found[1]


def _lengths(x: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    return np.linalg.norm(x[:, pairs[:, 0]] - x[:, pairs[:, 1]], axis=-1)


def _angles(x: np.ndarray, triples: np.ndarray) -> np.ndarray:
    u, w = (x[:, triples[:, i]] - x[:, triples[:, 1]] for i in (0, 2))
    # the angle whose sine and cosine these are: exact for straight angles too
    return np.arctan2(np.linalg.norm(np.cross(u, w), axis=-1), np.sum(u * w, axis=-1))


def _torsions(x: np.ndarray, quads: np.ndarray) -> np.ndarray:
    return np.asarray(torsions_of(jnp.asarray(x.reshape(len(x), -1).T), quads), np.float64).T
