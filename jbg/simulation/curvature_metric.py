"""The metric of trajectories that makes a density's mean curvature one in every direction.

With g = du/dv the matrix F = E[g g^T] is in equilibrium the mean of the second derivatives of u, and v moves with
F^-1/2 times a momentum of unit mass. In coordinates whitened one by one a few stiff combinations (a turn of the
backbone that pushes distant residues together) are a hundred times narrower than all else and hold every
trajectory back; a covariance does not show them where rotamers spread the coordinates. On chignolin's slice
correlations over one trajectory fall from 0.95 to 0.4. The constant case of Girolami and Calderhead 2011,
doi:10.1111/j.1467-9868.2010.00765.x.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

BOUND = 3.0  # times the median length, that gradients are shortened to: one clash would be all of F
SOFTEST = 1.0  # least curvature that counts: nothing moves by more than momenta alone would


def curvature(gradient: Array, taus: Array) -> Array:
    """Sum of g g^T / tau ``(dim, dim)`` over replicas ``(dim, T, L)`` at relative temperatures ``(T,)``, each g
    shortened to BOUND times the median length; those that are not finite are left out."""
    g = gradient / jnp.sqrt(taus)[None, :, None]
    length = jnp.sqrt((g * g).sum(0))
    known = jnp.isfinite(length)
    length = jnp.where(known, length, jnp.inf)
    share = jnp.minimum(1.0, BOUND * jnp.median(length) / jnp.maximum(length, 1e-30))
    g = jnp.where(known[None], g * share[None], 0.0).reshape(len(g), -1)
    return jnp.tensordot(g, g.T, 1, precision=jax.lax.Precision.HIGHEST)


def metric_of(summed: np.ndarray, n: float, *, shrink: bool = True) -> np.ndarray:
    """F^-1/2 ``(dim, dim)``, symmetric, of a sum over n gradients.

    Args:
        summed: from `curvature` ``(dim, dim)``.
        n: gradients.
        shrink: to the diagonal where they are few. A few hundred times stiffer combinations then stiffen the
            others; without it n should be some times dim.
    """
    f, few = summed / n, len(summed) / (n + len(summed)) if shrink else 0.0
    w, q = np.linalg.eigh((1 - few) * f + few * np.diag(np.diag(f)))
    return (q / np.sqrt(np.maximum(w, SOFTEST))) @ q.T
