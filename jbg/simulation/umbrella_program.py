"""The compiled rounds behind umbrella sampling: pull, burn in, sample, swap; all chains at once."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jbg.interfaces import CollectiveVariable, Key, State, Target
from jbg.simulation.exchange import swap_neighbours, tempering_ratio
from jbg.simulation.hmc import adapted, trajectory
from jbg.simulation.umbrella_config import UmbrellaConfig


class Chains(NamedTuple):
    """Where the replicas of one program stand, and sums over trajectories; the batch is (T, W, R)."""

    x: Array  # (dim, T, W, R)
    log_step: Array  # (T, W)
    accepted: Array  # (T, W)
    window_swaps: Array  # (T, W - 1)
    tau_swaps: Array  # (T - 1, W)


class Program(NamedTuple):
    """Compiled functions; ``setting`` is start ``(dim, R)``, centres ``(W,)`` and taus ``(T,)``.

    begin(*setting) -> chains where they start.
    adapt(key, chains, first, last, *setting) -> chains after trajectories first to last - 1.
    sample(key, chains, first, *setting) -> (chains after ``frame_stride`` trajectories, (values
    ``(n, T, W, R)``, membership ``(n, S, T, W, R)``)), the last of them those of the chains.
    """

    begin: Callable[..., Chains]
    adapt: Callable[..., Chains]
    sample: Callable[..., tuple[Chains, tuple[Array, Array]]]


def compiled(
    target: Target,
    variable: CollectiveVariable,
    states: tuple[State, ...],
    config: UmbrellaConfig,
    key: Key,
    *setting: Array,
) -> Program:
    """The compiled rounds, made once before threads ask for them.

    Args:
        target: density, with a gradient; the same objects compile once.
        variable: the collective variable that the windows bias.
        states: regions whose membership is recorded.
        config: of the umbrella sampling.
        key: PRNG key of any program; only its type matters.
        setting: start, centres and taus of any program (`Program`); only their shapes and type matter.
    """
    shapes = tuple(a.shape for a in setting)
    return _program_of_shapes(target, variable, states, config, key.dtype, shapes, setting[0].dtype)


@functools.lru_cache(maxsize=8)
def _program_of_shapes(target, variable, states, config, key_dtype, shapes, dtype) -> Program:
    fixed = dict(target=target, variable=variable, states=states, config=config)

    def begin(*setting):
        return _begin(*setting, config=config)

    def adapt(key, chains, first, last, *setting):
        advance, _ = _moves(key, *setting, **fixed)
        return jax.lax.fori_loop(first, last, advance, chains)

    def sample(key, chains, first, *setting):
        _, measure = _moves(key, *setting, **fixed)
        starts = first + config.stride * jnp.arange(config.frame_stride // config.stride)
        return jax.lax.scan(measure, chains, starts)

    setting = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]
    key, count = jax.ShapeDtypeStruct((), key_dtype), jax.ShapeDtypeStruct((), jnp.int32)
    chains = jax.eval_shape(begin, *setting)
    return Program(
        begin=jax.jit(begin).lower(*setting).compile(),
        adapt=jax.jit(adapt).lower(key, chains, count, count, *setting).compile(),
        sample=jax.jit(sample).lower(key, chains, count, *setting).compile(),
    )


def _begin(start: Array, centres: Array, taus: Array, *, config: UmbrellaConfig) -> Chains:
    shape = (len(taus), len(centres), start.shape[1])
    # a twentieth of the bias's own width: safe to start from, and adapted upwards
    step = 0.05 * jnp.sqrt(taus / config.force_constant)[:, None]
    return Chains(
        x=jnp.broadcast_to(start[:, None, None], (start.shape[0], *shape)),
        log_step=jnp.broadcast_to(jnp.log(step), shape[:2]),
        accepted=jnp.zeros(shape[:2], start.dtype),
        window_swaps=jnp.zeros((shape[0], shape[1] - 1), start.dtype),
        tau_swaps=jnp.zeros((shape[0] - 1, shape[1]), start.dtype),
    )


def _moves(
    key: Key,
    start: Array,
    centres: Array,
    taus: Array,
    *,
    target: Target,
    variable: CollectiveVariable,
    states: tuple[State, ...],
    config: UmbrellaConfig,
) -> tuple[Callable, Callable]:
    """advance(i, chains), one trajectory and swap; measure(chains, first), ``stride`` of them and a value."""
    shape = (len(taus), len(centres), start.shape[1])
    first_centre = jnp.broadcast_to(variable.of(start), shape)
    last_centre = jnp.broadcast_to(centres[None, :, None], shape)

    def advance(i: Array, chains: Chains) -> Chains:
        key_move, key_swap = jax.random.split(jax.random.fold_in(key, i))
        pulled = jnp.minimum((i + 1) / config.n_pull, 1.0).astype(start.dtype)
        centre = first_centre + pulled * (last_centre - first_centre)
        x, energy, probability = trajectory(
            key_move,
            lambda x: target.reduced_energy(x) + bias(variable.of(x), centre, config),
            chains.x,
            step=jnp.exp(chains.log_step)[..., None],
            tau=taus[:, None, None],
            n_leapfrog=config.n_leapfrog,
        )
        acceptance = probability.mean(-1)
        chains = chains._replace(
            x=x,
            log_step=adapted(chains.log_step, acceptance, i, n_adapt=config.n_adapt),
            accepted=chains.accepted + acceptance,
        )
        if not config.exchange:
            return chains
        along_windows = functools.partial(
            _swap_windows, taus=taus, centre=centre, variable=variable, config=config
        )
        if len(taus) == 1:
            return along_windows(key_swap, chains, energy, i % 2)
        return jax.lax.cond(
            i % 2 == 0, along_windows, functools.partial(_swap_taus, taus=taus),
            key_swap, chains, energy, (i // 2) % 2,
        )  # fmt: skip

    def measure(chains: Chains, first: Array) -> tuple[Chains, tuple[Array, Array]]:
        chains = jax.lax.fori_loop(first, first + config.stride, advance, chains)
        inside = [state.contains(chains.x) for state in states]
        inside = jnp.stack(inside) if inside else jnp.zeros((0, *shape), bool)
        return chains, (variable.of(chains.x), inside)

    return advance, measure


def bias(value: Array, centre: Array, config: UmbrellaConfig) -> Array:
    """k/2 (r - r_i)^2 in kT at the reference temperature."""
    return 0.5 * config.force_constant * (value - centre) ** 2


def _swap_windows(key, chains: Chains, _, parity, *, taus, centre, variable, config) -> Chains:
    """Windows i and i + 1 swap; u cancels, the change of the biases is divided by tau."""
    value = variable.of(chains.x)
    b = lambda value, centre: bias(value, centre, config)
    before = b(value[:, :-1], centre[:, :-1]) + b(value[:, 1:], centre[:, 1:])
    after = b(value[:, 1:], centre[:, :-1]) + b(value[:, :-1], centre[:, 1:])
    log_ratio = (before - after) / taus[:, None, None]
    x, swapped = swap_neighbours(key, chains.x, log_ratio, axis=1, parity=parity)
    total = chains.window_swaps + swapped.mean(-1, dtype=x.dtype)
    return chains._replace(x=x, window_swaps=total)


def _swap_taus(key, chains: Chains, energy, parity, *, taus) -> Chains:
    """Temperatures i and i + 1 swap within a window; ``energy`` is u + bias."""
    log_ratio = tempering_ratio(energy, taus)
    x, swapped = swap_neighbours(key, chains.x, log_ratio, axis=0, parity=parity)
    return chains._replace(x=x, tau_swaps=chains.tau_swaps + swapped.mean(-1, dtype=x.dtype))
