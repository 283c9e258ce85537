"""Adaptive exploration: a generator that finds new states from one configuration, and learns them as it does.

Noe et al. 2019, Fig. 4 and methods ("Adaptive sampling and training"). A buffer of configurations starts as
copies of one. In turns, entries of the buffer make Metropolis moves in the latent space of the flow, and the flow
trains on the buffer by example and on its own samples by energy. Moves that are short in z may be long in x.

The moves are right for the flow of the moment, but the flow is trained on where they went: what the buffer holds
in the end is only asymptotically Boltzmann distributed. Free energies come from reweighted samples of the flow.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec
from numpy.typing import ArrayLike

from jbg.generator import Generator
from jbg.interfaces import ConfigError, Key, State, Target
from jbg.sampling.latent_mcmc import Predicate, encode, latent_move
from jbg.training import (
    Stage,
    TrainState,
    begin_stage,
    device_mesh,
    make_chunk,
    replicate,
    stage_losses,
)

STEP_BOUNDS = (1e-4, 100.0)  # of the adapted step, in the unit of z
ANNEALED = 2 / 3  # share of the iterations in which the temperature of moves falls to 1
GAIN = 0.2  # change of ln step per move and unit of acceptance


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exploration:
    """Settings of an exploration.

    The defaults suit two dimensions. The paper has first_tau = reach = 1, global_moves = 0, equal weights.

    budget: energy evaluations in all: filling the buffer, moves, and training by energy.
    buffer: configurations kept. noise: of the copies that it starts as, in the unit of x.
    batch: entries that move at once; at most ``buffer``. moves: of a batch per iteration.
    first_steps: training steps by example before the first move.
    train_steps: per iteration. data_batch, energy_batch: buffer entries and own samples per training step.
    learning_rate: Adam's, brought down by a cosine to a hundredth at the budget's end.
    w_nll, w_kl: weights of training by example and by energy. w_forward_kl, w_log_variance: on own samples
        without forces (`losses.own_samples`). taus: temperatures of w_kl.
    step: of the first local moves, in the unit of z. acceptance: what the step is adapted to.
    reach: spread of the lengths of local moves (`latent_move`). global_moves: share of fresh samples.
    first_tau: relative temperature of the first moves; it falls geometrically to 1 at two thirds of the
        iterations. Above 1 barriers are crossed sooner, and the flow first learns a broader density.
    ema: decay of the running average of the parameters.

    Raises:
        ConfigError: numbers that do not fit each other.
    """

    budget: int = 300_000
    buffer: int = 2000
    noise: float = 0.05
    batch: int = 256
    moves: int = 10
    first_steps: int = 100
    train_steps: int = 40
    data_batch: int = 256
    energy_batch: int = 64
    learning_rate: float = 1e-3
    w_nll: float = 1.0
    w_kl: float = 0.1
    w_forward_kl: float = 0.0
    w_log_variance: float = 0.0
    taus: tuple[float, ...] = (1.0,)
    step: float = 1.0
    acceptance: float = 0.3
    reach: float = 10.0
    global_moves: float = 0.2
    first_tau: float = 3.0
    ema: float = 0.99

    def __post_init__(self):
        counts = (self.batch, self.moves, self.first_steps, self.train_steps)
        if min(*counts, self.data_batch, self.energy_batch) < 1:
            raise ConfigError("exploration: batches, moves and steps must be at least 1")
        if self.buffer < self.batch:
            raise ConfigError(
                f"exploration: a buffer of {self.buffer} cannot fill a batch of {self.batch}; raise buffer"
            )
        if not (0 < self.acceptance < 1 and self.reach >= 1 and 0 <= self.global_moves < 1):
            raise ConfigError(
                "exploration: needs acceptance in (0, 1), reach >= 1 and global_moves in [0, 1), got"
                f" {self.acceptance}, {self.reach} and {self.global_moves}"
            )
        if not (math.isfinite(self.first_tau) and self.first_tau >= 1):
            raise ConfigError(f"exploration: first_tau must be at least 1, got {self.first_tau}")
        if not (STEP_BOUNDS[0] <= self.step <= STEP_BOUNDS[1] and self.noise > 0):
            raise ConfigError(
                f"exploration: step must lie in {STEP_BOUNDS} and noise be > 0, got {self.step} and {self.noise}"
            )
        if self.n_iterations < 1:
            raise ConfigError(
                f"exploration: a budget of {self.budget} does not last for one iteration of"
                f" {self.evaluations_per_iteration} after {self.buffer} for the buffer; raise budget"
            )

    @property
    def by_example(self) -> Stage:
        n = self.first_steps
        return Stage(
            name="by example",
            steps=n,
            batch_size=self.data_batch,
            learning_rate=self.learning_rate,
            w_nll=1.0,
            ema=self.ema,
            log_every=n,
        )

    @property
    def both(self) -> Stage:
        per = self.moves * self.batch + self.energy_batch * self.train_steps
        n = max(1, (self.budget - self.buffer) // per) * self.train_steps
        return Stage(
            name="exploration",
            steps=n,
            batch_size=self.energy_batch,
            data_batch=self.data_batch,
            learning_rate=self.learning_rate,
            w_nll=self.w_nll,
            w_kl=self.w_kl,
            w_forward_kl=self.w_forward_kl,
            w_log_variance=self.w_log_variance,
            taus=self.taus,
            ema=self.ema,
            log_every=self.train_steps,
        )

    @property
    def evaluations_per_iteration(self) -> int:
        stage = self.both
        return self.moves * self.batch + stage.energy_evaluations // stage.steps * self.train_steps

    @property
    def n_iterations(self) -> int:
        return (self.budget - self.buffer) // self.evaluations_per_iteration


class ExplorationState(NamedTuple):
    """Everything that an exploration carries: save it, load it, and the next iteration is the same.

    buffer ``(n, dim)`` with energies ``u (n,)``; ``train`` holds parameters and optimiser; ``step`` is that of
    local moves.
    """

    buffer: Array
    u: Array
    train: TrainState
    step: Array
    key: Key
    iteration: Array
    n_evaluations: Array


class ExplorationHistory(NamedTuple):
    """What happened, one entry per iteration (host arrays).

    shares ``(n, n_states)`` of the buffer in each state; acceptance of local and of global moves, NaN where
    none was made; ``losses`` by name, means over the iteration's training steps.
    """

    n_evaluations: np.ndarray
    step: np.ndarray
    accepted_local: np.ndarray
    accepted_global: np.ndarray
    shares: np.ndarray
    losses: dict[str, np.ndarray]


def explore(
    key: Key,
    generator: Generator,
    target: Target,
    start: ArrayLike,
    *,
    train_target: Target,
    settings: Exploration | None = None,
    states: tuple[State, ...] = (),
    allowed: Predicate | None = None,
    state: ExplorationState | None = None,
    n_iterations: int | None = None,
) -> tuple[ExplorationState, ExplorationHistory]:
    """Explore from one configuration until the budget is spent; parameters are in ``state.train.average``.

    Args:
        key: PRNG key of the whole exploration.
        generator: what learns; its parameters start from ``generator.init``.
        target: the true density, which moves are accepted by.
        start: one configuration ``(dim,)``, or several ``(n, dim)`` that fill the buffer in equal parts.
        train_target: what training by energy sees, `targets.soften` of the target.
        settings: numbers; the defaults suit two dimensions.
        states: whose shares of the buffer are recorded; nothing else looks at them.
        allowed: restricts the target, as in `latent_metropolis`.
        state: where an earlier call stopped; ``key`` and ``start`` are then not used.
        n_iterations: stop after so many of them; what is left of the budget by default.

    Returns:
        The last state, and the history of this call's iterations.

    Raises:
        ConfigError: a start of the wrong shape, or copies of it without a finite energy.
    """
    settings = settings or Exploration()
    if state is None:
        state = begin(
            key,
            generator,
            target,
            start,
            train_target=train_target,
            settings=settings,
            allowed=allowed,
        )
    iterate = _compiled(generator, target, train_target, settings, states, allowed)
    left = settings.n_iterations - int(state.iteration)
    records, state = [], replicate(state, device_mesh(jax.devices()[:1]))
    for _ in range(left if n_iterations is None else min(left, n_iterations)):
        state, record = iterate(state)
        records.append(record)
    return state, _history(records, len(states))


def begin(
    key: Key,
    generator: Generator,
    target: Target,
    start: ArrayLike,
    *,
    train_target: Target,
    settings: Exploration,
    allowed: Predicate | None = None,
) -> ExplorationState:
    """The state before the first iteration: a buffer of noisy copies, and a flow trained on it by example."""
    start = jnp.atleast_2d(jnp.asarray(start, jnp.float32))
    if start.ndim != 2 or start.shape[1] != target.dim:
        raise ConfigError(
            f"exploration: start must be ({target.dim},) or (n, {target.dim}), got {start.shape}"
        )
    k_noise, k_init, k_example, k_both, k_run = jax.random.split(key, 5)
    copies = jnp.resize(start, (settings.buffer, target.dim))
    buffer = copies + settings.noise * jax.random.normal(k_noise, copies.shape, copies.dtype)
    u = jax.jit(target.reduced_energy)(buffer.T)
    good = jnp.isfinite(u) if allowed is None else jnp.isfinite(u) & allowed(buffer.T)
    if not bool(good.any()):
        raise ConfigError(
            "exploration: no copy of the start is allowed and of finite energy; lower noise"
        )
    pick = jnp.where(
        good, jnp.arange(len(u)), jnp.argmax(good)
    )  # the first good copy for the others
    buffer, u = buffer[pick], u[pick]
    stage = settings.by_example
    train = _chunk(generator, train_target, stage)(
        begin_stage(generator.init(k_init), stage.optimiser(), k_example), buffer
    )[0]
    train = begin_stage(train.params, settings.both.optimiser(), k_both)
    return ExplorationState(
        buffer=buffer,
        u=u,
        # of a definite type, as one read from a checkpoint is: another would compile again
        train=train._replace(best_nll=jnp.full((), jnp.inf, train.best_nll.dtype)),
        step=jnp.asarray(settings.step, jnp.float32),
        key=k_run,
        iteration=jnp.asarray(0, jnp.int32),
        n_evaluations=jnp.asarray(settings.buffer, jnp.int32),
    )


@functools.lru_cache(maxsize=16)
def _chunk(generator: Generator, train_target: Target, stage: Stage):
    return make_chunk(
        stage_losses(generator, train_target)(stage, 1),
        stage.optimiser(),
        mesh=device_mesh(jax.devices()[:1]),
        data_batch=stage.data_batch or stage.batch_size,
        n_steps=stage.log_every,
        ema=stage.ema,
    )


@functools.lru_cache(maxsize=8)
def _compiled(
    generator: Generator,
    target: Target,
    train_target: Target,
    settings: Exploration,
    states: tuple[State, ...],
    allowed: Predicate | None,
) -> Callable[[ExplorationState], tuple[ExplorationState, dict[str, Any]]]:
    """One iteration: ``moves`` moves of a batch drawn from the buffer each, then ``train_steps`` of training."""
    train_chunk = _chunk(generator, train_target, settings.both)

    def tau_of(iteration):
        done = iteration / jnp.maximum(ANNEALED * settings.n_iterations, 1.0)
        return settings.first_tau ** (1.0 - jnp.minimum(done, 1.0))

    def move(carry, key):
        buffer, u, step, params, tau = carry
        k_rows, k_move = jax.random.split(key)
        rows = jax.random.permutation(k_rows, len(buffer))[: settings.batch]
        chains = encode(generator, params, buffer[rows].T, u[rows])
        chains, accept, far = latent_move(
            k_move,
            generator,
            params,
            target,
            chains,
            step=step,
            tau=tau,
            global_moves=settings.global_moves,
            reach=settings.reach,
            allowed=allowed,
            with_global=settings.global_moves > 0,
        )
        counts = jnp.stack([accept & ~far, ~far, accept & far, far]).sum(1).astype(jnp.float32)
        excess = counts[0] / jnp.maximum(counts[1], 1) - settings.acceptance
        step = jnp.clip(step * jnp.exp(GAIN * excess), *STEP_BOUNDS)
        return (
            buffer.at[rows].set(chains.x.T),
            u.at[rows].set(chains.u),
            step,
            params,
            tau,
        ), counts

    def iterate(state: ExplorationState):
        keys = jax.random.split(jax.random.fold_in(state.key, state.iteration), settings.moves)
        first = (state.buffer, state.u, state.step, state.train.params, tau_of(state.iteration))
        (buffer, u, step, *_), counts = jax.lax.scan(move, first, keys)
        train, losses = train_chunk(state.train, buffer)
        local, made_local, far, made_far = counts.sum(0)
        state = ExplorationState(
            buffer=buffer,
            u=u,
            train=train,
            step=step,
            key=state.key,
            iteration=state.iteration + 1,
            n_evaluations=state.n_evaluations + settings.evaluations_per_iteration,
        )
        record = {
            "n_evaluations": state.n_evaluations,
            "step": step,
            "accepted_local": local / made_local,
            "accepted_global": far / made_far,
            "shares": jnp.asarray([jnp.mean(s.contains(buffer.T)) for s in states]),
            "losses": losses,
        }
        return state, record

    # placed as `replicate` places what comes in: anything else would compile the second iteration again
    everywhere = NamedSharding(device_mesh(jax.devices()[:1]), PartitionSpec())
    return jax.jit(iterate, out_shardings=everywhere)


def _history(records: list[dict[str, Any]], n_states: int) -> ExplorationHistory:
    host = jax.tree.map(np.asarray, records)
    column = lambda name: np.array([r[name] for r in host])
    return ExplorationHistory(
        n_evaluations=column("n_evaluations"),
        step=column("step"),
        accepted_local=column("accepted_local"),
        accepted_global=column("accepted_global"),
        shares=column("shares").reshape(len(host), n_states),
        losses={
            k: np.array([r["losses"][k] for r in host]) for k in (host[0]["losses"] if host else ())
        },
    )
