"""Many independent hybrid Monte-Carlo chains of one density, such as frames of one metastable state."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from jbg.interfaces import ConfigError, Key, Target
from jbg.simulation.hmc import adapted, trajectory


def hmc_chains(
    key: Key,
    target: Target,
    start: ArrayLike,
    *,
    n_steps: int,
    stride: int,
    n_burn_in: int = 200,
    n_leapfrog: int = 8,
    step: float = 0.01,
    tau: float = 1.0,
) -> tuple[np.ndarray, float]:
    """Chains of exp(-u/tau), one from each starting configuration.

    The time step, the same for all chains, adapts during burn-in and is frozen afterwards. A target that is
    restricted (`targets.restrict`) keeps every chain in its region.

    Args:
        key: PRNG key.
        target: density, with a gradient; the same object compiles once.
        start: ``(n_chains, dim)``, of finite energy.
        n_steps: trajectories of each chain after burn-in, a multiple of ``stride``.
        stride: trajectories between frames.
        n_burn_in: trajectories thrown away.
        n_leapfrog: leapfrog steps of a trajectory.
        step: time step that adaptation starts from.
        tau: relative temperature.

    Returns:
        Frames ``(n_chains, n_steps / stride, dim)``, and the mean acceptance after burn-in.

    Raises:
        ConfigError: a start of the wrong shape or without finite energy, or counts that cannot be run.
    """
    start = jnp.asarray(start, jnp.float32)
    if start.ndim != 2 or start.shape[1] != target.dim or len(start) == 0:
        raise ConfigError(f"hmc chains: start must be (n_chains, {target.dim}), got {start.shape}")
    if n_leapfrog < 1 or n_burn_in < 0:
        raise ConfigError(
            "hmc chains: n_leapfrog must be at least 1 and n_burn_in not negative, got"
            f" {n_leapfrog} and {n_burn_in}"
        )
    if stride < 1 or n_steps < stride or n_steps % stride:
        raise ConfigError(
            f"hmc chains: n_steps must be a multiple of stride >= 1, got {n_steps} and {stride}"
        )
    if not (math.isfinite(step) and step > 0 and math.isfinite(tau) and tau > 0):
        raise ConfigError(f"hmc chains: step and tau must be > 0, got step={step}, tau={tau}")
    if not np.isfinite(target.reduced_energy(start.T)).all():
        raise ConfigError(
            "hmc chains: the energy of a starting configuration is not finite; start elsewhere"
        )
    frames, acceptance = _run(
        key,
        start.T,
        step,
        tau,
        target=target,
        n_burn_in=n_burn_in,
        n_kept=n_steps // stride,
        stride=stride,
        n_leapfrog=n_leapfrog,
    )
    return np.ascontiguousarray(np.transpose(frames, (2, 0, 1))), float(acceptance)


@functools.partial(
    jax.jit, static_argnames=("target", "n_burn_in", "n_kept", "stride", "n_leapfrog")
)
def _run(
    key: Key,
    x: Array,
    step: float,
    tau: float,
    *,
    target: Target,
    n_burn_in: int,
    n_kept: int,
    stride: int,
    n_leapfrog: int,
) -> tuple[Array, Array]:
    """Frames ``(n_kept, dim, n_chains)`` and the mean acceptance."""

    def move(i: Array, x: Array, log_step: Array) -> tuple[Array, Array]:
        x, _, probability = trajectory(
            jax.random.fold_in(key, i),
            target.reduced_energy,
            x,
            step=jnp.exp(log_step)[None],
            tau=jnp.full((1,), tau, x.dtype),
            n_leapfrog=n_leapfrog,
        )
        return x, probability.mean()

    def burn_in(i, state):
        x, log_step = state
        x, accepted = move(i, x, log_step)
        return x, adapted(log_step, accepted, i, n_adapt=n_burn_in)

    x, log_step = jax.lax.fori_loop(0, n_burn_in, burn_in, (x, jnp.log(jnp.asarray(step, x.dtype))))

    def frame(x, first):
        def kept(i, state):
            x, total = state
            x, accepted = move(i, x, log_step)
            return x, total + accepted

        x, total = jax.lax.fori_loop(first, first + stride, kept, (x, jnp.zeros((), x.dtype)))
        return x, (x, total / stride)

    _, (frames, accepted) = jax.lax.scan(frame, x, n_burn_in + stride * jnp.arange(n_kept))
    return frames, accepted.mean()
