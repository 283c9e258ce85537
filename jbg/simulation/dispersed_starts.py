"""Where independent ladders start: on both sides of each torsion that defines states.

Ladders that share a start share what they have not forgotten of it, and no comparison between them
shows that. Here half of them start with each torsion turned to its other side; what the two halves
say can then be compared (`analysis.equilibration`). Turned structures are relaxed by steepest
descent, which leaves nothing worse than burn-in can heat away.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jbg.simulation.torsion_rotation import RotatableBond, rotate

N_ANGLES = 24  # that a torsion is turned by in search of a minimum on the other side
ITERATIONS = 300  # of steepest descent
FIRST_STEP = 0.002  # nm, of the atom that moves furthest
ROOM = 7.5  # kJ/mol per atom above the given structure that a start may have: 3 kT at 300 K


class TorsionSides(NamedTuple):
    """A torsion with two sides: its bond, and ``side``, flat positions ``(3 atoms, n)`` -> ``(n,)`` bool."""

    bond: RotatableBond
    side: Callable[[np.ndarray], np.ndarray]


class DispersedStarts(NamedTuple):
    """``positions (ladders, atoms, 3)`` nm, the ``sides (torsions, ladders)`` bool on which they lie, and how
    many energies they cost."""

    positions: np.ndarray
    sides: np.ndarray
    evaluations: int


def dispersed_starts(
    energies_and_forces: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    start: np.ndarray,
    torsions: Sequence[TorsionSides],
    *,
    n_ladders: int,
    batch: int,
) -> DispersedStarts:
    """A starting structure for each ladder; see `balanced_sides` for which torsions are turned.

    A torsion is turned rigidly to the lowest minimum on its other side. Where none has a finite energy, or
    relaxing leaves a structure ROOM above the given one, a ladder starts from the given one.

    Args:
        energies_and_forces: ``(B, atoms, 3)`` nm -> kJ/mol ``(B,)``, kJ/mol/nm, of a pool.
        start: ``(atoms, 3)``, at or near a minimum.
        torsions: with two sides each.
        n_ladders: structures asked for.
        batch: configurations handed over at once, always as many, so that one program is compiled.

    Returns:
        Structures with the sides that they are on in truth, after relaxing.
    """
    start = np.asarray(start, float)
    evaluate = _Batched(energies_and_forces, batch)
    x = np.broadcast_to(start, (n_ladders, *start.shape)).copy()
    turned = balanced_sides(len(torsions), n_ladders)
    for torsion, rows in zip(torsions, turned, strict=True):
        if not rows.any():  # of a single ladder
            continue
        x[rows] = _turn(evaluate, x[rows], torsion)
    moved = turned.any(axis=0)
    if moved.any():
        highest = evaluate(start[None])[0][0] + ROOM * len(start)
        relaxed, energy = _relax(evaluate, x[moved])
        sound = np.isfinite(energy) & (energy <= highest)
        x[moved] = np.where(sound[:, None, None], relaxed, start)
    sides = [np.asarray(torsion.side(x.reshape(n_ladders, -1).T), bool) for torsion in torsions]
    return DispersedStarts(
        x, np.array(sides, bool).reshape(len(torsions), n_ladders), evaluate.evaluations
    )


def balanced_sides(n_torsions: int, n_ladders: int) -> np.ndarray:
    """Which torsions each ladder starts with turned, ``(torsions, ladders)`` bool.

    Ladder 0 has none turned, and ladder 2 m + 1 has those turned that ladder 2 m has not: each block of ladders
    that begins at an even one and has an even number has every torsion turned in exactly half. Ladders of the
    same parity differ in their combinations (rows of a Hadamard matrix), as far as their number allows.
    """
    n_patterns = max(1, 2 ** (max(n_ladders - 1, 1).bit_length() - 1))
    patterns = 2 * (np.arange(n_torsions) % n_patterns) + 1
    shared = np.bitwise_count(patterns[:, None] & np.arange(n_ladders))
    return shared % 2 == 1


def _turn(evaluate: "_Batched", x: np.ndarray, torsion: TorsionSides) -> np.ndarray:
    """``x (n, atoms, 3)`` with one torsion on its other side, where that has a finite energy."""
    n = len(x)
    angles = 2 * np.pi * np.arange(N_ANGLES) / N_ANGLES
    tried = np.repeat(x, N_ANGLES, axis=0)
    tried = rotate(tried, (torsion.bond,), np.zeros(len(tried), int), np.tile(angles, n))
    side = torsion.side(tried.reshape(len(tried), -1).T).reshape(n, N_ANGLES)
    energy = evaluate(tried)[0].reshape(n, N_ANGLES)
    energy = np.where(np.isfinite(energy), energy, np.inf)
    tried = tried.reshape(n, N_ANGLES, *x.shape[1:])
    found = x.copy()
    for row in range(n):
        k = _best(energy[row], side[row] != side[row, 0])
        if k is not None:
            found[row] = tried[row, k]
    return found


def _best(energy: np.ndarray, other: np.ndarray) -> int | None:
    """The lowest minimum of a scan round the circle on the ``other`` side, not its edge, from where relaxing
    would lead back; without a minimum, the angle furthest from the edge."""
    possible = other & np.isfinite(energy)
    if not possible.any():
        return None
    lowest = possible & (energy <= np.roll(energy, 1)) & (energy <= np.roll(energy, -1))
    if lowest.any():
        return int(np.argmin(np.where(lowest, energy, np.inf)))
    apart = np.abs(np.subtract.outer(np.arange(len(energy)), np.flatnonzero(~other)))
    depth = np.minimum(apart, len(energy) - apart).min(axis=1)
    return int(np.argmax(np.where(possible, depth, -1)))


def _relax(evaluate: "_Batched", x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steepest descent with a step length for each of ``x (n, atoms, 3)``; positions and energies."""
    energy, force = evaluate(x)
    step = np.full(len(x), FIRST_STEP)
    for _ in range(ITERATIONS):
        longest = np.linalg.norm(force, axis=-1).max(axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            tried = x + np.nan_to_num((step / longest)[:, None, None] * force)
        new_energy, new_force = evaluate(tried)
        lower = (new_energy < energy)[:, None, None]
        x, force = np.where(lower, tried, x), np.where(lower, new_force, force)
        energy = np.where(lower[:, 0, 0], new_energy, energy)
        step *= np.where(lower[:, 0, 0], 1.2, 0.4)
    return x, energy


class _Batched:
    """Energies and forces in batches of one size, counted."""

    def __init__(self, energies_and_forces, batch: int):
        self.call, self.batch, self.evaluations = energies_and_forces, batch, 0

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = []
        for i in range(0, len(x), self.batch):
            rows = np.minimum(np.arange(i, i + self.batch), len(x) - 1)
            parts.append(self.call(x[rows]))
            self.evaluations += self.batch
        energy, force = (np.concatenate(part)[: len(x)] for part in zip(*parts, strict=True))
        return energy, force
