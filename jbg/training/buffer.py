"""Stages that learn by example from configurations which the generator itself proposed: how they are refilled.

Every ``every`` steps a stage's data are made anew by a `Refill`. What it carries from one time to the next, the
store, is part of the checkpoint together with the data, so that an interrupted stage ends as an unbroken one.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from jax import Array

from jbg.interfaces import ConfigError, Key, Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transport:
    """Constrained mass transport (von Klitzing et al. 2025, arXiv:2510.18460), no forces; `training.transport`.

    n: samples drawn for each refill. every: steps between refills. max_kl, max_entropy_drop: nats by which the
        intermediate target may differ from the generator, as KL divergence and as loss of entropy.
    """

    n: int = 20_000
    every: int = 200
    max_kl: float = 0.5
    max_entropy_drop: float = 0.5
    kind: str = dataclasses.field(default="transport", init=False)

    def __post_init__(self):
        _check(self, whole=("n", "every"), positive=("max_kl", "max_entropy_drop"))

    @property
    def energies(self) -> int:
        """Energy evaluations of one refill."""
        return self.n


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """Flow annealed importance sampling bootstrap (Midgley et al. 2023, arXiv:2208.01893); `training.bootstrap`.

    n: configurations annealed for each refill. every: steps between refills. capacity: configurations kept, a
        multiple of n, the oldest given up. levels: intermediate densities, each with one trajectory of
        ``leapfrog`` steps whose length starts at ``step`` and adapts. largest: cap of the weight q_old/q by which
        a configuration counts in the loss.
    """

    n: int = 1024
    every: int = 10
    capacity: int = 51_200
    levels: int = 4
    leapfrog: int = 4
    step: float = 0.1
    largest: float = 10.0
    kind: str = dataclasses.field(default="bootstrap", init=False)

    def __post_init__(self):
        whole = ("n", "every", "capacity", "levels", "leapfrog")
        _check(self, whole=whole, positive=("step", "largest"))
        if self.capacity % self.n:
            raise ConfigError(
                f"buffer: capacity must be a multiple of n = {self.n}, got {self.capacity}"
            )

    @property
    def energies(self) -> int:
        """Energy evaluations of one refill: of each level's trajectory and where it led, and of the start."""
        return self.n * (1 + self.levels * (self.leapfrog + 4))


Buffer = Transport | Bootstrap
KINDS = {"transport": Transport, "bootstrap": Bootstrap}


class Refill(NamedTuple):
    """``empty() -> (store, data)`` gives shapes and types; ``run(params, store, key) -> (store, data, logs)``.

    ``data`` is ``(rows, columns)``, batch first, as the stage's losses take it. ``run`` is compiled.
    """

    empty: Callable[[], tuple[Any, Array]]
    run: Callable[[Params, Any, Key], tuple[Any, Array, dict[str, Array]]]


def _check(buffer: Buffer, *, whole: tuple[str, ...], positive: tuple[str, ...]) -> None:
    for name in (*whole, *positive):
        value = getattr(buffer, name)
        if not 0 < value < math.inf or (name in whole and value != int(value)):
            kind = "whole and positive" if name in whole else "positive"
            raise ConfigError(f"buffer: {name} must be {kind}, got {value}")
