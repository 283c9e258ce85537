"""Bonds, angles and torsions <-> Cartesian positions, with the exact volume element.

Placement follows the Z-matrix level by level (a scan, so compile time does not grow with the
molecule) and has its own derivative: each coordinate moves the atoms behind it as a rigid body, so
all derivatives are two products with the matrix of subtrees and never a backward pass through the
scan. The layout is features first: positions are ``(N, 3, *batch)``.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jbg.coords.zmatrix import ZMatrix
from jbg.interfaces import Bijector


def internal(zmatrix: ZMatrix) -> Bijector:
    """Internal coordinates y = [bonds N-1 | angles N-2 | torsions N-3] <-> flat positions x.

    ``forward`` builds x in the body frame (seed atom a at the origin, b on the x axis, c in the xy
    plane); ``inverse`` measures y in any position and orientation. Torsions follow IUPAC (as
    mdtraj), angles in (0, pi).

    The log-determinant is that of the full measure, with the position and orientation integrated
    out (a constant 8 pi^2 V), so that densities do not depend on which atoms are seeds:

        ln|det dx/dy| = sum over bonds 2 ln d + sum over angles ln sin(theta)

    It exceeds the determinant of the body-frame map by 2 ln d1 + ln d2 + ln sin(theta2) of the
    seeds. A y that is no configuration (bond <= 0, angle outside (0, pi)) gets ln|det| = -inf in
    ``forward``: weight 0.
    """
    # int32 indices: JAX 0.10 mixes up int64 constants that are used inside and outside enable_x64
    zmatrix = ZMatrix(*(np.asarray(column, np.int32) for column in zmatrix))
    n = zmatrix.n_atoms
    place = _placement(zmatrix)
    pairs = np.stack([zmatrix.order, zmatrix.bond], 1)[1:]
    triples = np.stack([zmatrix.order, zmatrix.bond, zmatrix.angle], 1)[2:]
    quads = np.stack([zmatrix.order, zmatrix.bond, zmatrix.angle, zmatrix.torsion], 1)[3:]

    def forward(params, y):
        bonds, angles, torsions = jnp.split(y, [n - 1, 2 * n - 3])
        positions = place(bonds, angles, torsions)
        return positions.reshape(3 * n, *y.shape[1:]), log_volume(bonds, angles)

    def inverse(params, x):
        positions = x.reshape(n, 3, *x.shape[1:])
        bonds = _norm(positions[pairs[:, 0]] - positions[pairs[:, 1]])
        angles = _angles(*(positions[triples[:, k]] for k in range(3)))
        y = jnp.concatenate([bonds, angles, torsions_of(x, quads)])
        return y, -log_volume(bonds, angles)

    return Bijector(
        dim_in=3 * n - 6, dim_out=3 * n, init=lambda key: (), forward=forward, inverse=inverse
    )


def log_volume(bonds: Array, angles: Array) -> Array:
    """sum 2 ln d + sum ln sin(theta) over the leading axes, -inf where some d <= 0 or theta is
    outside (0, pi).
    """
    sines = jnp.sin(angles)
    valid = jnp.all(bonds > 0, 0) & jnp.all((angles > 0) & (angles < np.pi) & (sines > 0), 0)
    log_d = jnp.log(jnp.where(bonds > 0, bonds, 1))
    log_sin = jnp.log(jnp.where(sines > 0, sines, 1))
    return jnp.where(valid, 2 * jnp.sum(log_d, 0) + jnp.sum(log_sin, 0), -jnp.inf)


def torsions_of(x: Array, quads: np.ndarray) -> Array:
    """Torsions (IUPAC sign, radians in (-pi, pi]) about the middle bonds of ``quads``.

    Args:
        x: flat positions ``(3N, *batch)``.
        quads: atom indices ``(n, 4)``; a torsion reads the same from either end.

    Returns:
        ``(n, *batch)``.
    """
    positions = jnp.asarray(x).reshape(-1, 3, *x.shape[1:])
    quads = np.asarray(quads, np.int32)
    i, j, k, m = (positions[quads[:, column]] for column in range(4))
    b1, b2, b3 = j - i, k - j, m - k
    n1, n2 = _cross(b1, b2), _cross(b2, b3)
    sin, cos = _dot(b1, n2) * _norm(b2), _dot(n1, n2)
    degenerate = (sin == 0) & (cos == 0)  # atan2 has no derivative there
    return jnp.arctan2(sin, jnp.where(degenerate, 1, cos))


def _placement(zmatrix: ZMatrix) -> Callable[[Array, Array, Array], Array]:
    """place(bonds, angles, torsions) -> positions ``(N, 3, *batch)`` in atom order, differentiable
    both ways.
    """
    n = zmatrix.n_atoms
    starts, members, sorted_rows, parents = _levels(zmatrix)
    subtree = _subtree_matrix(zmatrix)
    back = np.argsort(zmatrix.order[sorted_rows]).astype(np.int32)  # atom -> place

    @jax.custom_jvp
    def place(bonds, angles, torsions):
        zero = jnp.zeros_like(bonds[0])
        cos, sin = jnp.cos(angles), jnp.sin(angles)
        second = jnp.stack([bonds[0], zero, zero])
        third = jnp.stack([bonds[0] - bonds[1] * cos[0], bonds[1] * sin[0], zero])
        seeds = jnp.stack([jnp.zeros_like(second), second, third])
        if n == 3:
            return seeds[back]
        across = bonds[2:] * sin[1:]
        local = jnp.stack(
            [-bonds[2:] * cos[1:], across * jnp.cos(torsions), across * jnp.sin(torsions)], axis=1
        )
        # a level writes its full width; what spills into later levels is overwritten by them
        room = n - 3 + members.shape[1]
        buffer = jnp.concatenate([seeds, jnp.zeros((room, 3, *bonds.shape[1:]), bonds.dtype)])

        def place_level(buffer, level):
            start, parent, offset = level
            bond, angle, torsion = (buffer[parent[:, k]] for k in range(3))
            axis = _unit(bond - angle)
            normal = _unit(_cross(axis, torsion - angle))
            plane = _cross(normal, axis)
            x = bond + offset[:, :1] * axis + offset[:, 1:2] * plane + offset[:, 2:] * normal
            return jax.lax.dynamic_update_slice_in_dim(buffer, x, start, 0), None

        levels = (jnp.asarray(starts), jnp.asarray(parents), local[members])
        return jax.lax.scan(place_level, buffer, levels)[0][back]

    @place.defjvp
    def place_jvp(primals, tangents):
        """Rigid-body motion of subtrees: turn by dphi about the bond, by dtheta about the normal,
        slide by dd.
        """
        bonds, angles, _ = primals
        d_bonds, d_angles, d_torsions = tangents
        x = place(*primals)
        pivot = x[zmatrix.bond[1:]]
        along = (x[zmatrix.order[1:]] - pivot) / _nonzero(bonds)[:, None]
        axis = _unit(pivot[1:] - x[zmatrix.angle[2:]])
        normal = _cross(along[1:], axis) / _nonzero(jnp.sin(angles))[:, None]
        turn = normal * d_angles[:, None]
        turn = jnp.concatenate([turn[:1], turn[1:] + axis[1:] * d_torsions[:, None]])
        turn = jnp.concatenate([jnp.zeros_like(turn[:1]), turn])  # the second seed only slides
        slide = along * d_bonds[:, None] - _cross(turn, pivot)
        motion = jnp.concatenate([turn, slide], axis=1)
        motion = jnp.tensordot(
            jnp.asarray(subtree, x.dtype), motion, axes=1, precision=jax.lax.Precision.HIGHEST
        )
        return x, motion[:, 3:] + _cross(motion[:, :3], x)

    return place


def _levels(zmatrix: ZMatrix) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows grouped by the step in which all their parents are placed.

    Returns:
        starts ``(levels,)``: where each level begins in level order;
        members ``(levels, width)``: row - 3 of each atom placed, padded by repeating the last;
        sorted_rows ``(N,)``: Z-matrix rows in level order;
        parents ``(levels, width, 3)``: bond, angle and torsion parent as places in level order.
    """
    n = zmatrix.n_atoms
    row_of = np.argsort(zmatrix.order)
    level = np.zeros(n, int)
    for k in range(3, n):
        refs = row_of[[zmatrix.bond[k], zmatrix.angle[k], zmatrix.torsion[k]]]
        level[k] = level[refs].max() + 1
    sorted_rows = np.argsort(level, kind="stable")
    place_of = np.argsort(sorted_rows)[row_of]  # atom -> place in level order
    groups = [np.flatnonzero(level == step) for step in range(1, level.max() + 1)]
    width = max((len(group) for group in groups), default=1)
    rows = np.array([np.pad(group, (0, width - len(group)), mode="edge") for group in groups], int)
    rows = rows.reshape(-1, width)
    starts = 3 + np.cumsum([0, *(len(group) for group in groups)])[:-1]
    parents = np.stack(
        [place_of[ref[rows]] for ref in (zmatrix.bond, zmatrix.angle, zmatrix.torsion)], axis=-1
    )
    found = (starts[: len(rows)], rows - 3, sorted_rows, parents)
    return tuple(np.asarray(values, np.int32) for values in found)


def _subtree_matrix(zmatrix: ZMatrix) -> np.ndarray:
    """``(N, N-1)``: 1 where the atom moves with the coordinates of row k+1, that is, hangs on its
    atom.
    """
    n = zmatrix.n_atoms
    moves = np.zeros((n, n))
    for k in range(n):
        atom = zmatrix.order[k]
        if k > 0:
            moves[atom] = moves[zmatrix.bond[k]]
        moves[atom, k] = 1
    return moves[:, 1:]


def _angles(i: Array, j: Array, k: Array) -> Array:
    """Angle at j; atan2 keeps full precision near 0 and pi."""
    u, v = i - j, k - j
    return jnp.arctan2(_norm(_cross(u, v)), _dot(u, v))


def _dot(u: Array, v: Array) -> Array:
    return u[:, 0] * v[:, 0] + u[:, 1] * v[:, 1] + u[:, 2] * v[:, 2]


def _cross(u: Array, v: Array) -> Array:
    return jnp.stack(
        [
            u[:, 1] * v[:, 2] - u[:, 2] * v[:, 1],
            u[:, 2] * v[:, 0] - u[:, 0] * v[:, 2],
            u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0],
        ],
        axis=1,
    )


def _norm(u: Array) -> Array:
    """Length, with derivative 0 instead of NaN at 0."""
    square = _dot(u, u)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def _unit(u: Array) -> Array:
    return u / _nonzero(_norm(u))[:, None]


def _nonzero(a: Array) -> Array:
    return jnp.where(a == 0, 1, a)
