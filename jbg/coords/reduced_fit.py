"""Reduced coordinates fitted to frames: label cells, where circles are cut, means of what is fixed, whitening.

Order matters: exchangeable atoms are relabelled first, then everything is measured and averaged. Without the
relabelling the mean of a methyl's or a phenyl's coordinates is no structure at all.
"""

from typing import NamedTuple

import jax
import numpy as np

from jbg.coords.coordinate_fit import (
    STIFF_HALF_WIDTH,
    apply_in_chunks,
    check_frames,
    coordinate_atoms,
    in_positive_order,
    padded_groups,
)
from jbg.coords.internal import internal
from jbg.coords.reduced_set import KIM, CoordinateSet, Kept, kept_coordinates
from jbg.coords.rings import RingFlips, fold_flips
from jbg.coords.torsions import (
    Rotors,
    TorsionCells,
    rotor_torsions,
    sibling_leads,
    torsion_variables,
)
from jbg.coords.whitening import Whitening, fit_whitening, standardised
from jbg.coords.zmatrix import ZMatrix
from jbg.interfaces import Topology

# without a frame, from which on a torsion is cut there and lies on the line
EMPTY_ARC = np.deg2rad(100.0)
NO_FLIPS = RingFlips(np.zeros(0, int), np.zeros((0, 4), int), np.zeros((0, 0, 2), int))


class ReducedFit(NamedTuple):
    """All that defines reduced coordinates, as plain arrays: ``np.savez(file, **fit._asdict())``.

    The d kept coordinates come in the order of v, [circular | line], and in each of the two those of the backbone
    first.
    """

    order: np.ndarray  # the Z-matrix, see ZMatrix
    bond: np.ndarray
    angle: np.ndarray
    torsion: np.ndarray
    rotors: np.ndarray  # (rotors, largest) atoms, padded with -1
    flip_lead: np.ndarray  # see RingFlips
    flip_quads: np.ndarray
    flip_pairs: np.ndarray
    centre: np.ndarray  # (N-3,) of the torsion variables, opposite their cuts; see TorsionCells
    fixed: np.ndarray  # (3N-6,) means of all cell variables
    kept: np.ndarray  # (d,) places among the 3N-6
    kind: np.ndarray  # (d,) of reduced_set.KINDS
    residue: np.ndarray  # (d,)
    backbone: np.ndarray  # (d,) bool
    half_width: np.ndarray  # (d,) of the cell of each; inf for angles
    orders: np.ndarray  # from here on see Whitening; its circular variables are the first of the d
    mean: np.ndarray
    coefficients: np.ndarray
    factor: np.ndarray

    @property
    def zmatrix(self) -> ZMatrix:
        return ZMatrix(self.order, self.bond, self.angle, self.torsion)

    @property
    def rotor_groups(self) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(int(i) for i in row if i >= 0) for row in self.rotors)

    @property
    def flips(self) -> RingFlips:
        return RingFlips(self.flip_lead, self.flip_quads, self.flip_pairs)

    @property
    def n_linear(self) -> int:
        return len(self.mean)

    @property
    def n_circular(self) -> int:
        return len(self.kept) - len(self.mean)

    @property
    def whitening(self) -> Whitening:
        places = np.arange(len(self.kept))
        soft, stiff = places[: self.n_circular], places[self.n_circular :]
        return Whitening(soft, stiff, self.orders, self.mean, self.coefficients, self.factor)


def fit_reduced(
    topology: Topology,
    zmatrix: ZMatrix,
    frames: np.ndarray,
    *,
    which: CoordinateSet = KIM,
    rotors: Rotors = (),
    flips: RingFlips = NO_FLIPS,
    whiten: bool = True,
) -> ReducedFit:
    """Which coordinates are circles, where the others are cut, the means of those fixed, and a whitening.

    A torsion is circular where frames leave no arc of 100 degrees empty; else it is cut in the middle of its
    largest empty arc and lies on the line.

    Args:
        topology: of the molecule.
        zmatrix: from ``build_zmatrix``, best with disulfides closing.
        frames: ``(n, atoms, 3)``, nm, chain by chain in order of time.
        which: the coordinates that are kept.
        rotors: groups of exchangeable atoms that turn about one bond.
        flips: rings of two equal sides.
        whiten: variables on the line are whitened given the circular ones; else each is standardised by itself.

    Raises:
        ConfigError: bad frames, fewer than 10, or a kept coordinate that does not move.
    """
    frames, n = np.asarray(frames), zmatrix.n_atoms
    check_frames(frames, n)
    x = np.ascontiguousarray(frames.reshape(len(frames), -1).T)
    compiled = jax.jit(internal(zmatrix).inverse)
    measure = lambda x: apply_in_chunks(compiled, x)[0]
    y, start = measure(x), 2 * n - 3
    folds = np.array([_cut(2 * y[start + t])[0] / 2 for t in flips.lead])
    if flips.n:
        folded = jax.jit(lambda _, x: (fold_flips(x, flips, folds), x[0]))
        x = apply_in_chunks(folded, x)[0]
        y = measure(x)
    rotors = in_positive_order(zmatrix, rotors, y[start:])
    kept = kept_coordinates(topology, zmatrix, rotors, which)
    cells = _cells(zmatrix, rotors, y, dict(zip(flips.lead.tolist(), folds, strict=True)))
    s = _variables(zmatrix, rotors, cells, y)
    s[start + flips.lead] *= 2  # the whole circle stands for half a turn
    ordered, n_circular, half_width = _arranged(zmatrix, rotors, kept, s)
    values = s[ordered.index]
    near_soft, near = _neighbourhoods(zmatrix, rotors, ordered.index, n_circular)
    fit = fit_whitening if whiten else standardised
    white = fit(values, np.arange(n_circular), near_soft, near)
    return ReducedFit(
        *zmatrix,
        padded_groups(rotors),
        *flips,
        cells.centre,
        s.mean(1),
        ordered.index,
        ordered.kind,
        ordered.residue,
        ordered.backbone,
        half_width,
        white.orders,
        white.mean,
        white.coefficients,
        white.factor,
    )


def refit_reduced(fit: ReducedFit, frames: np.ndarray, *, whiten: bool = True) -> ReducedFit:
    """The same slice with circles, cuts and whitening of other frames, such as those of chains on it.

    What is fixed and the label cells of exchangeable atoms stay, and with them the slice, bit by bit.

    Args:
        fit: of the slice.
        frames: ``(n, atoms, 3)``, nm.
        whiten: as for `fit_reduced`.

    Raises:
        ConfigError: as `fit_reduced`.
    """
    zmatrix, rotors, flips = fit.zmatrix, fit.rotor_groups, fit.flips
    n = zmatrix.n_atoms
    start = 2 * n - 3
    check_frames(frames, n)
    folds = fit.centre[flips.lead]
    measured = jax.jit(
        lambda _, x: (internal(zmatrix).inverse((), fold_flips(x, flips, folds))[0], x[0])
    )
    y = apply_in_chunks(measured, np.asarray(frames).reshape(len(frames), -1).T)[0]
    s = _variables(zmatrix, rotors, TorsionCells(fit.centre, np.full(n - 3, np.pi)), y)
    s[start + flips.lead] *= 2
    values, centre = s[fit.kept], fit.centre.copy()
    symmetric = {int(t) for t in flips.lead} | {int(m[0]) for m in rotor_torsions(zmatrix, rotors)}
    turns = fit.half_width == np.pi
    for row in np.flatnonzero(turns):
        t = int(fit.kept[row]) - start
        if t not in symmetric:
            shift = _cut(values[row])[0]
            centre[t] += shift
            values[row] = np.mod(values[row] - shift + np.pi, 2 * np.pi) - np.pi
    circular = turns & (2 * np.pi - np.ptp(values, axis=1) < EMPTY_ARC)
    order = np.lexsort((fit.kept, ~np.asarray(fit.backbone, bool), ~circular))
    n_circular = int(circular.sum())
    near_soft, near = _neighbourhoods(zmatrix, rotors, fit.kept[order], n_circular)
    white = (fit_whitening if whiten else standardised)(
        values[order], np.arange(n_circular), near_soft, near
    )
    return fit._replace(
        centre=centre,
        kept=fit.kept[order],
        kind=fit.kind[order],
        residue=fit.residue[order],
        backbone=fit.backbone[order],
        half_width=fit.half_width[order],
        orders=white.orders,
        mean=white.mean,
        coefficients=white.coefficients,
        factor=white.factor,
    )


def _cut(angles: np.ndarray) -> tuple[float, float]:
    """The middle of the cell, opposite the middle of the largest empty arc, and the length of that arc."""
    at = np.sort(np.mod(angles, 2 * np.pi))
    gaps = np.diff(np.append(at, at[0] + 2 * np.pi))
    k = int(np.argmax(gaps))
    return float(np.mod(at[k] + gaps[k] / 2, 2 * np.pi) - np.pi), float(gaps[k])


def _cells(
    zmatrix: ZMatrix, rotors: Rotors, y: np.ndarray, folds: dict[int, float]
) -> TorsionCells:
    """Centres of all torsion variables; every half width is pi."""
    n = zmatrix.n_atoms - 3
    even = np.zeros(n)
    spaced = np.zeros(n, bool)
    for members in rotor_torsions(zmatrix, rotors):
        even[members[1:]] = 2 * np.pi / len(members) * np.arange(1, len(members))
        spaced[members[1:]] = True  # even spacing, which relabelling leaves as it is
    first = TorsionCells(even, np.full(n, np.pi))
    s = _variables(zmatrix, rotors, first, y)[len(y) - n :]
    centre = even + np.array([0.0 if spaced[t] else _cut(s[t])[0] for t in range(n)])
    for t, fold in folds.items():
        centre[t] = fold
    return TorsionCells(centre, np.full(n, np.pi))


def _variables(zmatrix: ZMatrix, rotors: Rotors, cells: TorsionCells, y: np.ndarray) -> np.ndarray:
    return apply_in_chunks(jax.jit(torsion_variables(zmatrix, rotors, cells).inverse), y)[0]


def _arranged(
    zmatrix: ZMatrix, rotors: Rotors, kept: Kept, s: np.ndarray
) -> tuple[Kept, int, np.ndarray]:
    """The kept coordinates in the order of v, the number of circular ones, and half widths."""
    start = 2 * zmatrix.n_atoms - 3
    leads = sibling_leads(zmatrix) == np.arange(zmatrix.n_atoms - 3)
    for members in rotor_torsions(zmatrix, rotors):  # the first given stands for all
        leads[members] = members == members[0]
    turns = np.array([i >= start and bool(leads[i - start]) for i in kept.index])
    circular = np.array(
        [t and _cut(s[i])[1] < EMPTY_ARC for i, t in zip(kept.index, turns, strict=True)]
    )
    order = np.lexsort((np.arange(len(circular)), ~kept.backbone, ~circular))
    offset = (kept.index >= start) & ~turns
    width = np.where(kept.index < start, np.inf, np.where(offset, STIFF_HALF_WIDTH, np.pi))
    return Kept(*(column[order] for column in kept)), int(circular.sum()), width[order]


def _neighbourhoods(
    zmatrix: ZMatrix, rotors: Rotors, index: np.ndarray, n_circular: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which kept coordinates may predict which, as in `coordinate_fit`: ``(d, S)`` and ``(d, d)`` bool."""
    has = coordinate_atoms(zmatrix, rotors)[index]
    axes = np.zeros((n_circular, zmatrix.n_atoms), np.float32)
    for axis, i in zip(axes, index[:n_circular], strict=True):
        t = i - (2 * zmatrix.n_atoms - 3)
        axis[[int(zmatrix.bond[t + 3]), int(zmatrix.angle[t + 3])]] = 1
    return has @ axes.T > 0.5, has @ has.T > 1.5
