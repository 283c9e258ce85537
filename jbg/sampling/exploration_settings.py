"""Settings of an exploration, and what they cost."""

import dataclasses
import math

from jbg.interfaces import ConfigError
from jbg.losses import NLL, OwnSamples, ReverseKL
from jbg.training import Stage

STEP_BOUNDS = (1e-4, 100.0)  # of the adapted step, in the unit of z


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exploration:
    """Settings of an exploration.

    The defaults suit two dimensions. The paper has first_tau = reach = 1, global_moves = 0, equal weights.

    Attributes:
        budget: energy evaluations in all: filling the buffer, moves, and training by energy.
        buffer: configurations kept.
        noise: of the copies that the buffer starts as, in the unit of x.
        batch: entries that move at once; at most ``buffer``.
        moves: of a batch per iteration.
        first_steps: training steps by example before the first move.
        train_steps: per iteration.
        data_batch: buffer entries per training step.
        energy_batch: own samples per training step.
        learning_rate: Adam's, brought down by a cosine to a hundredth at the budget's end.
        w_nll: weight of training by example.
        w_kl: of training by energy.
        w_forward_kl: on own samples without forces (`losses.own_samples`).
        w_log_variance: likewise.
        taus: relative temperatures of ``w_kl``.
        e_high: kT above the reference energy from which the training energy grows as a logarithm, as in `Stage`.
        step: of the first local moves, in the unit of z.
        acceptance: what the step is adapted to.
        reach: spread of the lengths of local moves (`latent_move`).
        global_moves: share of fresh samples.
        first_tau: relative temperature of the first moves; it falls geometrically to ``last_tau`` at two thirds
            of the iterations. Above 1 barriers are crossed sooner, and the flow first learns a broader density.
        last_tau: where it ends. Above 1 the buffer ends hot: good for finding states, not for weights at 1.
        archive: configurations kept of each state, those of lowest energy that the buffer held after any
            iteration.
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
    e_high: float = 100.0
    step: float = 1.0
    acceptance: float = 0.3
    reach: float = 10.0
    global_moves: float = 0.2
    first_tau: float = 3.0
    last_tau: float = 1.0
    archive: int = 100
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
        if not (math.isfinite(self.first_tau) and self.first_tau >= self.last_tau >= 1):
            raise ConfigError(
                "exploration: first_tau must be at least last_tau, and that at least 1, got"
                f" {self.first_tau} and {self.last_tau}"
            )
        if self.archive < 0:
            raise ConfigError(f"exploration: archive must be 0 or more, got {self.archive}")
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
            losses=(NLL(),),
            e_high=self.e_high,
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
            losses=(
                NLL(self.w_nll),
                ReverseKL(self.w_kl, taus=self.taus),
                OwnSamples(
                    float(self.w_forward_kl > 0 or self.w_log_variance > 0),
                    forward_kl=self.w_forward_kl,
                    log_variance=self.w_log_variance,
                    taus=self.taus,
                ),
            ),
            e_high=self.e_high,
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
