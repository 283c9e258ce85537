"""Flow annealed importance sampling bootstrap (FAB): own samples annealed to where their weights vary most.

Minimising the alpha-2 divergence, E_p[p/q], asks for samples of p^2/q: many where the generator q has too little.
Annealed importance sampling (Neal 2001) brings samples of q there over the densities q^(1 - 2 b) p^(2 b), b from 0
to 1, with one trajectory of hybrid Monte Carlo at each level between. It works on the latent z, where q is the
base distribution and well scaled whatever the molecule. Configurations are kept with their weights; at each
refill the weights of all of them are brought up to date, w <- w q_old/q, and the rows to learn from are drawn in
proportion (Midgley et al. 2023, arXiv:2208.01893, algorithm 1, where only drawn rows are updated).
"""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh

from jbg.flows import wrapped
from jbg.generator import Generator
from jbg.interfaces import ConfigError, Key, Params, Target
from jbg.losses.own_samples import ROUND_TRIP
from jbg.losses.proposals import systematic
from jbg.simulation.hmc import TARGET_ACCEPTANCE, trajectory
from jbg.training.buffer import Refill, check_numbers
from jbg.training.mesh import spread, spread_generator, spread_target

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
    """Configurations annealed from q towards p^2/q.

    Args:
        key: PRNG key.
        generator: the flow, of density q.
        target: density p of the same variables, with a gradient.
        params: of ``generator``.
        n: number of configurations.
        levels: intermediate densities, each with one trajectory.
        leapfrog: steps of a trajectory.
        step: time step of the trajectories, ``()``.

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """A buffer of own samples annealed towards p^2/q, drawn by weight; see the module's text.

    The loss to go with it is `losses.AlphaDivergence`.

    Attributes:
        n: configurations annealed for each refill.
        every: steps between refills.
        capacity: configurations kept, a multiple of n, and rows of the buffer; the oldest are overwritten.
        levels: intermediate densities, each with one trajectory.
        leapfrog: steps of a trajectory.
        step: length of the first steps, which adapts.

    Raises:
        ConfigError: a number out of range.
    """

    n: int = 1024
    every: int = 10
    capacity: int = 51_200
    levels: int = 4
    leapfrog: int = 4
    step: float = 0.1

    def __post_init__(self):
        whole = ("n", "every", "capacity", "levels", "leapfrog")
        check_numbers(self, whole=whole, positive=("step",))
        if self.capacity % self.n:
            raise ConfigError(
                f"buffer: capacity must be a multiple of n = {self.n}, got {self.capacity}"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """ln q of each row when it was drawn."""
        return ("log_q",)

    @property
    def energies(self) -> int:
        """Energy evaluations of one refill: of each level's trajectory and where it led, and of the start."""
        return self.n * (1 + self.levels * (self.leapfrog + 4))

    def make(self, generator: Generator, target: Target, mesh: Mesh) -> Refill:
        """What refills a stage's ``(capacity, dim + 1)``: configurations drawn by weight, and ln q when they were.

        Args:
            generator: of what is trained.
            target: density of the same variables, with a gradient.
            mesh: devices that share the annealing.
        """
        anneal = _shared_annealing(generator, target, self, mesh)

        @jax.jit
        def run(params: Params, store: Store, key: Key):
            key_anneal, key_pick = jax.random.split(key)
            store = _up_to_date(generator, params, store, mesh)
            x, log_w, log_q, accepted = anneal(params, jnp.exp(store.log_step), key_anneal)
            found_back = jnp.abs(generator.log_prob(params, x.T) - log_q) < ROUND_TRIP
            usable = jnp.isfinite(x).all(1) & jnp.isfinite(log_w) & found_back
            store = _stored(store, x, log_w, log_q, usable)
            store = store._replace(log_step=store.log_step + GAIN * (accepted - TARGET_ACCEPTANCE))
            best = store.log_w.max()
            picked = systematic(key_pick, jnp.exp(store.log_w - best), self.capacity)
            rows = jnp.concatenate([store.x, store.log_q[:, None]], axis=1)[picked]
            # nothing to learn from: steps are skipped, counted
            rows = jnp.where(jnp.isfinite(best), rows, jnp.nan)
            return store, rows, {"accepted": accepted, "usable": usable.mean()}

        def empty() -> tuple[Store, Array]:
            dim, zeros = generator.bijector.dim_out, jnp.zeros(self.capacity)
            at, log_step = jnp.zeros((), jnp.int32), jnp.asarray(math.log(self.step), zeros.dtype)
            x = jnp.zeros((self.capacity, dim))
            store = Store(x, zeros - jnp.inf, zeros, at, log_step)
            return store, jnp.zeros((self.capacity, dim + 1))

        return Refill(empty=empty, run=run)


def _shared_annealing(
    generator: Generator, target: Target, settings: Bootstrap, mesh: Mesh
) -> Callable[[Params, Array, Key], tuple[Array, Array, Array, Array]]:
    """(params, step, key) -> x ``(n, dim)``, log-weights and ln q ``(n,)``, mean acceptance."""
    generator, target = spread_generator(generator, mesh), spread_target(target, mesh)

    def anneal(params: Params, step: Array, key: Key):
        key = jax.random.fold_in(key, 0)
        x, log_w, log_q, accepted = annealed(
            key,
            generator,
            target,
            params,
            settings.n,
            levels=settings.levels,
            leapfrog=settings.leapfrog,
            step=step,
        )
        return x.T, log_w, log_q, accepted

    return anneal


def _up_to_date(generator: Generator, params: Params, store: Store, mesh: Mesh) -> Store:
    """w <- w q_old/q, of all rows."""
    capacity, dim = store.x.shape
    n_pieces = -(-capacity // PIECE)
    pieces = jnp.resize(store.x, (n_pieces, -(-capacity // n_pieces), dim))
    of_piece = lambda x: generator.log_prob(params, spread(x.T, mesh))
    log_q = jax.lax.map(of_piece, pieces).ravel()[:capacity]
    known = jnp.isfinite(store.log_w) & jnp.isfinite(log_q)
    log_w = jnp.where(known, store.log_w + store.log_q - log_q, -jnp.inf)
    return store._replace(log_w=log_w, log_q=jnp.where(known, log_q, 0.0))


def _stored(store: Store, x: Array, log_w: Array, log_q: Array, usable: Array) -> Store:
    """The store with new rows in place of the oldest; those that are not usable have weight 0."""
    put = lambda old, value: jax.lax.dynamic_update_slice_in_dim(old, value, store.at, 0)
    return store._replace(
        x=put(store.x, jnp.where(usable[:, None], x, 0.0)),
        log_w=put(store.log_w, jnp.where(usable, log_w, -jnp.inf)),
        log_q=put(store.log_q, jnp.where(usable, log_q, 0.0)),
        at=(store.at + len(x)) % len(store.x),
    )
