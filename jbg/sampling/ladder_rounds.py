"""Rounds of ladders between a generator and its target: a trajectory of every walker, swaps, a new first rung."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh
from numpy.typing import ArrayLike

from jbg.interfaces import Key, Params
from jbg.sampling.latent_ladder import ACCEPTANCE, LadderPrograms, LatentLadder, Walkers
from jbg.simulation.exchange import swap_neighbours
from jbg.simulation.hmc import adapted
from jbg.training.mesh import device_mesh, replicate


class Ladders(NamedTuple):
    """R ladders of K rungs: `Walkers` with batch ``(K, R)``, whether each has not arrived since it was drawn
    ``(K, R)`` bool, b of the rungs ``(K,)`` and ln of the time steps of the coordinates on them ``(dim_z, K)``."""

    walkers: Walkers
    fresh: Any
    b: Any
    log_step: Any


class RoundCounts(NamedTuple):
    """Of one round: mean acceptance of trajectories ``(K,)``, swapped and tried pairs ``(K - 1,)``, fresh samples
    that arrived ``(R,)``, and the share of first-rung walkers that were refreshed."""

    acceptance: Array
    swapped: Array
    tried: Array
    arrivals: Array
    refreshed: Array


def make_round(
    programs: LadderPrograms, settings: LatentLadder, mesh: Mesh | None = None
) -> Callable[[Params, Ladders, Key, int], tuple[Ladders, RoundCounts]]:
    """(params, ladders, key of all rounds, number of the round) -> ladders and counts.

    Nothing leaves the devices between its three compiled parts.
    """
    mesh = mesh or device_mesh()

    def round_(params, ladders, key, i):
        placed = replicate(jax.tree.map(jnp.asarray, (ladders, params, key)), mesh)
        ladders, params, key = placed
        key_move, key_fresh, key_rest = jax.random.split(jax.random.fold_in(key, i), 3)
        k, r = ladders.fresh.shape
        n = settings.n_walkers
        flat = jax.tree.map(lambda a: _filled(a, n), ladders.walkers)
        b, log_step = (
            _filled(jnp.broadcast_to(a[..., None], (*a.shape, r)), n)
            for a in (ladders.b, ladders.log_step)
        )
        moved, probability = programs.move(params, flat, b, log_step, key_move)
        drawn = programs.draw(params, key_fresh)
        return _exchange(
            ladders, moved, probability, drawn, key_rest, jnp.int32(i), n_adapt=settings.n_burn_in
        )

    return round_


def ladders_of(walkers: Walkers, b: ArrayLike, log_step: ArrayLike) -> Ladders:
    """Ladders of walkers with batch ``(K, R)``; none of them counts as fresh.

    Args:
        walkers: on the rungs.
        b: of the rungs ``(K,)``.
        log_step: ln of the time steps of the coordinates ``(dim_z, K)``, or of all of them ``(K,)``.
    """
    z, x, log_w, u = (jnp.asarray(a) for a in walkers)
    steps = jnp.broadcast_to(jnp.asarray(log_step, z.dtype), z.shape[:2])
    return Ladders(Walkers(z, x, log_w, u), jnp.zeros(log_w.shape, bool), jnp.asarray(b), steps)


def _filled(a: Array, n: int) -> Array:
    """(..., K, R) -> (..., n), the rest filled with the first ones again."""
    flat = a.reshape(*a.shape[:-2], -1)
    return jnp.concatenate([flat, flat[..., : n - flat.shape[-1]]], axis=-1)


def _packed(w: Walkers, fresh: Array) -> Array:
    rows = (w.z, w.x, w.log_w[None], w.u[None], fresh[None].astype(w.z.dtype))
    return jnp.concatenate(rows)


def _unpacked(rows: Array, dim_z: int) -> tuple[Walkers, Array]:
    return Walkers(rows[:dim_z], rows[dim_z:-3], rows[-3], rows[-2]), rows[-1] > 0.5


@functools.partial(jax.jit, static_argnames="n_adapt")
def _exchange(
    ladders: Ladders,
    moved: Walkers,
    probability: Array,
    drawn: Walkers,
    key: Key,
    i: Array,
    *,
    n_adapt: int,
) -> tuple[Ladders, RoundCounts]:
    """Swaps of neighbours, a new first rung, and the count of arrivals."""
    (k, r), b = ladders.fresh.shape, ladders.b
    key_swap, key_pick = jax.random.split(key)
    walkers = jax.tree.map(lambda a: a[..., : k * r].reshape(*a.shape[:-1], k, r), moved)
    acceptance = probability[: k * r].reshape(k, r).mean(1)
    log_w = walkers.log_w
    ratio = (b[1:] - b[:-1])[:, None] * (log_w[:-1] - log_w[1:])
    rows, swapped = swap_neighbours(
        key_swap, _packed(walkers, ladders.fresh), ratio, axis=0, parity=i % 2
    )
    walkers, fresh = _unpacked(rows, walkers.z.shape[0])
    walkers, went = _refresh(key_pick, walkers, drawn, b[0])
    fresh = fresh.at[0].set(fresh[0] | went)
    arrivals = fresh[-1].astype(jnp.int32)
    log_step = adapted(ladders.log_step, acceptance[None], i, n_adapt=n_adapt, towards=ACCEPTANCE)
    tried = (jnp.arange(k - 1) % 2 == i % 2) * jnp.float32(r)
    counts = RoundCounts(acceptance, swapped.sum(1), tried, arrivals, went.mean())
    return Ladders(walkers, fresh.at[-1].set(False), b, log_step), counts


def _refresh(key: Key, walkers: Walkers, drawn: Walkers, b: Array) -> tuple[Walkers, Array]:
    """The first rung, each walker of it at one of its fresh samples or where it was; whether it went ``(R,)``."""
    r = walkers.log_w.shape[1]
    each = drawn.log_w.shape[0] // r
    log_w = drawn.log_w[: each * r].reshape(each, r)
    logits = b * jnp.concatenate([walkers.log_w[:1], log_w])
    pick = jax.random.categorical(key, logits, axis=0)
    went, row = pick > 0, jnp.maximum(pick - 1, 0) * r + jnp.arange(r)
    first = jax.tree.map(
        lambda new, old: old.at[..., 0, :].set(jnp.where(went, new[..., row], old[..., 0, :])),
        drawn,
        walkers,
    )
    return first, went
