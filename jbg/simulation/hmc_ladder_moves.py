"""The moves of a ladder of hybrid Monte Carlo: trajectories, jumps, and swaps of neighbours in temperature.

A place is (v ``(dim, T, L)``, u ``(T, L)``, du/dv ``(dim, T, L)``) of L ladders at T temperatures.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from jbg.interfaces import Key, Target
from jbg.simulation.exchange import swap_neighbours, tempering_ratio
from jbg.simulation.hmc import JITTER

# (key, v (dim, *batch)) -> another v, as likely the other way round
Jump = Callable[[Key, Array], Array]
Region = Callable[[Array], Array]  # v (dim, *batch) -> whether it lies in the target (*batch)


def value_and_gradient(target: Target, v: Array) -> tuple[Array, Array]:
    u, pull = jax.vjp(target.reduced_energy, v)
    return u, pull(jnp.ones_like(u))[0]


def trajectory(key, target, place, step, tau, metric, n_leapfrog, region):
    """One trajectory of each replica.

    Args:
        key: PRNG key.
        target: density of v.
        place: where they are.
        step: time step at each temperature ``(T, 1)``.
        tau: relative temperatures ``(T, 1)``.
        metric: v moves with it times the momentum ``(dim, dim)``.
        n_leapfrog: steps.
        region: where trajectories may end; None for anywhere.

    Returns:
        Places, the probabilities with which they were accepted wherever they ended, which time steps adapt to, and
        which of those accepted ended outside the region ``(T, L)``.
    """
    v, u, gradient = place
    key_momentum, key_jitter, key_accept = jax.random.split(key, 3)
    h = step * jax.random.uniform(key_jitter, u.shape, v.dtype, 1 - JITTER, 1 + JITTER)
    through = lambda matrix, a: jnp.tensordot(matrix, a, 1, precision=jax.lax.Precision.HIGHEST)
    kick = lambda p, g: p - (0.5 * h / tau)[None] * through(metric.T, g)
    p = jax.random.normal(key_momentum, v.shape, v.dtype)

    def leapfrog(_, carry):
        v, p, _, g = carry
        p = kick(p, g)
        v = v + h[None] * through(metric, p)
        u, g = value_and_gradient(target, v)
        return v, kick(p, g), u, g

    v_new, p_new, u_new, g_new = jax.lax.fori_loop(0, n_leapfrog, leapfrog, (v, p, u, gradient))
    change = (u_new - u) / tau + 0.5 * (p_new**2 - p**2).sum(0)
    # -ln of a uniform number is exponential; NaN compares false and is rejected
    accept = change < jax.random.exponential(key_accept, change.shape, change.dtype)
    probability = jnp.nan_to_num(jnp.exp(-jnp.maximum(change, 0.0)))
    stays = accept & _within(region, v_new)
    return _chosen(stays, (v_new, u_new, g_new), place), probability, accept & ~stays


def jumps(keys, target, jump, place, tau, region):
    """Places after some jumps by Metropolis's rule, and how many of them each replica made ``(T, L)``.

    Few jumps are accepted, so they take energies alone; one gradient at the end serves them all.

    Args:
        keys: PRNG keys ``(n,)`` of as many jumps.
        target: density of v.
        jump: the proposal, symmetric.
        place: where they are.
        tau: relative temperatures ``(T, 1)``.
        region: where jumps may end; None for anywhere.
    """

    def once(at, key):
        v, u, made = at
        key_jump, key_accept = jax.random.split(key)
        there = jump(key_jump, v)
        u_there = target.reduced_energy(there)
        change = (u_there - u) / tau
        accept = change < jax.random.exponential(key_accept, change.shape, change.dtype)
        accept = accept & _within(region, there)
        return (*_chosen(accept, (there, u_there), (v, u)), made + accept), None

    v, u, gradient = place
    (v, u, made), _ = jax.lax.scan(once, (v, u, jnp.zeros(u.shape, jnp.int32)), keys)
    moved = made > 0
    _, at_end = value_and_gradient(target, v)
    return (v, u, jnp.where(moved[None], at_end, gradient)), made


def _within(region: Region | None, v: Array) -> Array:
    return jnp.ones(v.shape[1:], bool) if region is None else region(v)


def _chosen(accept: Array, new: tuple[Array, ...], old: tuple[Array, ...]) -> tuple[Array, ...]:
    return tuple(
        jnp.where(accept if a.ndim == 2 else accept[None], a, b)
        for a, b in zip(new, old, strict=True)
    )


def swap(key, place, walker, taus, parity):
    """Places and walkers after neighbours in temperature tried to swap, and which pairs did ``(T - 1, L)``.

    Args:
        key: PRNG key.
        place: where they are.
        walker: which replica each is ``(T, L)``.
        taus: relative temperatures ``(T,)``.
        parity: 0 for even pairs, 1 for odd ones.
    """
    v, u, gradient = place
    dim = len(v)
    rows = jnp.concatenate([v, gradient, u[None], walker[None].astype(v.dtype)])
    rows, swapped = swap_neighbours(key, rows, tempering_ratio(u, taus), axis=0, parity=parity)
    place = rows[:dim], rows[2 * dim], rows[dim : 2 * dim]
    return place, rows[2 * dim + 1].astype(jnp.int32), swapped
