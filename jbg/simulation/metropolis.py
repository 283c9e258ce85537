"""Metropolis Monte Carlo of many chains at once, for targets that are cheap to evaluate in JAX."""

import functools

import jax
import jax.numpy as jnp
from jax import Array
from numpy.typing import ArrayLike

from jbg.interfaces import Key, Target
from jbg.simulation.checks import check_energies, check_start, check_step, check_stride


def metropolis(
    key: Key,
    target: Target,
    start: ArrayLike,
    *,
    step: float,
    n_steps: int,
    stride: int,
    tau: float = 1.0,
) -> Array:
    """Chains of exp(-u/tau) by Gaussian moves of all coordinates, accepted by Metropolis.

    A rejected move repeats its configuration, and the repeats are kept: without them the chain has
    another distribution. A move to an energy that is not a number is rejected. To go on after a
    chunk, start from its last frame, ``frames[:, -1]``, with ``jax.random.fold_in(key,
    chunk_number)``: a run in chunks then depends on nothing else, and can be resumed at any of
    them.

    Args:
        key: PRNG key of this chunk.
        target: density; the same object compiles once.
        start: ``(n_chains, dim)``, one configuration a chain.
        step: standard deviation of a move, in the unit of x.
        n_steps: moves of each chain, a multiple of ``stride``.
        stride: moves between frames.
        tau: relative temperature.

    Returns:
        Frames ``(n_chains, n_steps / stride, dim)``; the last one is where the chains stand.

    Raises:
        ConfigError: for a step, stride or start that cannot be run.
    """
    start = jnp.asarray(start, float)
    check_start("metropolis", start, target.dim)
    check_step("metropolis", step, tau)
    check_stride("metropolis", n_steps, stride)
    check_energies("metropolis", target.reduced_energy(start.T))
    frames = _run(key, start.T, step, tau, target=target, n_kept=n_steps // stride, stride=stride)
    return jnp.transpose(frames, (2, 0, 1))


@functools.partial(jax.jit, static_argnames=("target", "n_kept", "stride"))
def _run(
    key: Key, x: Array, step: float, tau: float, *, target: Target, n_kept: int, stride: int
) -> Array:
    """Frames ``(n_kept, dim, n_chains)`` from x ``(dim, n_chains)``."""

    def move(i, state):
        x, u = state
        key_move, key_accept = jax.random.split(jax.random.fold_in(key, i))
        x_new = x + step * jax.random.normal(key_move, x.shape, x.dtype)
        u_new = target.reduced_energy(x_new)
        # -ln of a uniform number is exponential; NaN compares false and is rejected
        accept = u_new - u < tau * jax.random.exponential(key_accept, u.shape, u.dtype)
        return jnp.where(accept[None], x_new, x), jnp.where(accept, u_new, u)

    def frame(state, first):
        state = jax.lax.fori_loop(first, first + stride, move, state)
        return state, state[0]

    return jax.lax.scan(frame, (x, target.reduced_energy(x)), stride * jnp.arange(n_kept))[1]
