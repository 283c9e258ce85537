"""Coordinates fitted to frames: which torsions are soft, where circles are cut, how stiff ones are whitened."""

from collections.abc import Callable, Collection
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jbg.coords.directions import interpolated_rotors, rotor_directions, rotor_slots
from jbg.coords.internal import internal
from jbg.coords.torsions import (
    Rotors,
    TorsionCells,
    proper_torsions,
    rotor_torsions,
    sibling_leads,
    torsion_variables,
)
from jbg.coords.whitening import Whitening, fit_whitening, softness
from jbg.coords.zmatrix import ZMatrix
from jbg.interfaces import ConfigError

STIFF_HALF_WIDTH = np.pi / 2
CHUNK = 4096  # frames measured at once, bounds memory


class CoordinateFit(NamedTuple):
    """All that defines the coordinates, as plain arrays: ``np.savez(file, **fit._asdict())``,
    ``CoordinateFit(**np.load(file))``."""

    order: np.ndarray  # the Z-matrix, see ZMatrix
    bond: np.ndarray
    angle: np.ndarray
    torsion: np.ndarray
    rotors: np.ndarray  # (rotors, largest) atoms, padded with -1
    centre: np.ndarray  # see TorsionCells
    half_width: np.ndarray
    soft: np.ndarray  # from here on see Whitening
    stiff: np.ndarray
    orders: np.ndarray
    mean: np.ndarray
    coefficients: np.ndarray
    factor: np.ndarray
    directions: np.ndarray = np.array(0)  # 1: rotors have values at directions, not labels

    @property
    def zmatrix(self) -> ZMatrix:
        return ZMatrix(self.order, self.bond, self.angle, self.torsion)

    @property
    def rotor_groups(self) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(int(i) for i in row if i >= 0) for row in self.rotors)

    @property
    def cells(self) -> TorsionCells:
        return TorsionCells(self.centre, self.half_width)

    @property
    def whitening(self) -> Whitening:
        return Whitening(**{name: getattr(self, name) for name in Whitening._fields})


def fit_coordinates(
    zmatrix: ZMatrix,
    frames: np.ndarray,
    *,
    rotors: Rotors = (),
    ladder: np.ndarray | None = None,
    fitted: np.ndarray | None = None,
    soft_bonds: Collection[frozenset[int]] = (),
) -> CoordinateFit:
    """Decide which torsions are soft, where circles are cut, and whiten the stiff coordinates given
    the soft.

    Args:
        zmatrix: from ``build_zmatrix``.
        frames: ``(n, atoms, 3)``, nm. Frames outside the resulting domain are left out of the
            whitening.
        rotors: groups of exchangeable atoms (``rotor_candidates`` that pass an energy test).
        ladder: ``(n,)``, the independent chain of each frame: a torsion that left its basin in two of
            them is soft (``softness``). None: one that did so in 1 % of the frames.
        fitted: ``(n,)`` bool, the frames that whitening is fitted to, all if None; all of them decide
            what is soft, so that those held out are not outside of the domain.
        soft_bonds: pairs of atoms; the torsion about such a bond is soft whatever the frames say.

    Raises:
        ConfigError: bad frames, too few frames in the domain, constrained coordinates, rotors that
            are none.
    """
    known, n = measured_cells(zmatrix, frames, rotors, ladder, soft_bonds), zmatrix.n_atoms
    circular = np.flatnonzero(known.cells.half_width == np.pi)
    near_soft, near = neighbourhoods(zmatrix, known.rotors, circular)
    rows = known.inside & (True if fitted is None else fitted)
    fit = fit_whitening(known.s[:, rows], 2 * n - 3 + circular, near_soft, near)
    groups = padded_groups(known.rotors)
    return CoordinateFit(*zmatrix, groups, *known.cells, *fit, directions=np.array(1))


class MeasuredCells(NamedTuple):
    """Rotors in positive order, the cells of all torsions, and the cell variables ``s (3N-6, n)`` of frames with
    those that lie ``inside (n,)`` of the cells."""

    rotors: list[list[int]]
    cells: TorsionCells
    s: np.ndarray
    inside: np.ndarray


def measured_cells(
    zmatrix: ZMatrix,
    frames: np.ndarray,
    rotors: Rotors,
    ladder: np.ndarray | None = None,
    soft_bonds: Collection[frozenset[int]] = (),
    n_free: int = 0,
) -> MeasuredCells:
    """Which torsions are soft and where circles are cut.

    Args:
        zmatrix, frames, rotors, ladder, soft_bonds: as for `fit_coordinates`, as are the errors.
        n_free: so many of the first torsions have no cell: their centre is 0, and no frame leaves them.
    """
    frames = np.asarray(frames)
    n = zmatrix.n_atoms
    check_frames(frames, n)
    y = apply_in_chunks(jax.jit(internal(zmatrix).inverse), frames.reshape(len(frames), -1).T)[0]
    rotors = in_positive_order(zmatrix, rotors, y[2 * n - 3 :])
    cells = _fit_cells(zmatrix, rotors, y, ladder, soft_bonds)
    cells.centre[:n_free], cells.half_width[:n_free] = 0.0, np.pi
    s, log_det = apply_in_chunks(jax.jit(torsion_variables(zmatrix, rotors, cells).inverse), y)
    s, _ = apply_in_chunks(jax.jit(rotor_directions(zmatrix, rotors, cells).inverse), s)
    return MeasuredCells(rotors, cells, s, np.isfinite(log_det))


def padded_groups(groups: Rotors) -> np.ndarray:
    """Groups of atoms as rows of one array, padded with -1."""
    padded = np.full((len(groups), max((len(g) for g in groups), default=0)), -1)
    for row, group in zip(padded, groups, strict=True):
        row[: len(group)] = group
    return padded


def check_frames(frames: np.ndarray, n_atoms: int) -> None:
    """Raises ConfigError unless frames are finite and ``(n, n_atoms, 3)``."""
    if frames.ndim != 3 or frames.shape[1:] != (n_atoms, 3):
        raise ConfigError(
            f"coordinates: frames must have the shape (n, {n_atoms}, 3), got {frames.shape}"
        )
    bad = len(frames) - np.count_nonzero(np.isfinite(frames).all((1, 2)))
    if bad:
        raise ConfigError(
            f"coordinates: positions must be finite, got NaN or inf in {bad} of {len(frames)} frames: "
            "leave those out"
        )


def in_positive_order(zmatrix: ZMatrix, rotors: Rotors, torsions: np.ndarray) -> list[list[int]]:
    """Rotor atoms sorted so that the torsion grows by about 2 pi / n from each to the next."""
    ordered = []
    for rotor, members in zip(rotors, rotor_torsions(zmatrix, rotors), strict=True):
        offsets = torsions[members] - torsions[members[:1]]
        mean = np.angle(np.exp(1j * offsets).mean(1))
        mean[0] = 0
        ordered.append([int(rotor[i]) for i in np.argsort(np.mod(mean, 2 * np.pi))])
    return ordered


def _fit_cells(
    zmatrix: ZMatrix,
    rotors: Rotors,
    y: np.ndarray,
    ladder: np.ndarray | None,
    soft_bonds: Collection[frozenset[int]],
) -> TorsionCells:
    """Centre and half width of every torsion variable, from internal coordinates ``y (3N-6,
    frames)``.
    """
    n_torsions = zmatrix.n_atoms - 3
    first = TorsionCells(np.zeros(n_torsions), np.full(n_torsions, np.pi))
    fixed = np.zeros(n_torsions, bool)
    for members in rotor_torsions(zmatrix, rotors):
        first.centre[members[1:]] = 2 * np.pi / len(members) * np.arange(1, len(members))
        fixed[members[1:]] = True  # even spacing, which relabelling leaves as it is
    s = apply_in_chunks(jax.jit(torsion_variables(zmatrix, rotors, first).inverse), y)[0][
        len(y) - n_torsions :
    ]
    centre, half_width = first
    turns = proper_torsions(zmatrix) & (sibling_leads(zmatrix) == np.arange(n_torsions))
    for t, angles in enumerate(s):
        if turns[t]:
            about = frozenset((int(zmatrix.bond[3 + t]), int(zmatrix.angle[3 + t])))
            soft, middle = softness(angles, ladder, always=about in soft_bonds)
        else:
            soft, middle = softness(angles)
        centre[t] += 0 if fixed[t] else middle
        half_width[t] = np.pi if soft else STIFF_HALF_WIDTH
    return TorsionCells(centre, half_width)


def neighbourhoods(
    zmatrix: ZMatrix, rotors: Rotors, circular: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which coordinates may predict which; a value at a direction has the atoms of all of its rotor.

    Returns:
        ``(3N-6, S)`` bool: the coordinate has an atom of the bond that the circular torsion turns
        about; ``(3N-6, 3N-6)`` bool: the two coordinates have two atoms in common.
    """
    rows, has = np.stack(zmatrix, axis=1), coordinate_atoms(zmatrix, rotors)
    axes = np.zeros((len(circular), zmatrix.n_atoms), np.float32)
    for axis, t in zip(axes, circular, strict=True):
        axis[rows[t + 3, 1:3]] = 1
    return has @ axes.T > 0.5, has @ has.T > 1.5


def coordinate_atoms(zmatrix: ZMatrix, rotors: Rotors) -> np.ndarray:
    """``(3N-6, N)``, 1 where a coordinate has an atom; values at directions have those of their whole rotor."""
    rows = np.stack(zmatrix, axis=1)
    has = np.zeros((3 * zmatrix.n_atoms - 6, zmatrix.n_atoms), np.float32)
    for coordinate, atoms in zip(has, [*rows[1:, :2], *rows[2:, :3], *rows[3:]], strict=True):
        coordinate[atoms] = 1
    for members in interpolated_rotors(zmatrix, rotors):
        for slots in rotor_slots(members, zmatrix.n_atoms):
            has[slots] = has[slots].max(0)
    return has


def apply_in_chunks(fn: Callable, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(values, log-det) of a parameter-free direction for ``(dim, n)`` host arrays, in float64 and
    in chunks.
    """
    with jax.enable_x64():
        chunks = [
            fn((), jnp.asarray(values[:, i : i + CHUNK], jnp.float64))
            for i in range(0, max(values.shape[1], 1), CHUNK)
        ]
        out, log_det = (
            np.concatenate([np.asarray(a) for a in c], axis=-1) for c in zip(*chunks, strict=True)
        )
        return out, log_det
