"""A ladder of densities between a generator and its target, in the generator's latent space.

Where hardly any sample of the generator is accepted at the target, it is led there in steps. On rung k walkers
have the density

    pi_k(z) ~ p_Z(z) w(F(z))^b_k,    w = exp(-u)/q,    0 < b_1 < ... < b_K = 1,

which is the generator's at b = 0 and exp(-u) at b = 1. Each round has a hybrid Monte-Carlo trajectory of every
walker in z, with a time step for each coordinate by its width on the rung (a flow that resolves some torsions
too coarsely leaves them a hundred times narrower than others), swaps of neighbouring rungs with min(1,
(w_k/w_k+1)^(b_k+1 - b_k)), even and odd pairs in turn, and a refreshed first rung: each of its walkers goes to
one of N fresh samples of the generator or stays, in proportion to w^b_1 (iterated sampling importance
resampling). All of it leaves the product of the pi_k as it is. A fresh sample that reaches the last rung has
*arrived*: an independent start of an equilibrium trajectory. Unlike annealing with resampling it never leaves
one family.

A constant number of walkers is shared by the rungs: few rungs make many independent ladders.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh

from jbg.generator import Generator
from jbg.interfaces import BaseDistribution, ConfigError, Key, Params, Target
from jbg.simulation.checks import check_blocks, check_stride
from jbg.simulation.hmc import JITTER
from jbg.training.mesh import device_mesh, spread, spread_generator, spread_target

ACCEPTANCE = 0.65  # of trajectories, that time steps adapt to
STEEPEST = 1e6  # largest force on a latent variable, kT


@dataclasses.dataclass(frozen=True, kw_only=True)
class LatentLadder:
    """Settings of the ladders.

    Attributes:
        n_rounds: rounds after burn-in, a multiple of ``block``.
        n_burn_in: rounds thrown away, likewise; time steps adapt in them and are frozen afterwards.
        block: rounds between two savings, a multiple of ``stride``.
        stride: rounds between frames.
        n_walkers: of all ladders; R = n_walkers // K ladders of K rungs.
        n_fresh: samples of the generator drawn in a round, shared by the ladders.
        n_leapfrog: steps of a trajectory.
        step: time step that adaptation starts from, in the width of each coordinate of z on its rung.
        overdrawn: samples of the generator that the first rung is chosen from, for each walker.
        conditional_ess: ESS fraction of the weights from one rung to the next.
        max_rungs: a generator that needs more is refused.

    Raises:
        ConfigError: numbers that cannot be run.
    """

    n_rounds: int
    n_burn_in: int = 40
    block: int = 20
    stride: int = 1
    n_walkers: int = 256
    n_fresh: int = 512
    n_leapfrog: int = 4
    step: float = 0.1
    overdrawn: int = 16
    conditional_ess: float = 0.75
    max_rungs: int = 24

    def __post_init__(self):
        check_blocks(
            "latent ladder",
            n_rounds=self.n_rounds,
            n_burn_in=self.n_burn_in,
            block=self.block,
            stride=self.stride,
        )
        check_stride("latent ladder", self.overdrawn * self.n_walkers, self.n_fresh)
        if not (0 < self.conditional_ess < 1 and self.step > 0):
            raise ConfigError(
                "latent ladder: conditional_ess must lie in (0, 1) and step be > 0, got "
                f"{self.conditional_ess} and {self.step}"
            )
        if not 1 <= self.max_rungs <= self.n_walkers // 2 or self.n_leapfrog < 1:
            raise ConfigError(
                "latent ladder: n_leapfrog must be at least 1 and max_rungs leave two ladders or more, got "
                f"{self.n_leapfrog} and {self.max_rungs} of {self.n_walkers} walkers"
            )
        if self.n_fresh < self.n_walkers:
            raise ConfigError(
                f"latent ladder: n_fresh must be {self.n_walkers} or more, got {self.n_fresh}"
            )

    @property
    def n_blocks(self) -> int:
        """Blocks in all, those of burn-in first."""
        return (self.n_burn_in + self.n_rounds) // self.block

    @property
    def evaluations(self) -> int:
        """Energies of all rounds, without those that choose the rungs; those of trajectories are with forces."""
        rounds = self.n_burn_in + self.n_rounds
        return rounds * (self.n_walkers * (self.n_leapfrog + 1) + self.n_fresh)


class Walkers(NamedTuple):
    """Where walkers are, features first with any batch: z, x, ln w and u; arrays on the device or the host."""

    z: Any
    x: Any
    log_w: Any
    u: Any


class LadderPrograms(NamedTuple):
    """Compiled parts of a round.

    ``draw(params, key)`` -> n_fresh `Walkers` of the generator; ``locate(params, z)`` -> `Walkers` at z ``(dim,
    n)``; ``force(params, z, b)`` -> d ln pi/dz ``(dim, n)``; ``move(params, walkers, b, log_step, key)`` ->
    walkers after a trajectory and the probabilities of acceptance. b ``(n,)`` and ln of the time steps of the
    coordinates ``(dim, n)`` are those of each walker.
    """

    draw: Callable[[Params, Key], Walkers]
    locate: Callable[[Params, Array], Walkers]
    force: Callable[[Params, Array, Array], Array]
    move: Callable[[Params, Walkers, Array, Array, Key], tuple[Walkers, Array]]


def wrapped(z: Array, base: BaseDistribution) -> Array:
    """z with the circular variables in [-pi, pi)."""
    n = base.n_circular
    circle = jnp.mod(z[:n] + jnp.pi, 2 * jnp.pi) - jnp.pi
    return jnp.concatenate([circle, z[n:]])


def make_programs(
    generator: Generator, target: Target, settings: LatentLadder, mesh: Mesh | None = None
) -> LadderPrograms:
    """The programs of a ladder, walkers shared by the devices.

    Args:
        generator: of x.
        target: density of x, with a gradient.
        settings: of the ladders.
        mesh: devices; all there are by default.
    """
    mesh = mesh or device_mesh()
    shared, energy = spread_generator(generator, mesh), spread_target(target, mesh).reduced_energy
    base = generator.base

    def log_weight(params: Params, z: Array) -> tuple[Array, tuple[Array, Array]]:
        x, log_det = generator.bijector.forward(params, z)
        u = energy(x)
        return -u - base.log_prob(z) + log_det, (x, u)

    def located(params: Params, z: Array) -> Walkers:
        z = spread(z, mesh)
        log_w, (x, u) = log_weight(params, z)
        return Walkers(z, x, log_w, u)

    def draw(params: Params, key: Key) -> Walkers:
        found = shared.sample(key, params, settings.n_fresh)
        u = energy(found.x)
        valid = jnp.isfinite(u) & jnp.isfinite(found.log_prob) & jnp.isfinite(found.x).all(0)
        log_w = jnp.where(valid, -u - found.log_prob, -jnp.inf)
        return Walkers(found.z, found.x, log_w, u)

    def force(params, z, b):
        log_density = lambda z: jnp.sum(base.log_prob(z) + b * log_weight(params, z)[0])
        return jnp.clip(jnp.nan_to_num(jax.grad(log_density)(z)), -STEEPEST, STEEPEST)

    move = _make_move(base, force, located, settings.n_leapfrog)

    def spread_move(params, walkers, *rest):
        return move(params, Walkers(*(spread(a, mesh) for a in walkers)), *rest)

    return LadderPrograms(jax.jit(draw), jax.jit(located), jax.jit(force), jax.jit(spread_move))


def _make_move(base: BaseDistribution, force: Any, located: Any, n_leapfrog: int) -> Any:
    """A trajectory of each walker: drift, kick, drift, in which no force at the start is needed, of which a fresh
    sample has none."""

    def move(params, walkers, b, log_step, key):
        key_momentum, key_jitter, key_accept = jax.random.split(key, 3)
        dtype, n = walkers.z.dtype, walkers.log_w.shape
        jitter = jax.random.uniform(key_jitter, n, dtype, 1 - JITTER, 1 + JITTER)
        step = jnp.exp(log_step) * jitter[None]

        def leapfrog(_, carry):
            z, p = carry
            z = wrapped(z + 0.5 * step * p, base)
            p = p + step * force(params, z, b)
            return wrapped(z + 0.5 * step * p, base), p

        p = jax.random.normal(key_momentum, walkers.z.shape, dtype)
        z_new, p_new = jax.lax.fori_loop(0, n_leapfrog, leapfrog, (walkers.z, p))
        new = located(params, z_new)
        height = lambda w: -(base.log_prob(w.z) + b * w.log_w)
        change = height(new) - height(walkers) + 0.5 * (p_new**2 - p**2).sum(0)
        possible = jnp.isfinite(new.log_w) & jnp.isfinite(new.u) & jnp.isfinite(new.x).all(0)
        # -ln of a uniform number is exponential; NaN compares false and is refused
        accept = possible & (change < jax.random.exponential(key_accept, n, dtype))
        taken = jax.tree.map(lambda a, c: jnp.where(accept, a, c), new, walkers)
        probability = jnp.nan_to_num(jnp.exp(-jnp.maximum(change, 0.0)))
        return taken, jnp.where(possible, probability, 0.0)

    return move
