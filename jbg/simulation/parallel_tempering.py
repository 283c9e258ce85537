"""Parallel tempering of analytic targets: many independent ladders in one compiled program.

Each rung of a ladder samples exp(-u/tau) by hybrid Monte-Carlo trajectories; after each, neighbours
try to swap with min(1, exp((1/tau_i - 1/tau_j) (u_i - u_j))), even and odd pairs in turn. All rungs are
exact, so one run gives every temperature. Molecules have :mod:`jbg.simulation.replica_exchange`, which
drives OpenMM. Reference: Sugita & Okamoto 1999, doi:10.1016/S0009-2614(99)01123-9.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from jbg.interfaces import ConfigError, Key, RunError, Target
from jbg.simulation.checks import check_energies, check_start, check_step
from jbg.simulation.exchange import check_ladder, swap_neighbours, tempering_ratio
from jbg.simulation.hmc import HmcConfig, adapted, trajectory

__all__ = ["HmcConfig", "TemperedSamples", "parallel_tempering"]


class TemperedSamples(NamedTuple):
    """Host arrays. T temperatures, L ladders, n frames of each."""

    taus: np.ndarray  # (T,)
    frames: np.ndarray  # (T, L, n, dim)
    energies: np.ndarray  # (T, L, n), kT
    steps: np.ndarray  # (T,) time steps used
    acceptance: np.ndarray  # (T,) of trajectories, after burn-in
    swap_acceptance: np.ndarray  # (T - 1,) of neighbours, after burn-in
    energy_evaluations: int  # with gradients


def parallel_tempering(
    key: Key,
    target: Target,
    start: ArrayLike,
    *,
    taus: ArrayLike,
    n_ladders: int,
    config: HmcConfig,
    step: float = 0.1,
) -> TemperedSamples:
    """Frames of exp(-u/tau) at every temperature of a ladder.

    Args:
        key: PRNG key.
        target: density, with a gradient; the same object compiles once.
        start: ``(n, dim)`` known configurations; ladder j starts from row j mod n.
        taus: relative temperatures, rising.
        n_ladders: independent ladders; resample these for errors, not frames.
        config: numbers of trajectories of each chain, and of leapfrog steps in each.
        step: time step at tau = 1 that adaptation starts from.

    Raises:
        ConfigError: taus that do not rise or are not > 0, a start of the wrong shape or without a finite
            energy, counts that cannot be run.
        RunError: a temperature at which hardly any trajectory is accepted.
    """
    ladder = check_ladder("parallel tempering", taus)
    start = jnp.asarray(start)
    check_start("parallel tempering", start, target.dim, "n")
    check_step("parallel tempering", step)
    if n_ladders < 1:
        raise ConfigError(f"parallel tempering: n_ladders must be at least 1, got {n_ladders}")
    check_energies("parallel tempering", target.reduced_energy(start.T))
    first = jnp.repeat(start.T[:, None, np.arange(n_ladders) % len(start)], ladder.size, axis=1)
    frames, energies, log_step, accepted, swapped, tried = jax.device_get(
        _run(key, first, jnp.asarray(ladder, first.dtype), step, target=target, config=config)
    )
    acceptance = accepted / config.n_steps
    if not acceptance.min() > 0.1:
        worst = ladder[np.argmin(acceptance)]
        raise RunError(
            f"parallel tempering: {acceptance.min():.0%} of the trajectories at tau={worst:.4g} are"
            " accepted; lengthen n_burn_in or lower step"
        )
    n_trajectories = config.n_burn_in + config.n_steps
    return TemperedSamples(
        taus=ladder,
        frames=frames.transpose(2, 3, 0, 1),
        energies=energies.transpose(1, 2, 0),
        steps=np.exp(log_step),
        acceptance=acceptance,
        swap_acceptance=swapped / np.maximum(tried, 1),
        energy_evaluations=ladder.size * n_ladders * n_trajectories * (config.n_leapfrog + 1),
    )


class _Chains(NamedTuple):
    x: Array  # (dim, T, L)
    energy: Array  # (T, L)
    log_step: Array  # (T,)
    accepted: Array  # (T,)
    swapped: Array  # (T - 1,)
    tried: Array  # (T - 1,)


@functools.partial(jax.jit, static_argnames=("target", "config"))
def _run(
    key: Key, x: Array, taus: Array, step: float, *, target: Target, config: HmcConfig
) -> tuple[Array, ...]:
    """Frames ``(n, dim, T, L)``, energies ``(n, T, L)`` and the counters, from x ``(dim, T, L)``."""
    n_taus, n_pairs = len(taus), len(taus) - 1
    n_burn_in, stride = config.n_burn_in, config.stride

    def advance(i: Array, chains: _Chains) -> _Chains:
        key_move, key_swap = jax.random.split(jax.random.fold_in(key, i))
        x, energy, probability = trajectory(
            key_move,
            target.reduced_energy,
            chains.x,
            step=jnp.exp(chains.log_step)[:, None],
            tau=taus[:, None],
            n_leapfrog=config.n_leapfrog,
        )
        acceptance = probability.mean(1)
        # the energy travels with its configuration
        both = jnp.concatenate([x, energy[None]])
        both, swapped = swap_neighbours(
            key_swap, both, tempering_ratio(energy, taus), axis=0, parity=i % 2
        )
        tried = (jnp.arange(n_pairs) % 2 == i % 2).astype(x.dtype)
        return _Chains(
            x=both[:-1],
            energy=both[-1],
            log_step=adapted(chains.log_step, acceptance, i, n_adapt=n_burn_in),
            accepted=chains.accepted + acceptance,
            swapped=chains.swapped + swapped.mean(1, dtype=x.dtype),
            tried=chains.tried + tried,
        )

    def frame(chains: _Chains, first: Array) -> tuple[_Chains, tuple[Array, Array]]:
        chains = jax.lax.fori_loop(first, first + stride, advance, chains)
        return chains, (chains.x, chains.energy)

    zeros = {
        "accepted": jnp.zeros(n_taus, x.dtype),
        "swapped": jnp.zeros(n_pairs, x.dtype),
        "tried": jnp.zeros(n_pairs, x.dtype),
    }
    log_step = (jnp.log(step) + 0.5 * jnp.log(taus)).astype(x.dtype)
    chains = _Chains(x=x, energy=target.reduced_energy(x), log_step=log_step, **zeros)
    chains = jax.lax.fori_loop(0, n_burn_in, advance, chains)._replace(**zeros)
    chains, (frames, energies) = jax.lax.scan(
        frame, chains, n_burn_in + stride * jnp.arange(config.n_kept)
    )
    return frames, energies, chains.log_step, chains.accepted, chains.swapped, chains.tried
