"""Huber's loss, and the centre it gives a sample: square near the centre, linear far from it."""

import jax
import jax.numpy as jnp
from jax import Array

HALVINGS = 48  # of the bracket of a centre: a range of 1e10 kT is then searched to 1e-4


def huber(r: Array, delta: float) -> Array:
    """r^2 / 2 where |r| <= delta, and delta (|r| - delta/2) beyond."""
    a = jnp.abs(r)
    return jnp.where(a <= delta, 0.5 * r * r, delta * (a - 0.5 * delta))


def huber_centre(r: Array, delta: float) -> Array:
    """The c with the least mean of huber(r - c, delta) (Huber 1964): between the mean and the median.

    Args:
        r: ``(n,)``, finite.
    """

    def halve(_, bracket):
        low, high = bracket
        middle = 0.5 * (low + high)
        left = jnp.mean(jnp.clip(r - middle, -delta, delta)) < 0
        return jnp.where(left, low, middle), jnp.where(left, middle, high)

    low, high = jax.lax.fori_loop(0, HALVINGS, halve, (r.min(), r.max()))
    return 0.5 * (low + high)
