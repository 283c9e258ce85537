"""Frames as they were before a file rounded them, with the bonds that a simulation held rigid drawn anew.

A rounded position is known to lie in a cell about what was written, and p(x | cell) is the target within it. A
rigid bond X-H, H bonded to nothing else, is a value of r alone: given everything else its density is proportional
to r^2 exp(-u), and u is nearly k/2 (r - r0)^2 / kT. Both are drawn by independence Metropolis: uniform in the
cells, and from the harmonic bond, accepted with the energy of the whole molecule. Frames of the target in
equilibrium, rounded and restored, are frames of the target again. What a constraint did to other coordinates
remains.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

RIGID = 0.3  # of its thermal width, below which the spread of a bond is that of a constraint
RIGID_ANGLE = 0.02  # rad, likewise; thermal ones spread by about 0.1
MIN_FRAMES = 20  # that show a spread
MOVED = 12.0  # atoms and bonds moved at once, about
RENEWALS = 10  # times each is moved
MOST = 20_000_000  # coordinates in memory at once


class Lost(NamedTuple):
    """What frames do not tell: positions finer than ``precision`` in nm (0: they do), and the length of each of
    the ``bonds (m, 2)``, X before H; of these the harmonic ``length (m,)`` in nm and ``k (m,)`` in kT/nm^2."""

    precision: float
    bonds: np.ndarray
    length: np.ndarray
    k: np.ndarray

    @property
    def nothing(self) -> bool:
        return not (self.precision or len(self.bonds))


class Restored(NamedTuple):
    """Frames ``(n, atoms, 3)`` with their reduced energies ``(n,)``, accepted share of all moves, and energies
    spent."""

    x: np.ndarray
    u: np.ndarray
    accepted: float
    evaluations: int


def rigid_bonds(x: np.ndarray, pairs: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Which bonds vary far less than thermal ones, ``(m,)`` bool.

    Args:
        x: frames ``(n, atoms, 3)``, nm.
        pairs: atoms ``(m, 2)``.
        k: force constants ``(m,)``, kT/nm^2.
    """
    if len(x) < MIN_FRAMES or not len(pairs):
        return np.zeros(len(pairs), bool)
    spread = np.linalg.norm(x[:, pairs[:, 0]] - x[:, pairs[:, 1]], axis=-1).std(axis=0)
    return spread < RIGID / np.sqrt(k)


def rigid_angles(x: np.ndarray, triples: np.ndarray) -> np.ndarray:
    """Which angles i-j-k, ``(m, 3)`` atoms, vary far less than thermal ones, ``(m,)`` bool."""
    if len(x) < MIN_FRAMES or not len(triples):
        return np.zeros(len(triples), bool)
    arms = [x[:, triples[:, k]] - x[:, triples[:, 1]] for k in (0, 2)]
    a, b = (arm / np.linalg.norm(arm, axis=-1, keepdims=True) for arm in arms)
    return np.arccos(np.clip(np.sum(a * b, axis=-1), -1, 1)).std(axis=0) < RIGID_ANGLE


def sweeps_of(lost: Lost, n_atoms: int) -> int:
    """How many moves each frame gets."""
    return 0 if lost.nothing else math.ceil(RENEWALS / _share(lost, n_atoms))


def most_sweeps(n_atoms: int) -> int:
    """How many moves a frame of so many atoms gets at most."""
    return math.ceil(RENEWALS / min(1.0, MOVED / n_atoms))


def restore(
    reduced_energy: Callable[[np.ndarray], np.ndarray], x: np.ndarray, lost: Lost, *, seed: int
) -> Restored:
    """Frames in which what was lost is drawn given the rest.

    Args:
        reduced_energy: of frames ``(n, atoms, 3)`` in nm, ``(n,)`` in kT.
        x: frames as read.
        lost: what they do not tell.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    at_once = max(1, MOST // x[0].size)
    parts = [
        _restored(reduced_energy, np.asarray(x[i : i + at_once], np.float64), lost, rng)
        for i in range(0, len(x), at_once)
    ]
    n = len(x) * (1 + sweeps_of(lost, x.shape[1]))
    accepted = float(np.average([p.accepted for p in parts], weights=[len(p.u) for p in parts]))
    restored, u = (np.concatenate([p[k] for p in parts]) for k in (0, 1))
    return Restored(restored, u, accepted, n)


def _restored(
    reduced_energy: Callable[[np.ndarray], np.ndarray],
    given: np.ndarray,
    lost: Lost,
    rng: np.random.Generator,
) -> Restored:
    n, n_atoms = given.shape[:2]
    if lost.nothing:
        return Restored(given, reduced_energy(given), 1.0, n)
    share, sweeps = _share(lost, n_atoms), sweeps_of(lost, n_atoms)
    offset, r = np.zeros_like(given), _draw_lengths(rng, lost, n)
    at = _placed(given, offset, r, lost)
    u, accepted = reduced_energy(at), 0
    for _ in range(sweeps):
        moved = rng.random((n, n_atoms)) < share
        new_offset = np.where(moved[..., None], _draw_offsets(rng, lost, given.shape), offset)
        new_r = np.where(rng.random(r.shape) < share, _draw_lengths(rng, lost, n), r)
        new_at = _placed(given, new_offset, new_r, lost)
        new_u = reduced_energy(new_at)
        rise = new_u - _log_drawn(new_r, lost) - u + _log_drawn(r, lost)
        # a frame without a finite energy takes whatever has one
        taken = np.log(rng.random(n)) < np.where(np.isfinite(u), -rise, np.inf)
        taken &= np.isfinite(new_u)
        accepted += int(taken.sum())
        pick = lambda new, old, taken=taken: np.where(
            taken.reshape(-1, *[1] * (new.ndim - 1)), new, old
        )
        offset, r, at, u = (
            pick(*pair) for pair in ((new_offset, offset), (new_r, r), (new_at, at), (new_u, u))
        )
    return Restored(at, u, accepted / (n * sweeps), n * (sweeps + 1))


def _share(lost: Lost, n_atoms: int) -> float:
    """Of atoms and bonds, that one move changes."""
    n = len(lost.bonds) + (n_atoms - len(lost.bonds) if lost.precision else 0)
    return min(1.0, MOVED / n)


def _draw_offsets(rng: np.random.Generator, lost: Lost, shape: tuple[int, ...]) -> np.ndarray:
    half = 0.5 * lost.precision
    found = rng.uniform(-half, half, shape)
    found[:, lost.bonds[:, 1]] = 0.0  # these ride on their bonds
    return found


def _draw_lengths(rng: np.random.Generator, lost: Lost, n: int) -> np.ndarray:
    return lost.length + rng.standard_normal((n, len(lost.length))) / np.sqrt(lost.k)


def _log_drawn(r: np.ndarray, lost: Lost) -> np.ndarray:
    """ln of r^2 over the density that lengths are drawn from, summed over the bonds."""
    return np.sum(2 * np.log(np.abs(r)) + 0.5 * lost.k * (r - lost.length) ** 2, axis=1)


def _placed(given: np.ndarray, offset: np.ndarray, r: np.ndarray, lost: Lost) -> np.ndarray:
    """Frames with their offsets, the hydrogens of rigid bonds at the distance r in the direction as given."""
    x = given + offset
    if len(lost.bonds):
        heavy, light = lost.bonds.T
        along = given[:, light] - given[:, heavy]
        along /= np.linalg.norm(along, axis=-1, keepdims=True)
        x[:, light] = x[:, heavy] + r[..., None] * along
    return x
