"""Vectors as three arrays, one per component, each ``(n, *batch)``: every operation is then a plain
loop along the batch, which compilers vectorise.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array

Vectors = tuple[Array, Array, Array]


def components(x: Array) -> Vectors:
    """Flat positions ``(3N, *batch)`` as vectors ``(N, *batch)``."""
    positions = x.reshape(-1, 3, *x.shape[1:])
    return positions[:, 0], positions[:, 1], positions[:, 2]


def flat(u: Vectors) -> Array:
    """The reverse of ``components``."""
    stacked = jnp.stack(u, axis=1)
    return stacked.reshape(-1, *stacked.shape[2:])


def take(u: Vectors, rows: np.ndarray) -> Vectors:
    return u[0][rows], u[1][rows], u[2][rows]


def tail(u: Vectors) -> Vectors:
    """All but the first."""
    return u[0][1:], u[1][1:], u[2][1:]


def add(u: Vectors, v: Vectors) -> Vectors:
    return u[0] + v[0], u[1] + v[1], u[2] + v[2]


def difference(u: Vectors, v: Vectors) -> Vectors:
    return u[0] - v[0], u[1] - v[1], u[2] - v[2]


def scale(u: Vectors, factor: Array) -> Vectors:
    return u[0] * factor, u[1] * factor, u[2] * factor


def dot(u: Vectors, v: Vectors) -> Array:
    return u[0] * v[0] + u[1] * v[1] + u[2] * v[2]


def cross(u: Vectors, v: Vectors) -> Vectors:
    return (
        u[1] * v[2] - u[2] * v[1],
        u[2] * v[0] - u[0] * v[2],
        u[0] * v[1] - u[1] * v[0],
    )


def norm(u: Vectors) -> Array:
    """Length, with derivative 0 instead of NaN at 0."""
    square = dot(u, u)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def unit(u: Vectors) -> Vectors:
    return scale(u, 1 / nonzero(norm(u)))


def nonzero(a: Array) -> Array:
    return jnp.where(a == 0, 1, a)
