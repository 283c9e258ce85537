"""Angles as an affine flow makes them: numbers on the line, of which those within a turn are configurations."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from jbg.interfaces import Bijector


def windows(scale: ArrayLike, n_linear: int) -> Bijector:
    """v = scale y for the first variables, the others as they are; a v outside [-pi, pi) is no configuration.

    Affine couplings know no circle: Noe et al. 2019 standardise torsions, generate numbers, and discard samples
    with a torsion beyond [-pi, pi], which a loss keeps few (`losses.TorsionRange`). Here those have
    log-determinant -inf, so that their weight is zero; the density of the others is that of the line, which sums
    to the share inside.

    Args:
        scale: of each angle ``(n,)``, such as its standard deviation in radians.
        n_linear: number of the other variables.

    Raises:
        ValueError: a scale that is not positive.
    """
    scale = np.asarray(scale, float)
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise ValueError(f"windows: expected positive scales, got {scale}")
    n, dim = len(scale), len(scale) + n_linear
    factor = np.concatenate([scale, np.ones(n_linear)])
    volume = float(np.log(scale).sum())

    def log_det(v: Array, value: float) -> Array:
        inside = jnp.all((v[:n] >= -jnp.pi) & (v[:n] < jnp.pi), axis=0)
        return jnp.where(inside, jnp.asarray(value, v.dtype), -jnp.inf)

    def by(a: Array) -> Array:
        return jnp.asarray(factor, a.dtype).reshape(-1, *[1] * (a.ndim - 1))

    def forward(params, y):
        v = y * by(y)
        return v, log_det(v, volume)

    def inverse(params, v):
        return v / by(v), log_det(v, -volume)

    return Bijector(dim_in=dim, dim_out=dim, init=lambda key: (), forward=forward, inverse=inverse)
