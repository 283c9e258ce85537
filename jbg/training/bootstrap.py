"""Flow annealed importance sampling bootstrap (FAB): own samples annealed to where their weights vary most.

Minimising the alpha-2 divergence, E_p[p/q], asks for samples of p^2/q: many where the generator q has too little.
Annealed importance sampling (Neal 2001) brings samples of q there over the densities q^(1 - 2 b) p^(2 b), b from 0
to 1, with one trajectory of hybrid Monte Carlo at each level between. It works on the latent z, where q is the
base distribution and well scaled whatever the molecule. Configurations are kept with their weights; at each
refill the weights of all of them are brought up to date, w <- w q_old/q, and the rows to learn from are drawn in
proportion (Midgley et al. 2023, arXiv:2208.01893, algorithm 1, where only drawn rows are updated).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jbg.flows import wrapped
from jbg.generator import Generator
from jbg.interfaces import ConfigError, Key, Params, Target
from jbg.losses.own_samples import ROUND_TRIP
from jbg.losses.proposals import systematic
from jbg.simulation.hmc import TARGET_ACCEPTANCE, trajectory
from jbg.training import AXIS, Bootstrap, Refill

PIECE = 4096  # configurations whose ln q is brought up to date at once
GAIN = 0.2  # of ln step for an acceptance that is off by one


class Store(NamedTuple):
    """Rows ``(capacity, dim)``, the oldest overwritten first; unused ones have weight 0."""

    x: Array
    log_w: Array  # (capacity,) under p^2/q
    log_q: Array  # (capacity,) when log_w was last right
    at: Array  # () row that is overwritten next
    log_step: Array  # () of the trajectories


def annealed(
    key: Key,
    generator: Generator,
    target: Target,
    params: Params,
    n: int,
    *,
    levels: int,
    leapfrog: int,
    step: Array,
) -> tuple[Array, Array, Array, Array]:
    """n configurations annealed from q towards p^2/q.

    Returns:
        x ``(dim, n)``, log-weights ``(n,)`` under p^2/q, ln q ``(n,)``, mean acceptance of the trajectories.
    """
    base, bijector = generator.base, generator.bijector

    def map_out(z: Array) -> tuple[Array, Array, Array]:
        """x, and in the measure of z the log-densities of q and, but for ln Z, of p."""
        z = wrapped(base, z)
        x, log_det = bijector.forward(params, z)
        return x, base.log_prob(z), -target.reduced_energy(x) + log_det

    def energy(z: Array, b: Array) -> Array:
        _, log_q, log_p = map_out(z)
        return -(log_q + 2 * b * (log_p - log_q))

    def gap(z: Array) -> Array:
        _, log_q, log_p = map_out(z)
        return jnp.where(jnp.isfinite(log_p), 2 * (log_p - log_q), -jnp.inf)

    def level(carry, inputs):
        z, log_w = carry
        key, b, width = inputs
        z, _, accepted = trajectory(
            key,
            lambda z: energy(z, b),
            z,
            step=jnp.full((n,), step),
            tau=jnp.ones((n,)),
            n_leapfrog=leapfrog,
        )
        return (z, log_w + width * gap(z)), accepted.mean()

    key_base, key_levels = jax.random.split(key)
    z = base.sample(key_base, n)
    width = 1.0 / (levels + 1)
    b = width * jnp.arange(1, levels + 1)
    inputs = (jax.random.split(key_levels, levels), b, jnp.full(levels, width))
    (z, log_w), accepted = jax.lax.scan(level, (z, width * gap(z)), inputs)
    z = wrapped(base, z)
    x, log_det = bijector.forward(params, z)
    return x, log_w, base.log_prob(z) - log_det, accepted.mean()


def make_bootstrap(
    generator: Generator, target: Target, settings: Bootstrap, *, mesh: Mesh
) -> Refill:
    """Refills a stage's ``(rows, dim + 1)``: configurations drawn by weight, and ln q when they were.

    There are as many rows as the buffer has; with forces, so the target needs a gradient.

    Args:
        generator: of what is trained. target: density of the same variables.
        mesh: devices that share the annealing; their number divides n.

    Raises:
        ConfigError: n cannot be shared.
    """
    share, capacity, dim = settings.n // mesh.size, settings.capacity, generator.bijector.dim_out
    if share * mesh.size != settings.n:
        raise ConfigError(f"buffer: n = {settings.n} cannot be shared by {mesh.size} devices")

    def anneal(params: Params, step: Array, key: Key):
        key = jax.random.fold_in(key, jax.lax.axis_index(AXIS))
        x, log_w, log_q, accepted = annealed(
            key,
            generator,
            target,
            params,
            share,
            levels=settings.levels,
            leapfrog=settings.leapfrog,
            step=step,
        )
        found = jax.tree.map(lambda a: jax.lax.all_gather(a, AXIS, tiled=True), (x.T, log_w, log_q))
        return *found, jax.lax.pmean(accepted, AXIS)

    every = jax.shard_map(anneal, mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False)

    def up_to_date(params: Params, store: Store) -> Store:
        """w <- w q_old/q, of all rows."""
        n_pieces = -(-capacity // PIECE)
        pieces = jnp.resize(store.x, (n_pieces, -(-capacity // n_pieces), dim))
        log_q = jax.lax.map(lambda x: generator.log_prob(params, x.T), pieces).ravel()[:capacity]
        known = jnp.isfinite(store.log_w) & jnp.isfinite(log_q)
        log_w = jnp.where(known, store.log_w + store.log_q - log_q, -jnp.inf)
        return store._replace(log_w=log_w, log_q=jnp.where(known, log_q, 0.0))

    @jax.jit
    def run(params: Params, store: Store, key: Key):
        key_anneal, key_pick = jax.random.split(key)
        store = up_to_date(params, store)
        x, log_w, log_q, accepted = every(params, jnp.exp(store.log_step), key_anneal)
        found_back = jnp.abs(generator.log_prob(params, x.T) - log_q) < ROUND_TRIP
        usable = jnp.isfinite(x).all(1) & jnp.isfinite(log_w) & found_back
        new = jnp.where(usable[:, None], x, 0.0), jnp.where(usable, log_w, -jnp.inf)
        put = lambda old, value: jax.lax.dynamic_update_slice_in_dim(old, value, store.at, 0)
        store = Store(
            x=put(store.x, new[0]),
            log_w=put(store.log_w, new[1]),
            log_q=put(store.log_q, jnp.where(usable, log_q, 0.0)),
            at=(store.at + settings.n) % capacity,
            log_step=store.log_step + GAIN * (accepted - TARGET_ACCEPTANCE),
        )
        best = store.log_w.max()
        picked = systematic(key_pick, jnp.exp(store.log_w - best), capacity)
        rows = jnp.concatenate([store.x, store.log_q[:, None]], axis=1)[picked]
        rows = jnp.where(
            jnp.isfinite(best), rows, jnp.nan
        )  # nothing to learn from: steps are skipped, counted
        return store, rows, {"accepted": accepted, "usable": usable.mean()}

    def empty() -> tuple[Store, Array]:
        zeros = jnp.zeros(capacity)
        at, log_step = jnp.zeros((), jnp.int32), jnp.asarray(math.log(settings.step), zeros.dtype)
        store = Store(jnp.zeros((capacity, dim)), zeros - jnp.inf, zeros, at, log_step)
        return store, jnp.zeros((capacity, dim + 1))

    return Refill(empty=empty, run=run)
