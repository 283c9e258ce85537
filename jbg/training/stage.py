"""What one stage of training does, as data."""

import dataclasses
import math

import jax
import optax

from jbg.interfaces import ConfigError, Target
from jbg.losses import LossTerm, Term
from jbg.targets import heated, soften
from jbg.training.bootstrap import Bootstrap
from jbg.training.transport import Transport

Buffer = Transport | Bootstrap


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """A stretch of training with fixed losses; studies have tuples of these.

    Attributes:
        name: unique within a training.
        steps: gradient steps, a multiple of ``log_every``.
        losses: terms whose weighted sum is minimised (`losses.LossTerm`).
        batch_size: samples per step of each term, over all devices.
        data_batch: rows of data per step, where it differs from ``batch_size``.
        accumulate: pieces of a step's batch, computed one after the other, whose gradients are averaged: a batch
            takes the memory of a piece. For losses that are means over samples (`losses.LossTerm.averages`).
        learning_rate: Adam's, after ``warmup`` steps.
        decay: "cosine" brings the rate to a hundredth, "none" keeps it.
        warmup: steps in which the rate rises from a tenth.
        heat: relative temperature of the target of all terms, the base staying as it is: a stage at 4 before one
            at 1 anneals. Temperatures of a term (``taus``) are multiplied by it.
        buffer: data that the generator proposes itself, in place of those given (`training.buffer`).
        e_high: kT above the reference energy from which the training energy grows as a logarithm
            (`targets.soften`), multiplied by ``heat``.
        e_max: kT above the reference energy at which the training energy ends.
        ema: decay of the running average of the parameters, which is what evaluation and later stages use.
        clip_norm: largest gradient norm of a step.
        weight_decay: of AdamW (Loshchilov & Hutter 2019), times the learning rate in each step; keeps a flow that
            learns from its own samples from becoming ill-conditioned.
        log_every: steps between logged values.
        eval_every: steps between evaluations (held-out likelihood and ESS), a multiple of ``log_every``; 0: once,
            at the end.
        keep_best: end with the averaged parameters of the best held-out likelihood seen, not the last ones.

    Raises:
        ConfigError: numbers that do not fit each other.
    """

    name: str
    steps: int
    losses: tuple[Term | LossTerm, ...] = ()
    batch_size: int = 512
    data_batch: int | None = None
    accumulate: int = 1
    learning_rate: float = 1e-3
    decay: str = "cosine"
    warmup: int = 0
    heat: float = 1.0
    buffer: Buffer | None = None
    e_high: float = 100.0
    e_max: float = 1e20
    ema: float = 0.998
    clip_norm: float = 100.0
    weight_decay: float = 0.0
    log_every: int = 10
    eval_every: int = 0
    keep_best: bool = False

    def __post_init__(self):
        self._check_ranges()
        self._check_losses()
        self._check_pieces()
        if self.steps <= 0 or self.steps % self.log_every:
            raise ConfigError(
                f"stage {self.name!r}: steps must be a positive multiple of log_every = {self.log_every}, "
                f"got {self.steps}"
            )
        if not 0 <= self.warmup < self.steps:
            raise ConfigError(
                f"stage {self.name!r}: warmup must be shorter than the {self.steps} steps, got {self.warmup}"
            )
        if self.buffer and self.buffer.every % self.log_every:
            raise ConfigError(
                f"stage {self.name!r}: a buffer is refilled every multiple of log_every = {self.log_every} "
                f"steps, got {self.buffer.every}"
            )
        if self.eval_every % self.log_every:
            raise ConfigError(
                f"stage {self.name!r}: eval_every must be a multiple of {self.log_every}"
            )
        if self.decay not in ("cosine", "none"):
            raise ConfigError(
                f"stage {self.name!r}: decay must be 'cosine' or 'none', got {self.decay!r}"
            )
        if self.keep_best and (self.buffer or not self.eval_every):
            raise ConfigError(f"stage {self.name!r}: keep_best needs eval_every and no buffer")

    def _check_losses(self) -> None:
        if not isinstance(self.losses, tuple):
            raise ConfigError(
                f"stage {self.name!r}: losses must be a tuple of terms such as (NLL(1.0),), got {self.losses!r}"
            )
        for term in self.losses:
            if isinstance(term, type):
                name = term.__name__
                raise ConfigError(
                    f"stage {self.name!r}: losses must hold terms, got the class {name}: write {name}()"
                )
            weight = getattr(term, "weight", math.nan)
            if not (isinstance(weight, int | float) and 0 <= weight < math.inf):
                raise ConfigError(
                    f"stage {self.name!r}: each of losses needs a weight of 0 or more, got {term!r}"
                )

    def _check_pieces(self) -> None:
        """A mean over pieces is that over the batch for means over samples alone."""
        if self.accumulate == 1:
            return
        for name, size in (("batch_size", self.batch_size), ("data_batch", self.data_batch or 0)):
            if size % self.accumulate:
                raise ConfigError(
                    f"stage {self.name!r}: {name} must be a multiple of accumulate = {self.accumulate}, got {size}"
                )
        whole = [
            term for term in self.losses if term.weight and not getattr(term, "averages", False)
        ]
        if whole:
            raise ConfigError(
                f"stage {self.name!r}: accumulate = {self.accumulate} needs losses that are means over samples, "
                f"and {type(whole[0]).__name__} as it is set needs its batch as a whole: set accumulate to 1"
            )

    def _check_ranges(self) -> None:
        """Each number by itself; NaN lies in no range."""
        whole = {"batch_size": 1, "data_batch": 1, "accumulate": 1, "log_every": 1, "eval_every": 0}
        for name, low in (whole | {"weight_decay": 0}).items():
            value = getattr(self, name)
            if value is not None and not low <= value < math.inf:
                raise ConfigError(f"stage {self.name!r}: {name} must be {low} or more, got {value}")
            if name in whole and value is not None and value != int(value):
                raise ConfigError(f"stage {self.name!r}: {name} must be whole, got {value}")
        for name in ("learning_rate", "clip_norm", "heat"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ConfigError(f"stage {self.name!r}: {name} must be > 0, got {value}")
        if not self.e_high < self.e_max:
            raise ConfigError(
                f"stage {self.name!r}: e_high must lie below e_max, got {self.e_high} and {self.e_max}"
            )
        if not 0 <= self.ema < 1:
            raise ConfigError(f"stage {self.name!r}: ema must lie in [0, 1), got {self.ema}")

    @property
    def energy_evaluations(self) -> int:
        """Energies that the losses of this stage ask for, counted from batches and steps."""
        per_step = sum(term.energies(self.batch_size) for term in self.losses if term.weight)
        refills = (
            math.ceil(self.steps / self.buffer.every) * self.buffer.energies if self.buffer else 0
        )
        return per_step * self.steps + refills

    def training_target(self, target: Target, u_reference: float = 0.0) -> Target:
        """The density to train on: ``target`` softened above ``u_reference`` in kT, then heated.

        Softening is in kT of the stage's own temperature: a hot flow else runs into clashes that hardly cost.
        """
        e_high = self.e_high * self.heat
        soft = soften(target, e_high=e_high, e_max=self.e_max, offset=u_reference)
        return heated(soft, self.heat)

    def optimiser(self) -> optax.GradientTransformation:
        """AdamW with the stage's schedule and a bound on the gradient norm; the same tree for every stage."""
        peak = self.learning_rate
        after = (
            optax.cosine_decay_schedule(peak, self.steps - self.warmup, alpha=0.01)
            if self.decay == "cosine"
            else optax.constant_schedule(peak)
        )
        ramp = optax.linear_schedule(peak / 10, peak, max(self.warmup, 1))
        rate = optax.join_schedules([ramp, after], [self.warmup])
        adam = optax.chain(_decaying_adam(self.weight_decay), optax.scale_by_learning_rate(rate))
        return optax.chain(optax.clip_by_global_norm(self.clip_norm), adam)


def _decaying_adam(weight_decay: float) -> optax.GradientTransformation:
    """`optax.adamw` before its learning rate, with the state of Adam: checkpoints know no other."""
    adam = optax.scale_by_adam()
    if not weight_decay:
        return adam

    def update(updates, state, params=None):
        step, state = adam.update(updates, state, params)
        return jax.tree.map(lambda step, p: step + weight_decay * p, step, params), state

    return optax.GradientTransformation(adam.init, update)


def evaluations(stages: tuple[Stage, ...], n_eval: int) -> int:
    """Energy evaluations of a whole training, with ``n_eval`` for each evaluation of the ESS."""
    total = 0
    for stage in stages:
        n_evals = math.ceil(stage.steps / stage.eval_every) if stage.eval_every else 1
        total += stage.energy_evaluations + n_evals * n_eval
    return total
