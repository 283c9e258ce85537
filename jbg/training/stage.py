"""What one stage of training does, as data."""

import dataclasses
import math
from typing import Any

import jax
import optax

from jbg.interfaces import ConfigError
from jbg.targets import check_taus
from jbg.training.buffer import KINDS, Buffer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """A stretch of training with fixed losses; presets are tuples of these.

    steps: gradient steps (a multiple of ``log_every``). batch_size: samples per step of each active loss, over
        all devices; ``data_batch`` overrides it for the data.
    learning_rate: Adam's, after ``warmup`` steps; ``decay`` "cosine" brings it to a hundredth, "none" keeps it.
    w_nll, w_kl: weights of training by example and by energy (reverse KL at ``taus``); with data from the target
        and equal weights, their sum is Jeffreys' divergence. ``path_gradient`` takes the gradient of the reverse
        KL through the samples alone (`losses.make_kl_loss`).
    w_log_dispersion: weight of the spread of ln q + u over data whose energies are known, at no further energies
        (`losses.log_dispersion`).
    w_jeffreys: weight of both divergences on the same own samples at ``taus``, with forces (`losses.jeffreys`).
    w_rc: weight of the negative entropy along the system's collective variable at ``taus``; ``rc_form``
        "integral" or "kernels".
    w_forward_kl, w_log_variance: weights on own samples at ``taus`` with energies, without forces; ``flatten`` in
        [0, 1] draws these samples with the flow's first link, the soft variables, flattened, and a share
        ``explore`` of them with those variables drawn from the base (`losses.proposals`).
    heat: relative temperature of the target of all these losses, the base staying as it is: a stage at 4 before
        one at 1 anneals. With several ``taus`` each is multiplied.
    buffer: data that the generator proposes itself in place of those given, for ``w_nll`` (`training.buffer`).
    e_high, e_max: softening of the training energy in kT above its reference level (`targets.soften`);
        ``e_high`` is multiplied by ``heat``.
    ema: decay of the running average of the parameters, which is what evaluation and later stages use.
    clip_norm: largest gradient norm of a step. weight_decay: of AdamW (Loshchilov & Hutter 2019), times the
        learning rate in each step; keeps a flow that learns from its own samples from winding itself up.
    eval_every: steps between evaluations (held-out likelihood and ESS), a multiple of ``log_every``; 0: once,
        at the end.
    keep_best: end with the averaged parameters of the best held-out likelihood seen, not the last ones.

    Raises:
        ConfigError: numbers that do not fit each other.
    """

    name: str
    steps: int
    batch_size: int = 512
    data_batch: int | None = None
    learning_rate: float = 1e-3
    decay: str = "cosine"
    warmup: int = 0
    w_nll: float = 0.0
    w_log_dispersion: float = 0.0
    w_kl: float = 0.0
    path_gradient: bool = False
    w_jeffreys: float = 0.0
    w_rc: float = 0.0
    rc_form: str = "integral"
    w_forward_kl: float = 0.0
    w_log_variance: float = 0.0
    flatten: float = 0.0
    explore: float = 0.0
    taus: tuple[float, ...] = (1.0,)
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
        if self.steps <= 0 or self.steps % self.log_every:
            raise ConfigError(
                f"stage {self.name!r}: steps must be a positive multiple of log_every = {self.log_every}, "
                f"got {self.steps}"
            )
        check_taus(self.taus)
        if self.batch_size % len(self.taus):
            raise ConfigError(
                f"stage {self.name!r}: batch_size must be a multiple of the {len(self.taus)} temperatures, "
                f"got {self.batch_size}"
            )
        if not 0 <= self.warmup < self.steps:
            raise ConfigError(
                f"stage {self.name!r}: warmup must be shorter than the {self.steps} steps, got {self.warmup}"
            )
        no_data = self.keep_best or self.w_log_dispersion
        if self.buffer and (self.buffer.every % self.log_every or not self.w_nll or no_data):
            raise ConfigError(
                f"stage {self.name!r}: a buffer needs w_nll, is refilled every multiple of {self.log_every} "
                "steps, and has no data for keep_best or w_log_dispersion"
            )
        if self.eval_every % self.log_every:
            raise ConfigError(
                f"stage {self.name!r}: eval_every must be a multiple of {self.log_every}"
            )
        if not 0 <= self.flatten <= 1:
            raise ConfigError(
                f"stage {self.name!r}: flatten must lie between 0 and 1, got {self.flatten}"
            )
        if not 0 <= self.explore < 1:
            raise ConfigError(
                f"stage {self.name!r}: explore must lie in [0, 1), got {self.explore}"
            )
        if self.decay not in ("cosine", "none"):
            raise ConfigError(
                f"stage {self.name!r}: decay must be 'cosine' or 'none', got {self.decay!r}"
            )
        if self.keep_best and not (self.eval_every and self.w_nll):
            raise ConfigError(f"stage {self.name!r}: keep_best needs eval_every and w_nll")

    def _check_ranges(self) -> None:
        """Each number by itself; NaN lies in no range."""
        least = {"batch_size": 1, "data_batch": 1, "log_every": 1, "eval_every": 0}
        for field in dataclasses.fields(self):
            name, value = field.name, getattr(self, field.name)
            low = 0 if name.startswith("w_") or name == "weight_decay" else least.get(name)
            if value is not None and low is not None and not low <= value < math.inf:
                raise ConfigError(f"stage {self.name!r}: {name} must be {low} or more, got {value}")
            if name in least and value is not None and value != int(value):
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
        per_step = bool(self.w_kl or self.w_rc) + bool(self.w_forward_kl or self.w_log_variance)
        per_step += bool(self.w_jeffreys)
        refills = (
            math.ceil(self.steps / self.buffer.every) * self.buffer.energies if self.buffer else 0
        )
        return per_step * self.batch_size * self.steps + refills

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

    def update(gradient, state, params):
        step, state = adam.update(gradient, state, params)
        return jax.tree.map(lambda step, p: step + weight_decay * p, step, params), state

    return optax.GradientTransformation(adam.init, update)


def stage_of(settings: dict[str, Any]) -> Stage:
    """The stage that ``dataclasses.asdict`` made these settings of, as JSON gives them back."""
    buffer, built = dict(settings.get("buffer") or {}), None
    if buffer:
        built = KINDS[buffer.pop("kind")](**buffer)
    return Stage(**(settings | {"taus": tuple(settings["taus"]), "buffer": built}))


def evaluations(stages: tuple[Stage, ...], n_eval: int) -> int:
    """Energy evaluations of a whole training, with ``n_eval`` for each evaluation of the ESS."""
    total = 0
    for stage in stages:
        n_evals = math.ceil(stage.steps / stage.eval_every) if stage.eval_every else 1
        total += stage.energy_evaluations + n_evals * n_eval
    return total
