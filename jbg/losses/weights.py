"""Importance weights of a batch: truncated, their effective sample size, tempered."""

import jax
import jax.numpy as jnp
from jax import Array

FULL_BASELINE = 0.2  # ESS fraction from which on the control variate of weights is 1
LEAST_ESS = 0.1  # ESS fraction of a batch below which the target is tempered


def largest(x: Array) -> Array:
    """The largest, or 0 where all are -inf."""
    value = jnp.max(x)
    return jnp.where(jnp.isneginf(value), 0.0, value)


def ratio(x: Array, y: Array) -> Array:
    """x / y, and 0 where y = 0: a batch without a usable sample counts for nothing."""
    return jnp.where(y > 0, x / jnp.where(y > 0, y, 1.0), 0.0)


def truncated_weights(log_w: Array) -> Array:
    """Importance weights ``(n,)`` of mean 1, truncated at sqrt(n) times the mean.

    ``log_w`` are the log-weights ``(n,)``, -inf for samples that count for nothing.
    """
    w = jnp.exp(log_w - largest(log_w))
    w = jnp.minimum(ratio(w, jnp.mean(w)), jnp.sqrt(float(log_w.size)))
    return ratio(w, jnp.mean(w))


def ess_of_generator(log_w: Array, log_bias: Array) -> Array:
    """Kish fraction of the generator's weights exp(log_w), from points drawn with a bias s = exp(log_bias).

    E_q[w]^2 / E_q[w^2], with E_q[f] = E[f/s] / E[1/s].
    """
    w = jnp.exp(log_w - largest(log_w))
    per_bias = jnp.exp(-largest(-log_bias) - log_bias)
    first, second, one = (jnp.mean(per_bias * f) for f in (w, w * w, jnp.ones_like(w)))
    return ratio(first * first, second * one)


def trusted_power(log_w: Array, log_bias: Array) -> Array:
    """The largest gamma in (0, 1] at which weights exp(gamma log_w) keep an ESS fraction of LEAST_ESS."""

    def enough(gamma):
        return ess_of_generator(gamma * log_w, log_bias) >= LEAST_ESS

    def halve(_, bracket):
        low, high = bracket
        middle = 0.5 * (low + high)
        good = enough(middle)
        return jnp.where(good, middle, low), jnp.where(good, high, middle)

    one = jnp.ones((), log_w.dtype)
    low, _ = jax.lax.fori_loop(0, 16, halve, (0 * one, one))
    return jnp.where(enough(one), one, jnp.maximum(low, 1e-4))
