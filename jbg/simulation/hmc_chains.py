"""Many independent hybrid Monte-Carlo chains of one density, such as frames of one metastable state."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from jbg.interfaces import Key, Target
from jbg.simulation.checks import check_energies, check_start, check_step
from jbg.simulation.hmc import HmcConfig, adapted, trajectory

__all__ = ["HmcConfig", "hmc_chains"]


def hmc_chains(
    key: Key,
    target: Target,
    start: ArrayLike,
    *,
    config: HmcConfig,
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
        config: numbers of trajectories, and of leapfrog steps in each.
        step: time step that adaptation starts from.
        tau: relative temperature.

    Returns:
        Frames ``(n_chains, n_steps / stride, dim)``, and the mean acceptance after burn-in.

    Raises:
        ConfigError: a start of the wrong shape or without finite energy, or a step or tau that is not > 0.
    """
    start = jnp.asarray(start, jnp.float32)
    check_start("hmc chains", start, target.dim)
    check_step("hmc chains", step, tau)
    check_energies("hmc chains", target.reduced_energy(start.T))
    frames, acceptance = _run(key, start.T, step, tau, target=target, config=config)
    return np.ascontiguousarray(np.transpose(frames, (2, 0, 1))), float(acceptance)


@functools.partial(jax.jit, static_argnames=("target", "config"))
def _run(
    key: Key, x: Array, step: float, tau: float, *, target: Target, config: HmcConfig
) -> tuple[Array, Array]:
    """Frames ``(n_kept, dim, n_chains)`` and the mean acceptance."""
    n_burn_in, stride = config.n_burn_in, config.stride

    def move(i: Array, x: Array, log_step: Array) -> tuple[Array, Array]:
        x, _, probability = trajectory(
            jax.random.fold_in(key, i),
            target.reduced_energy,
            x,
            step=jnp.exp(log_step)[None],
            tau=jnp.full((1,), tau, x.dtype),
            n_leapfrog=config.n_leapfrog,
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

    _, (frames, accepted) = jax.lax.scan(frame, x, n_burn_in + stride * jnp.arange(config.n_kept))
    return frames, accepted.mean()
