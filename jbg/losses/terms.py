"""What a loss of training is: a term with a weight and settings, built for one generator and target.

`training.Stage.losses` is a tuple of terms. Any object with the three members of `LossTerm` can stand in it; those
of jbg are frozen dataclasses, one in each file of this package. Terms that share an evaluation are nested: a
`LogDispersion` in an `NLL`, a `ReactionCoordinate` in a `ReverseKL`, with weights relative to the outer one.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Protocol

import jax
import numpy as np

from jbg.flows import chain
from jbg.generator import Generator
from jbg.interfaces import (
    Bijector,
    CollectivePlane,
    CollectiveVariable,
    ConfigError,
    Loss,
    Target,
)
from jbg.losses.combine import weighted_sum


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossContext:
    """What the terms of a stage are built from.

    Attributes:
        generator: of v, the variables that data are given in; its parameters are trained.
        target: density of x to train on, softened and heated; None where training has data alone.
        coords: v -> x, without parameters; None where they are the same.
        collective_variable: of x, one or a pair; None where the system has none.
        columns: of the data after the coordinates (`losses.columns`).
        n_samples: own samples that each term draws in a step.
        backbone: numbers of the backbone atoms of x ``(n_bb,)``, for `losses.Wasserstein`; None where it has none.
        n_circular: so many of the first variables v are angles, for `losses.TorsionRange`.
    """

    generator: Generator
    target: Target | None = None
    coords: Bijector | None = None
    collective_variable: CollectiveVariable | CollectivePlane | None = None
    columns: tuple[str, ...] = ()
    n_samples: int = 0
    backbone: np.ndarray | None = None
    n_circular: int | None = None

    @property
    def whole(self) -> Generator:
        """Generates x. Temperatures act on its energy alone and not on the log-determinant of ``coords``."""
        if self.coords is None:
            return self.generator
        bijector = chain(self.generator.bijector, self.coords)
        return Generator(base=self.generator.base, bijector=bijector)

    def of_flow(self, loss: Loss) -> Loss:
        """A loss of ``whole`` as one of the parameters of ``generator``."""
        if self.coords is None:
            return loss
        return lambda params, batch, key: loss((params, ()), batch, key)

    def target_for(self, term: Any) -> Target:
        """The target.

        Raises:
            ConfigError: there is none, and ``term`` needs it.
        """
        if self.target is None:
            raise ConfigError(
                f"{type(term).__name__}: trains by energy and needs a target, got none"
            )
        return self.target


class LossTerm(Protocol):
    """One loss of a stage: settings with a weight; plain values, so that a run's configuration can hold them.

    build(context) -> loss(params, batch, key) -> (scalar, aux), not yet multiplied by ``weight``. The batch is
    ``(dim + len(context.columns), n)``.
    energies(batch) -> energy evaluations of a step with ``batch`` own samples over all devices.
    averages: where a term has it, whether its loss is a mean over samples, so that the mean over pieces of a batch
    is that over the batch (`training.Stage.accumulate`).
    """

    @property
    def weight(self) -> float: ...

    def build(self, context: LossContext) -> Loss: ...

    def energies(self, batch: int) -> int: ...


def total_loss(terms: Sequence[LossTerm], context: LossContext) -> Loss:
    """The sum of the terms times their weights, each with a key of its own; terms of weight zero are left out.

    Raises:
        ConfigError: no term has a weight, or one cannot be built from the context.
    """
    active = [term for term in terms if term.weight]
    if not active:
        raise ConfigError("losses: no term has a weight, so there is nothing to train on")
    return weighted_sum([(term.weight, _built(term, context)) for term in active])


def _built(term: LossTerm, context: LossContext) -> Loss:
    """The term's loss; where networks of the generator are random (dropout), with a key of its own each time."""
    plain = term.build(context)
    if context.generator.bijector.keyed is None:
        return plain

    def loss(params, batch, key):
        key, key_net = jax.random.split(key)
        random = dataclasses.replace(context, generator=context.generator.keyed(key_net))
        return term.build(random)(params, batch, key)

    return loss


def check_weights(term: Any, *names: str) -> None:
    """Refuse a weight that is negative or not finite.

    Raises:
        ConfigError: names the term and the field.
    """
    for name in ("weight", *names):
        value = getattr(term, name)
        if not 0 <= value < math.inf:
            raise ConfigError(f"{type(term).__name__}: {name} must be 0 or more, got {value}")


def samples_per_tau(name: str, n_samples: int, taus: Sequence[float]) -> int:
    """How many of the own samples each temperature gets.

    Raises:
        ConfigError: they cannot be shared out equally.
    """
    if n_samples % len(taus):
        raise ConfigError(
            f"{name}: n_samples must be a multiple of {len(taus)} temperatures, got {n_samples}"
        )
    return n_samples // len(taus)
