"""Bonds, angles and torsions <-> Cartesian positions, with the exact volume element.

The layout is features first: flat positions are ``(3N, *batch)``.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array

from jbg.coords.placement import placement
from jbg.coords.vectors import Vectors, components, cross, difference, dot, flat, norm, tail, take
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
    place = placement(zmatrix)

    def forward(params, y):
        bonds, angles, torsions = jnp.split(y, [n - 1, 2 * n - 3])
        return flat(place(bonds, angles, torsions)), log_volume(bonds, angles)

    def inverse(params, x):
        positions = components(x)
        atom, bond, angle, torsion = (
            take(positions, rows[first:]) for rows, first in zip(zmatrix, (1, 1, 2, 3), strict=True)
        )
        u, v, w = (
            difference(bond, atom),
            difference(angle, tail(bond)),
            difference(torsion, tail(angle)),
        )
        bonds, normal = norm(u), cross(tail(u), v)
        angles = jnp.arctan2(norm(normal), -dot(tail(u), v))  # precise near 0 and pi too
        torsions = _torsions(tail(tail(u)), tail(v), w, tail(normal))
        return jnp.concatenate([bonds, angles, torsions]), -log_volume(bonds, angles)

    return Bijector(
        dim_in=3 * n - 6, dim_out=3 * n, init=lambda key: (), forward=forward, inverse=inverse
    )


def log_volume(bonds: Array, angles: Array) -> Array:
    """sum 2 ln d + sum ln sin(theta) over the leading axes, -inf where some d is not positive and
    finite or some theta is outside (0, pi).
    """
    sines = jnp.sin(angles)
    log_d = _log_where((bonds > 0) & (bonds < jnp.inf), bonds)
    log_sin = _log_where((angles > 0) & (angles < np.pi) & (sines > 0), sines)
    total = 2 * jnp.sum(log_d, 0) + jnp.sum(log_sin, 0)
    return jnp.where(total > -jnp.inf, total, -jnp.inf)  # there derivatives are 0


def torsions_of(x: Array, quads: np.ndarray) -> Array:
    """Torsions (IUPAC sign, radians in (-pi, pi]) about the middle bonds of ``quads``.

    Args:
        x: flat positions ``(3N, *batch)``.
        quads: atom indices ``(n, 4)``; a torsion reads the same from either end.

    Returns:
        ``(n, *batch)``.
    """
    positions = components(jnp.asarray(x))
    i, j, k, m = (take(positions, column) for column in np.asarray(quads, np.int32).T)
    u, v, w = difference(j, i), difference(k, j), difference(m, k)
    return _torsions(u, v, w, cross(u, v))


def _torsions(u: Vectors, v: Vectors, w: Vectors, normal: Vectors) -> Array:
    """Torsions of three bonds in a row; ``normal`` = u x v."""
    other = cross(v, w)
    sin, cos = dot(u, other) * norm(v), dot(normal, other)
    degenerate = (sin == 0) & (cos == 0)  # atan2 has no derivative there
    return jnp.arctan2(sin, jnp.where(degenerate, 1, cos))


def _log_where(valid: Array, a: Array) -> Array:
    return jnp.where(valid, jnp.log(jnp.where(valid, a, 1)), -jnp.inf)
