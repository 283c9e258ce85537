"""Replica exchange by hybrid Monte Carlo in any coordinates, in resumable blocks: every rung of a ladder of
temperatures is exact, whatever its time step.

In each round every replica makes one leapfrog trajectory, tries a few jumps, and swaps with a neighbour in
temperature (even and odd pairs in turn). Energy and gradient of a configuration travel with it, so that a
trajectory of n steps costs n of them.

A target may be restricted to a region, which then bounds every rung: a trajectory may pass through what lies
beyond, under the forces there, but one that ends there is turned back. Hot rungs of a restricted target explore
the region, where those of the whole one would leave it.

v moves with a metric times a momentum of unit mass (`curvature_metric`), which is measured in burn-in and frozen
afterwards. References: Duane et al. 1987, doi:10.1016/0370-2693(87)91197-X; Sugita and Okamoto 1999,
doi:10.1016/S0009-2614(99)01123-9.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jbg.interfaces import ConfigError, Key, Target
from jbg.simulation.checks import check_blocks, check_energies, check_start, check_step
from jbg.simulation.curvature_metric import curvature, metric_of
from jbg.simulation.exchange import check_ladder
from jbg.simulation.hmc import adapted
from jbg.simulation.hmc_ladder_moves import (
    Jump,
    Region,
    jumps,
    swap,
    trajectory,
    value_and_gradient,
)

ACCEPTANCE = 0.75  # of trajectories, that steps adapt to
REFITS = (0.1, 0.2, 0.4, 0.7)  # of the burn-in, after which the metric is measured anew
STEP = 0.2  # that adaptation starts from with a metric


@dataclasses.dataclass(frozen=True, kw_only=True)
class HmcLadder:
    """How long the ladders run.

    Attributes:
        taus: relative temperatures, rising from 1, of the whole density of v, its volume element included.
        n_ladders: independent ladders.
        n_rounds: rounds after burn-in, whole blocks.
        n_burn_in: rounds thrown away, in which steps and metric adapt; whole blocks.
        block: rounds between checkpoints.
        stride: rounds between frames.
        n_leapfrog: leapfrog steps of a trajectory.
        n_jumps: jumps tried in each round, where there are any.
        step: time step at tau = 1 that adaptation starts from.

    Raises:
        ConfigError: numbers that cannot be run.
    """

    taus: tuple[float, ...]
    n_ladders: int = 16
    n_rounds: int = 2000
    n_burn_in: int = 500
    block: int = 100
    stride: int = 5
    n_leapfrog: int = 8
    n_jumps: int = 4
    step: float = 0.05

    def __post_init__(self):
        where = "ladder of chains"
        check_ladder(where, self.taus)
        if self.taus[0] != 1.0:
            raise ConfigError(f"{where}: taus must begin with 1, got {self.taus[0]:g}")
        check_blocks(
            where,
            n_rounds=self.n_rounds,
            n_burn_in=self.n_burn_in,
            block=self.block,
            stride=self.stride,
        )
        check_step(where, self.step)
        if self.n_ladders < 1 or self.n_leapfrog < 1 or self.n_jumps < 0:
            raise ConfigError(
                f"{where}: n_ladders and n_leapfrog must be at least 1 and n_jumps not negative, got "
                f"{self.n_ladders}, {self.n_leapfrog} and {self.n_jumps}"
            )

    @property
    def total_rounds(self) -> int:
        return self.n_burn_in + self.n_rounds

    @property
    def evaluations(self) -> int:
        """Energies of all rounds, those of jumps without gradients; where nothing jumps, only with ``n_jumps`` 0.

        After the jumps of a round each replica takes one more, with its gradient.
        """
        replicas, jumps = len(self.taus) * self.n_ladders, self.n_jumps + 1 if self.n_jumps else 0
        return replicas * (1 + self.total_rounds * (self.n_leapfrog + jumps))


class LadderState(NamedTuple):
    """All that the next block follows from. T temperatures, L ladders; counters since the end of burn-in."""

    round: Any  # () int
    v: Any  # (dim, T, L)
    u: Any  # (T, L)
    gradient: Any  # (dim, T, L) of u
    walker: Any  # (T, L) int: which of the T replicas that a ladder began with is there
    metric: Any  # (dim, dim), F^-1/2
    curvature: Any  # (dim, dim), sum of g g^T / tau since the metric was measured
    counted: Any  # () of how many g
    log_step: Any  # (T,)
    accepted: Any  # (T,) of trajectories, summed over rounds
    jumped: Any  # (T,) of jumps, likewise
    turned_back: Any  # (T,) of trajectories that energies accept and the region does not
    swapped: Any  # (T - 1,)
    tried: Any  # (T - 1,)


class LadderFrames(NamedTuple):
    """What a block leaves behind of the lowest temperature."""

    v: Any  # (n, dim, L)
    walker: Any  # (n, L)


Block = Callable[[LadderState, Key], tuple[LadderState, LadderFrames]]


def initial_ladders(target: Target, settings: HmcLadder, start: ArrayLike) -> LadderState:
    """Ladders before the first round; all replicas of ladder j start from row j mod n of ``start (n, dim)``.

    Raises:
        ConfigError: a start of another shape, or without a finite energy.
    """
    start = jnp.asarray(start, jnp.float32)
    check_start("ladder of chains", start, target.dim, "n")
    n_taus, n = len(settings.taus), settings.n_ladders
    v = jnp.repeat(start.T[:, None, np.arange(n) % len(start)], n_taus, axis=1)
    u, gradient = jax.jit(lambda v: value_and_gradient(target, v))(v)
    check_energies("ladder of chains", u[0])
    zeros = lambda k: jnp.zeros(k, jnp.float32)
    steps = jnp.log(settings.step) + 0.5 * jnp.log(jnp.asarray(settings.taus, jnp.float32))
    return LadderState(
        round=jnp.int32(0),
        v=v,
        u=u,
        gradient=gradient,
        walker=jnp.repeat(jnp.arange(n_taus, dtype=jnp.int32)[:, None], n, axis=1),
        metric=jnp.eye(target.dim, dtype=jnp.float32),
        curvature=jnp.zeros((target.dim, target.dim), jnp.float32),
        counted=jnp.float32(0.0),
        log_step=steps,
        accepted=zeros(n_taus),
        jumped=zeros(n_taus),
        turned_back=zeros(n_taus),
        swapped=zeros(n_taus - 1),
        tried=zeros(n_taus - 1),
    )


def make_block(
    target: Target, settings: HmcLadder, jump: Jump | None = None, region: Region | None = None
) -> Block:
    """Compiled (state, key of all rounds) -> the state after a block of rounds, and its frames.

    Blocks before the end of burn-in adapt time steps and metric.

    Args:
        target: density, with a gradient.
        settings: of the ladders.
        jump: a proposal beside the trajectories, as likely one way as the other in the measure of v.
        region: what every rung is restricted to, and where all starts lie; None for everywhere.
    """
    refits, advance = _refits(settings), _make_round(target, settings, jump, region)

    @jax.jit
    def run(state: LadderState, key: Key) -> tuple[LadderState, LadderFrames]:
        def frame(state, _):
            state = jax.lax.fori_loop(0, settings.stride, lambda _, s: advance(s, key), state)
            return state, LadderFrames(state.v[:, 0], state.walker[0])

        return jax.lax.scan(frame, state, None, length=settings.block // settings.stride)

    def block(state: LadderState, key: Key) -> tuple[LadderState, LadderFrames]:
        state, frames = run(state, key)
        if int(state.round) in refits:
            state = _measured(state, settings)
        return state, frames

    return block


def _make_round(
    target: Target, settings: HmcLadder, jump: Jump | None, region: Region | None
) -> Callable[[LadderState, Key], LadderState]:
    """(state, key of all rounds) -> the state after one round."""
    taus = jnp.asarray(settings.taus, jnp.float32)
    n_pairs, n_burn_in = len(settings.taus) - 1, settings.n_burn_in
    refits = _refits(settings)

    def advance(state: LadderState, key: Key) -> LadderState:
        i = state.round
        keys = jax.random.split(jax.random.fold_in(key, i), 2 + settings.n_jumps)
        step = jnp.exp(state.log_step)[:, None]
        place = (state.v, state.u, state.gradient)
        place, probability, turned = trajectory(
            keys[0], target, place, step, taus[:, None], state.metric, settings.n_leapfrog, region
        )
        jumped = jnp.zeros_like(state.jumped)
        if jump is not None and settings.n_jumps:
            place, made = jumps(keys[2:], target, jump, place, taus[:, None], region)
            jumped = made.mean(1) / settings.n_jumps
        place, walker, swapped = swap(keys[1], place, state.walker, taus, i % 2)
        burning = i < n_burn_in
        counting = jnp.where(burning, 0.0, 1.0)
        acceptance = probability.mean(1)
        return LadderState(
            round=i + 1,
            v=place[0],
            u=place[1],
            gradient=place[2],
            walker=walker,
            metric=state.metric,
            curvature=state.curvature + curvature(place[2], taus),
            counted=state.counted + jnp.float32(place[1].size),
            log_step=adapted(
                state.log_step,
                acceptance,
                i - jnp.max(jnp.where(refits <= i, jnp.asarray(refits), 0), initial=0),
                n_adapt=jnp.where(burning, n_burn_in, 0),
                towards=ACCEPTANCE,
            ),
            accepted=state.accepted + counting * acceptance,
            jumped=state.jumped + counting * jumped,
            turned_back=state.turned_back + counting * turned.mean(1),
            swapped=state.swapped + counting * swapped.mean(1),
            tried=state.tried + counting * (jnp.arange(n_pairs) % 2 == i % 2),
        )

    return advance


def _refits(settings: HmcLadder) -> np.ndarray:
    """Rounds ``(n,)`` after which the metric is measured: ends of blocks, before the end of burn-in."""
    blocks = {-(-int(share * settings.n_burn_in) // settings.block) for share in REFITS}
    rounds = [
        settings.block * k for k in sorted(blocks) if 0 < k * settings.block < settings.n_burn_in
    ]
    return np.array(rounds, np.int32)


def _measured(state: LadderState, settings: HmcLadder) -> LadderState:
    """The state with the metric of the gradients so far, and steps to begin with anew."""
    metric = metric_of(np.asarray(state.curvature, np.float64), float(state.counted))
    steps = np.log(STEP) + 0.5 * np.log(np.asarray(settings.taus))
    return state._replace(
        metric=jnp.asarray(metric, jnp.float32),
        log_step=jnp.asarray(steps, jnp.float32),
        curvature=jnp.zeros_like(state.curvature),
        counted=jnp.zeros_like(state.counted),
    )
