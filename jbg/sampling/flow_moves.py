"""Chains of the target that move by themselves and by fresh samples of a generator: exact, and without weights.

In each round a chain tries new values of torsions (`torsion_moves`, where there are any), makes one hybrid
Monte-Carlo trajectory in x, and is offered N fresh samples of the generator beside where it stands: it goes to
one of the N + 1 with probability in proportion to their weights w = exp(-u)/q (iterated sampling importance
resampling, Tjelmeland 2004; Cardoso et al. 2022, arXiv:2207.06364, of which independence Metropolis is the case
N = 1 but for its acceptance). All leave exp(-u) as it is, whatever the generator: a good one makes every round
independent of the last, a poor one leaves Monte Carlo of the target. What the generator cannot give (q = 0) is
outside of the target, and moves that end there are refused.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh
from numpy.typing import ArrayLike

from jbg.generator import Generator
from jbg.interfaces import ConfigError, Key, Params, Target
from jbg.sampling.torsion_moves import TorsionMoves, make_turn
from jbg.simulation.checks import check_blocks
from jbg.simulation.hmc import adapted, trajectory
from jbg.training.mesh import device_mesh, replicate, spread, spread_generator, spread_target


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlowMoves:
    """Settings of the chains.

    Attributes:
        n_rounds: rounds of each chain after burn-in, a multiple of ``block``.
        n_burn_in: rounds thrown away, likewise; time steps adapt in them and are frozen afterwards.
        block: rounds of one call, a multiple of ``stride``.
        stride: rounds between frames.
        n_chains: independent chains.
        n_leapfrog: steps of a trajectory.
        n_fresh: samples of the generator that a chain is offered in a round.
        n_turns: torsion moves that a chain tries in a round, where there are torsions to move.
        timestep: of a trajectory, before it adapts; in ps where coordinates have a thermal speed in nm/ps.

    Raises:
        ConfigError: numbers that cannot be run.
    """

    n_rounds: int
    n_burn_in: int = 100
    block: int = 50
    stride: int = 2
    n_chains: int = 128
    n_leapfrog: int = 6
    n_fresh: int = 8
    n_turns: int = 16
    timestep: float = 0.004

    def __post_init__(self):
        check_blocks(
            "flow moves",
            n_rounds=self.n_rounds,
            n_burn_in=self.n_burn_in,
            block=self.block,
            stride=self.stride,
        )
        if min(self.n_chains, self.n_leapfrog, self.n_fresh) < 1 or not self.timestep > 0:
            raise ConfigError(
                "flow moves: n_chains, n_leapfrog and n_fresh must be at least 1 and timestep > 0, got "
                f"{self.n_chains}, {self.n_leapfrog}, {self.n_fresh} and {self.timestep}"
            )
        if self.n_turns < 0:
            raise ConfigError(f"flow moves: n_turns must be 0 or more, got {self.n_turns}")

    @property
    def n_blocks(self) -> int:
        """Calls in all, those of burn-in first."""
        return (self.n_burn_in + self.n_rounds) // self.block

    @property
    def evaluations(self) -> int:
        """Energies of all rounds, where torsions are moved; those of trajectories are with forces."""
        rounds = self.n_burn_in + self.n_rounds
        return self.n_chains * rounds * (self.n_leapfrog + 2 + self.n_fresh + self.n_turns)


class MovedChains(NamedTuple):
    """Where chains stand: x ``(dim, n)``, u and ln q ``(n,)``, and ln of the time step of all; on the device or
    the host."""

    x: Any
    u: Any
    log_q: Any
    log_step: Any


class MovedFrames(NamedTuple):
    """One block: x ``(n_kept, dim, n)``, u and ln q ``(n_kept, n)``; of each chain the number of rounds ``(n,)``
    in which it went to a fresh sample, the mean acceptance of its trajectories, and the accepted share of its
    torsion moves."""

    x: Array
    u: Array
    log_q: Array
    arrivals: Array
    acceptance: Array
    turned: Array


# (key, params, chains) -> the chains after one kind of move, and how much of it was accepted (n,)
_Kernel = Callable[[Key, Params, MovedChains], tuple[MovedChains, Array]]
# (params, chains, key of all rounds, number of the block) -> the chains after it and its frames
Advance = Callable[[Params, MovedChains, Key, int], tuple[MovedChains, MovedFrames]]


def _chosen(accept: Array, new: MovedChains, old: MovedChains) -> MovedChains:
    """The new places where accepted ``(n,)`` bool; the time step is common to all."""
    x, u, log_q = (jnp.where(accept, a, b) for a, b in zip(new[:3], old[:3], strict=True))
    return MovedChains(x, u, log_q, old.log_step)


def start_chains(
    generator: Generator, params: Params, target: Target, x: ArrayLike, settings: FlowMoves
) -> MovedChains:
    """Chains at x.

    Args:
        generator: of x.
        params: of the generator.
        target: density of x.
        x: where the chains start, ``(dim, n)``.
        settings: of the chains.

    Raises:
        ConfigError: a start of no finite energy or density.
    """
    x = jnp.asarray(x)
    u, log_q = jax.jit(lambda params, x: (target.reduced_energy(x), generator.log_prob(params, x)))(
        params, x
    )
    bad = int(jnp.sum(~(jnp.isfinite(u) & jnp.isfinite(log_q))))
    if bad:
        raise ConfigError(
            f"flow moves: {bad} of {x.shape[1]} starting configurations are of no finite energy or density"
        )
    return MovedChains(x, u, log_q, jnp.log(jnp.asarray(settings.timestep, x.dtype)))


def make_flow_moves(
    generator: Generator,
    target: Target,
    settings: FlowMoves,
    *,
    speed: Any = 1.0,
    torsions: TorsionMoves | None = None,
    mesh: Mesh | None = None,
) -> Advance:
    """The compiled program of one block of rounds; the chains are shared by the devices.

    Args:
        generator: of x.
        target: density of x, with a gradient.
        settings: of the chains.
        speed: thermal speed of each coordinate, sqrt(kT/m) ``(dim,)``, or a number; the time step is in its unit
            of time.
        torsions: what ``settings.n_turns`` moves; None for nothing.
        mesh: devices; all there are by default.
    """
    mesh = mesh or device_mesh()
    generator, target = spread_generator(generator, mesh), spread_target(target, mesh)
    speed = jnp.asarray(speed, jnp.float32).reshape(-1, 1)
    turn = _make_turns(generator, target, settings, torsions)
    move = _make_trajectory(generator, target, settings, speed)
    refresh = _make_refresh(generator, target, settings)

    def round_(params, key, i, carry):
        chains, arrivals, acceptance, turned = carry
        key_move, key_fresh, key_turn = jax.random.split(jax.random.fold_in(key, i), 3)
        chains, accepted = turn(key_turn, params, chains)
        chains, probability = move(key_move, params, chains)
        chains, went = refresh(key_fresh, params, chains)
        log_step = adapted(chains.log_step, probability.mean(), i, n_adapt=settings.n_burn_in)
        chains = chains._replace(log_step=log_step)
        return chains, arrivals + went, acceptance + probability, turned + accepted

    @jax.jit
    def block_of_rounds(params, chains, key, block):
        def frame(carry, first):
            one = lambda i, carry: round_(params, key, i, carry)
            carry = jax.lax.fori_loop(first, first + settings.stride, one, carry)
            return carry, (carry[0].x, carry[0].u, carry[0].log_q)

        chains = chains._replace(
            **{k: spread(getattr(chains, k), mesh) for k in ("x", "u", "log_q")}
        )
        zero = jnp.zeros_like(chains.u)
        firsts = block * settings.block + jnp.arange(0, settings.block, settings.stride)
        (chains, arrivals, *shares), kept = jax.lax.scan(
            frame, (chains, zero.astype(jnp.int32), zero, zero), firsts
        )
        return chains, MovedFrames(*kept, arrivals, *(share / settings.block for share in shares))

    def advance(params, chains, key, block):
        # placed alike in every call, also when read from a file: one program
        placed = replicate((params, MovedChains(*map(jnp.asarray, chains)), key), mesh)
        return block_of_rounds(*placed, block)

    return advance


def _make_trajectory(
    generator: Generator, target: Target, settings: FlowMoves, speed: Array
) -> _Kernel:
    """One trajectory of each chain, and the probabilities of acceptance."""

    def move(key, params, chains):
        x, u, probability = trajectory(
            key,
            target.reduced_energy,
            chains.x,
            step=jnp.exp(chains.log_step)[None],
            tau=jnp.ones((1,), chains.x.dtype),
            n_leapfrog=settings.n_leapfrog,
            speed=speed,
        )
        chains, inside = _where_inside(generator, params, x, u, chains)
        return chains, jnp.where(inside, probability, 0.0)

    return move


def _make_turns(
    generator: Generator, target: Target, settings: FlowMoves, torsions: TorsionMoves | None
) -> _Kernel:
    """Torsion moves of each chain, and the accepted share.

    All of a round are undone where they end outside: a sequence of moves in random order is reversible as one.
    """
    if torsions is None or not settings.n_turns:
        return lambda key, params, chains: (chains, jnp.zeros_like(chains.u))
    turn = make_turn(torsions, target.reduced_energy, settings.n_turns)

    def turns(key, params, chains):
        x, u, accepted = turn(key, chains.x, chains.u)
        chains, inside = _where_inside(generator, params, x, u, chains)
        return chains, jnp.where(inside, accepted, 0.0)

    return turns


def _make_refresh(generator: Generator, target: Target, settings: FlowMoves) -> _Kernel:
    """Each chain to one of its fresh samples or where it is, and whether it went."""

    def refresh(key, params, chains):
        n = chains.u.shape[0]
        key_draw, key_pick = jax.random.split(key)
        drawn = generator.sample(key_draw, params, n * settings.n_fresh)
        u = target.reduced_energy(drawn.x)
        valid = jnp.isfinite(u) & jnp.isfinite(drawn.log_prob) & jnp.isfinite(drawn.x).all(0)
        log_w = jnp.where(valid, -u - drawn.log_prob, -jnp.inf).reshape(settings.n_fresh, n)
        log_w = jnp.concatenate([(-chains.u - chains.log_q)[None], log_w])
        pick = jax.random.categorical(key_pick, log_w, axis=0)
        went, row = pick > 0, jnp.maximum(pick - 1, 0) * n + jnp.arange(n)
        fresh = MovedChains(drawn.x[:, row], u[row], drawn.log_prob[row], chains.log_step)
        return _chosen(went, fresh, chains), went

    return refresh


def _where_inside(
    generator: Generator, params: Params, x: Array, u: Array, chains: MovedChains
) -> tuple[MovedChains, Array]:
    """The chains at x where the generator's density is not zero, and which these are ``(n,)``."""
    log_q = generator.log_prob(params, x)
    inside = jnp.isfinite(log_q)
    return _chosen(inside, MovedChains(x, u, log_q, chains.log_step), chains), inside
