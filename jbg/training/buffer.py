"""Stages that learn by example from configurations which the generator itself proposed: how they are refilled.

Every ``every`` steps a stage's data are made anew by a `Refill`. What it carries from one time to the next, the
store, is part of the checkpoint together with the data, so that an interrupted stage ends as an unbroken one.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from jax import Array
from jax.sharding import Mesh

from jbg.generator import Generator
from jbg.interfaces import ConfigError, Key, Params, Target


class Refill(NamedTuple):
    """``empty() -> (store, data)`` gives shapes and types; ``run(params, store, key) -> (store, data, logs)``.

    ``data`` is ``(rows, columns)``, batch first, as the stage's losses take it. ``run`` is compiled.
    """

    empty: Callable[[], tuple[Any, Array]]
    run: Callable[[Params, Any, Key], tuple[Any, Array, dict[str, Array]]]


class BufferSettings(Protocol):
    """Settings of a buffer, `training.Stage.buffer`; plain values, so that a run's configuration can hold them.

    every: steps between refills. columns: of its rows after the coordinates (`losses.columns`).
    energies: energy evaluations of one refill.
    make(generator, target, mesh) -> `Refill`: ``generator`` of what is trained, ``target`` the density of the same
    variables, softened and heated; ``mesh`` the devices that share the work.
    """

    every: int

    @property
    def columns(self) -> tuple[str, ...]: ...

    @property
    def energies(self) -> int: ...

    def make(self, generator: Generator, target: Target, mesh: Mesh) -> Refill: ...


def check_numbers(buffer: Any, *, whole: tuple[str, ...], positive: tuple[str, ...]) -> None:
    """Refuse settings of a buffer that are not positive, or not whole where they count something.

    Raises:
        ConfigError: names the setting.
    """
    for name in (*whole, *positive):
        value = getattr(buffer, name)
        if not 0 < value < math.inf or (name in whole and value != int(value)):
            kind = "whole and positive" if name in whole else "positive"
            raise ConfigError(f"buffer: {name} must be {kind}, got {value}")
