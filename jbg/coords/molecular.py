"""The coordinates a flow works in, for one molecule: v = [circular | whitened] <-> flat positions
x.

Four bijectors in a row: whitening (v -> cell variables, of symmetric rotors at fixed directions),
directions (-> cell variables of labelled atoms), torsion variables (-> bonds, angles, torsions) and
internal coordinates (-> x). Everything fitted lies in one NamedTuple of arrays, so
that coordinates are rebuilt from a file without the data they were fitted on.
"""

import dataclasses
from collections.abc import Callable, Collection
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jbg.coords.backbone import backbone_torsions
from jbg.coords.directions import DIRECTIONS, interpolated_rotors, rotor_directions, rotor_slots
from jbg.coords.internal import internal
from jbg.coords.torsions import (
    Rotors,
    TorsionCells,
    proper_torsions,
    rotor_torsions,
    sibling_leads,
    torsion_variables,
)
from jbg.coords.whitening import Whitening, fit_whitening, softness, whitening
from jbg.coords.zmatrix import ZMatrix, atom_label
from jbg.interfaces import Bijector, ConfigError, Topology

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class MolecularCoordinates:
    """A bijector v ``(3N-6, *batch)`` -> x ``(3N, *batch)``, nm, with what its variables mean.

    The first ``n_circular`` of v live on the circle [-pi, pi), the other ``n_linear`` are whitened.
    The bijector covers the *domain*: stiff torsions within pi/2 of their centre (trans amides, the
    chirality of the data), exchangeable rotor atoms in one cyclic order. The target is restricted
    to it. ``in_domain(frames)``, batch first ``(n, atoms, 3)`` -> ``(n,)`` bool, tells which frames
    it can represent, up to relabelling rotors; a v that leaves the domain gets log-determinant -inf
    from ``bijector.forward``, hence weight 0.
    """

    bijector: Bijector
    n_circular: int
    n_linear: int
    labels: tuple[str, ...]
    in_domain: Callable[[np.ndarray], np.ndarray]
    fit: CoordinateFit


def molecular_coordinates(
    topology: Topology, zmatrix: ZMatrix, frames: np.ndarray, *, rotors: Rotors = ()
) -> MolecularCoordinates:
    """Fit coordinates to simulation frames ``(n, atoms, 3)``, nm; see ``fit_coordinates``."""
    return coordinates_from_fit(topology, fit_coordinates(zmatrix, frames, rotors=rotors))


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
    frames = np.asarray(frames)
    n = zmatrix.n_atoms
    if frames.ndim != 3 or frames.shape[1:] != (n, 3) or not np.all(np.isfinite(frames)):
        raise ConfigError(
            f"coordinates: frames must be finite numbers of shape (n, {n}, 3), got {frames.shape}"
        )
    y = _apply(jax.jit(internal(zmatrix).inverse), frames.reshape(len(frames), -1).T)[0]
    rotors = _in_positive_order(zmatrix, rotors, y[2 * n - 3 :])
    cells = _fit_cells(zmatrix, rotors, y, ladder, soft_bonds)
    s, log_det = _apply(jax.jit(torsion_variables(zmatrix, rotors, cells).inverse), y)
    s, _ = _apply(jax.jit(rotor_directions(zmatrix, rotors, cells).inverse), s)
    circular = np.flatnonzero(cells.half_width == np.pi)
    near_soft, near = _neighbourhoods(zmatrix, rotors, circular)
    rows = np.isfinite(log_det) & (True if fitted is None else fitted)
    fit = fit_whitening(s[:, rows], 2 * n - 3 + circular, near_soft, near)
    padded = np.full((len(rotors), max((len(r) for r in rotors), default=0)), -1)
    for row, rotor in zip(padded, rotors, strict=True):
        row[: len(rotor)] = rotor
    return CoordinateFit(*zmatrix, padded, *cells, *fit, directions=np.array(1))


def coordinates_from_fit(topology: Topology, fit: CoordinateFit) -> MolecularCoordinates:
    """Rebuild the coordinates; ``topology`` serves only their labels."""
    to_torsions = torsion_variables(fit.zmatrix, fit.rotor_groups, fit.cells)
    to_labels = rotor_directions(fit.zmatrix, _interpolated(fit), fit.cells)
    parts = (whitening(fit.whitening), to_labels, to_torsions, internal(fit.zmatrix))

    def forward(params, v):
        total = jnp.zeros(v.shape[1:], v.dtype)
        for part in parts:
            v, log_det = part.forward((), v)
            total = total + log_det
        return v, total

    def inverse(params, x):
        total = jnp.zeros(x.shape[1:], x.dtype)
        for part in reversed(parts):
            x, log_det = part.inverse((), x)
            total = total + log_det
        return x, total

    def in_domain(frames):
        frames = np.asarray(frames)
        return np.isfinite(_apply(inverse_of, frames.reshape(len(frames), -1).T)[1])

    inverse_of = jax.jit(inverse)
    return MolecularCoordinates(
        bijector=Bijector(
            dim_in=parts[0].dim_in,
            dim_out=parts[-1].dim_out,
            init=lambda key: (),
            forward=forward,
            inverse=inverse,
        ),
        n_circular=len(fit.soft),
        n_linear=len(fit.stiff),
        labels=_labels(topology, fit),
        in_domain=in_domain,
        fit=fit,
    )


def _apply(fn: Callable, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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


def _in_positive_order(zmatrix: ZMatrix, rotors: Rotors, torsions: np.ndarray) -> list[list[int]]:
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
    s = _apply(jax.jit(torsion_variables(zmatrix, rotors, first).inverse), y)[0][
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


def _interpolated(fit: CoordinateFit) -> Rotors:
    return fit.rotor_groups if fit.directions else ()


def _neighbourhoods(
    zmatrix: ZMatrix, rotors: Rotors, circular: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which coordinates may predict which; a value at a direction has the atoms of all of its rotor.

    Returns:
        ``(3N-6, S)`` bool: the coordinate has an atom of the bond that the circular torsion turns
        about; ``(3N-6, 3N-6)`` bool: the two coordinates have two atoms in common.
    """
    rows = np.stack(zmatrix, axis=1)
    has = np.zeros((3 * zmatrix.n_atoms - 6, zmatrix.n_atoms), np.float32)
    for coordinate, atoms in zip(has, [*rows[1:, :2], *rows[2:, :3], *rows[3:]], strict=True):
        coordinate[atoms] = 1
    for members in interpolated_rotors(zmatrix, rotors):
        for slots in rotor_slots(members, zmatrix.n_atoms):
            has[slots] = has[slots].max(0)
    axes = np.zeros((len(circular), zmatrix.n_atoms), np.float32)
    for axis, t in zip(axes, circular, strict=True):
        axis[rows[t + 3, 1:3]] = 1
    return has @ axes.T > 0.5, has @ has.T > 1.5


def _labels(topology: Topology, fit: CoordinateFit) -> tuple[str, ...]:
    """Names of the variables; a whitened one is named after the coordinate it is the residual
    of.
    """
    named = {}
    for name, quads in backbone_torsions(topology).items():
        for quad in quads.tolist():
            at = quad[1] if name == "psi" else quad[2]
            residue = f"{topology.residue_names[at]}{topology.residue_ids[at] + 1}"
            named[tuple(quad)] = named[tuple(quad[::-1])] = f"{name} {residue}"
    rows = np.stack([fit.order, fit.bond, fit.angle, fit.torsion], 1).tolist()
    rotors = {row[0] for row in fit.rotors}
    leads = sibling_leads(fit.zmatrix)
    at = {
        int(fit.order[3 + t]): degrees
        for members in interpolated_rotors(fit.zmatrix, _interpolated(fit))
        for t, degrees in zip(members, DIRECTIONS, strict=True)
    }

    def describe(kind, atoms):
        first, *others = (atom_label(topology, i) for i in atoms)
        if atoms[0] not in at:
            return f"{kind} " + "-".join((first, *others))
        element = topology.elements[atoms[0]]  # of no atom in particular
        return f"{kind} " + "-".join((element, *others)) + f" at {at[atoms[0]]} degrees"

    labels = [describe("bond", row[:2]) for row in rows[1:]]
    labels += [describe("angle", row[:3]) for row in rows[2:]]
    for t, row in enumerate(rows[3:]):
        if row[0] in rotors:
            labels.append(describe("rotor", (row[2], row[1])))
        else:
            kind = "torsion" if leads[t] == t else "offset"
            labels.append(named.get(tuple(row), describe(kind, row)))
    return tuple(labels[i] for i in (*fit.soft, *fit.stiff))
