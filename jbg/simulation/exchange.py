"""Swaps of configurations between neighbours on a ladder of temperatures or of windows."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from jbg.interfaces import ConfigError, Key


def check_ladder(where: str, taus: ArrayLike) -> np.ndarray:
    """Relative temperatures ``(T,)``.

    Raises:
        ConfigError: unless there is at least one, and they are finite, positive and rising.
    """
    ladder = np.atleast_1d(np.asarray(taus, np.float64))
    if ladder.ndim != 1 or ladder.size == 0 or not np.isfinite(ladder).all() or ladder.min() <= 0:
        raise ConfigError(f"{where}: taus must be numbers > 0, got {taus}")
    if not (np.diff(ladder) > 0).all():
        raise ConfigError(f"{where}: taus must rise without repeats, got {taus}; sort them")
    return ladder


def swap_neighbours(
    key: Key, x: Array, log_ratio: Array, *, axis: int, parity: Array
) -> tuple[Array, Array]:
    """Swap along one batch axis: pairs (0, 1), (2, 3), ... for parity 0, (1, 2), ... for parity 1.

    Args:
        key: PRNG key.
        x: ``(dim, *batch)``.
        log_ratio: ln of the ratio of the joint densities after and before the swap of rungs i and
            i + 1; as the batch, but one shorter along ``axis``.
        axis: of the batch (0 is the axis after ``dim``).
        parity: 0 or 1, in turn.

    Returns:
        Configurations after the swaps, and which pairs swapped, as ``log_ratio``. Pairs that were
        not tried count as not swapped.
    """
    n_pairs = log_ratio.shape[axis]
    shape = [1] * log_ratio.ndim
    shape[axis] = n_pairs
    tried = (jnp.arange(n_pairs) % 2 == parity).reshape(shape)
    if n_pairs == 0:
        return x, jnp.zeros(log_ratio.shape, bool)
    draw = jax.random.exponential(key, log_ratio.shape, log_ratio.dtype)
    swapped = tried & (-log_ratio < draw)
    end = jnp.zeros_like(jax.lax.slice_in_dim(swapped, 0, 1, axis=axis))
    takes_next = jnp.concatenate([swapped, end], axis)[None]
    takes_last = jnp.concatenate([end, swapped], axis)[None]
    new = jnp.where(takes_next, jnp.roll(x, -1, axis + 1), x)
    return jnp.where(takes_last, jnp.roll(x, 1, axis + 1), new), swapped


def tempering_ratio(energy: Array, taus: Array) -> Array:
    """ln ratio (1/tau_i - 1/tau_j) (E_i - E_j) of rungs i and j = i + 1; rungs on the first axis."""
    beta = (1 / taus).reshape(-1, *(1,) * (energy.ndim - 1))
    return (beta[:-1] - beta[1:]) * (energy[:-1] - energy[1:])
