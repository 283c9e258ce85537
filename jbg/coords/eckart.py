"""Positions of some atoms without where they are and how they are turned: superposed on a reference, in the linear
space that superposition leaves.

Of all rotations the one of least distance from the reference r makes sum_i r_i x x_i = 0 (Kabsch 1976,
doi:10.1107/S0567739476001873; with masses this is Eckart's frame, doi:10.1103/PhysRev.47.552). With the centre at
0 that is a linear space of 3m - 6 dimensions. A volume of it is one of configurations up to the factor of the
superposition itself, which Noe et al. 2019 drop: with x_i = R y_i + t,

    dx = m^(3/2) |det M(y)| / sqrt(det M(r)) dt dR dy,   M(y) = sum_i [(r_i . y_i) 1 - y_i r_i^T],

dy in orthonormal coordinates. y is a superposition and no other stationary point where M is positive definite.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from jbg.coords.vectors import components, cross, flat

HIGHEST = jax.lax.Precision.HIGHEST


def superposition_matrix(reference: ArrayLike, y: Array) -> Array:
    """M ``(3, 3, *batch)`` of flat positions ``(3m, *batch)``; ``reference`` ``(m, 3)``, centred."""
    fixed = jnp.asarray(reference, y.dtype)
    moved = y.reshape(-1, 3, *y.shape[1:])
    c = jnp.einsum("mi...,mj->ij...", moved, fixed, precision=HIGHEST)
    one = jnp.eye(3, dtype=y.dtype).reshape(3, 3, *(1,) * (y.ndim - 1))
    return (c[0, 0] + c[1, 1] + c[2, 2])[None, None] * one - c


def log_superposition_volume(reference: np.ndarray, y: Array) -> Array:
    """ln of the factor of dy ``(*batch,)``; -inf where y is not the superposition of what it is turned to."""
    a = superposition_matrix(reference, y)
    second = a[0, 0] * a[1, 1] - a[0, 1] * a[1, 0]
    third = _determinant(a)
    # leading minors: M is symmetric where y is superposed
    positive = (a[0, 0] > 0) & (second > 0) & (third > 0)
    own = np.trace(reference.T @ reference) * np.eye(3) - reference.T @ reference
    constant = 1.5 * np.log(len(reference)) - 0.5 * np.linalg.slogdet(own)[1]
    log_det = jnp.log(jnp.where(positive, third, 1.0)) + jnp.asarray(constant, y.dtype)
    return jnp.where(positive, log_det, -jnp.inf)


def superposed(reference: ArrayLike, x: Array) -> Array:
    """Flat positions ``(3m, *batch)`` moved and turned onto the reference ``(m, 3)``, centred.

    The first derivative is exact, that of the one Newton step that would be left; higher ones are not.
    """
    moved = x.reshape(-1, 3, *x.shape[1:])
    moved = (moved - moved.mean(0, keepdims=True)).reshape(x.shape)
    fixed = jax.lax.stop_gradient(moved)
    rotation = _rotation(reference, fixed)
    turned = jnp.einsum(
        "ij...,mj...->mi...", rotation, moved.reshape(-1, 3, *x.shape[1:]), precision=HIGHEST
    ).reshape(x.shape)
    matrix = jax.lax.stop_gradient(superposition_matrix(reference, turned))
    left = _torque(reference, turned)
    left = left - jax.lax.stop_gradient(left)
    axis = jnp.moveaxis(
        jnp.linalg.solve(
            jnp.moveaxis(matrix, (0, 1), (-2, -1)), -jnp.moveaxis(left, 0, -1)[..., None]
        )[..., 0],
        -1,
        0,
    )
    around = components(jnp.broadcast_to(axis[None], (len(x) // 3, *axis.shape)).reshape(x.shape))
    return turned + flat(cross(around, components(turned)))


def _torque(reference: ArrayLike, y: Array) -> Array:
    """sum_i r_i x y_i ``(3, *batch)``."""
    fixed = jnp.asarray(reference, y.dtype).reshape(-1, *(1,) * (y.ndim - 1))
    arms = cross(components(jnp.broadcast_to(fixed, y.shape)), components(y))
    return jnp.stack([arm.sum(0) for arm in arms])


def _rotation(reference: ArrayLike, moved: Array) -> Array:
    """The rotation ``(3, 3, *batch)`` that brings centred positions closest to the reference, by quaternions
    (Horn 1987, doi:10.1364/JOSAA.4.000629)."""
    fixed = jnp.asarray(reference, moved.dtype)
    points = moved.reshape(-1, 3, *moved.shape[1:])
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = jnp.einsum(
        "mi...,mj->ij...", points, fixed, precision=HIGHEST
    )
    rows = [
        [xx + yy + zz, yz - zy, zx - xz, xy - yx],
        [yz - zy, xx - yy - zz, xy + yx, zx + xz],
        [zx - xz, xy + yx, yy - xx - zz, yz + zy],
        [xy - yx, zx + xz, yz + zy, zz - xx - yy],
    ]
    key = jnp.stack([jnp.stack(row, -1) for row in rows], -2)
    a, b, c, d = jnp.moveaxis(jnp.linalg.eigh(key)[1][..., -1], -1, 0)
    return jnp.stack(
        [
            jnp.stack([a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)]),
            jnp.stack([2 * (b * c + a * d), a * a - b * b + c * c - d * d, 2 * (c * d - a * b)]),
            jnp.stack([2 * (b * d - a * c), 2 * (c * d + a * b), a * a - b * b - c * c + d * d]),
        ]
    )


def _determinant(a: Array) -> Array:
    return (
        a[0, 0] * (a[1, 1] * a[2, 2] - a[1, 2] * a[2, 1])
        - a[0, 1] * (a[1, 0] * a[2, 2] - a[1, 2] * a[2, 0])
        + a[0, 2] * (a[1, 0] * a[2, 1] - a[1, 1] * a[2, 0])
    )
