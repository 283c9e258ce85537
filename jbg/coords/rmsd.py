"""RMSD after optimal superposition, compiled: for regions of configuration space near a structure."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

NEWTON = 20  # steps to the largest root, which close eigenvalues need


def make_rmsd(reference: np.ndarray, atoms: ArrayLike) -> "jax.stages.Wrapped":
    """Compiled flat positions ``(3N, *batch)`` nm -> RMSD in nm ``(*batch,)`` from ``reference``.

    The largest eigenvalue of the quaternion matrix of the correlations is found as a root of its characteristic
    polynomial (Theobald 2005, doi:10.1107/S0108767305015266): products and sums alone.

    Args:
        reference: ``(N, 3)``, nm.
        atoms: which atoms are superposed and compared.
    """
    atoms = np.asarray(atoms, np.int32)
    fixed = np.asarray(reference, np.float64)[atoms]
    fixed = fixed - fixed.mean(0)

    @jax.jit
    def rmsd(x: Array) -> Array:
        x = jnp.asarray(x)
        moved = x.reshape(-1, 3, *x.shape[1:])[atoms]
        moved = moved - moved.mean(0, keepdims=True)
        there = jnp.asarray(fixed, x.dtype)
        c = jnp.einsum("ai...,aj->ij...", moved, there, precision=jax.lax.Precision.HIGHEST)
        squares = (moved**2).sum((0, 1)) + (there**2).sum()
        root = _largest_root(c, squares)
        return jnp.sqrt(jnp.maximum(squares - 2 * root, 0.0) / len(atoms))

    return rmsd


def _largest_root(c: Array, squares: Array) -> Array:
    """Largest eigenvalue of the quaternion matrix of correlations ``(3, 3, *batch)``, scaled to about one."""
    scale = 0.5 * squares + 1e-30
    c = c / scale[None, None]
    c2 = -2 * (c**2).sum((0, 1))
    determinant = (
        c[0, 0] * (c[1, 1] * c[2, 2] - c[1, 2] * c[2, 1])
        - c[0, 1] * (c[1, 0] * c[2, 2] - c[1, 2] * c[2, 0])
        + c[0, 2] * (c[1, 0] * c[2, 1] - c[1, 1] * c[2, 0])
    )
    c1, c0 = -8 * determinant, _determinant_of_key(c)
    root = jnp.ones_like(c2)
    for _ in range(NEWTON):
        value = root**4 + c2 * root**2 + c1 * root + c0
        slope = 4 * root**3 + 2 * c2 * root + c1
        root = root - jnp.where(slope > 0, value / jnp.where(slope > 0, slope, 1.0), 0.0)
    return root * scale


def _determinant_of_key(c: Array) -> Array:
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = c
    key = [
        [xx + yy + zz, yz - zy, zx - xz, xy - yx],
        [yz - zy, xx - yy - zz, xy + yx, zx + xz],
        [zx - xz, xy + yx, yy - xx - zz, yz + zy],
        [xy - yx, zx + xz, yz + zy, zz - xx - yy],
    ]
    minor = lambda a, b, i, j: a[i] * b[j] - a[j] * b[i]
    top = {(i, j): minor(key[0], key[1], i, j) for i in range(4) for j in range(i + 1, 4)}
    low = {(i, j): minor(key[2], key[3], i, j) for i in range(4) for j in range(i + 1, 4)}
    signs = (((0, 1), (2, 3), 1), ((0, 2), (1, 3), -1), ((0, 3), (1, 2), 1))
    total = jnp.zeros_like(xx)
    for first, second, sign in signs:
        total = total + sign * (top[first] * low[second] + top[second] * low[first])
    return total
