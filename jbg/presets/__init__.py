"""Ready-made studies: what `jbg run NAME` finds."""

import importlib
from collections.abc import Sequence

from jbg.interfaces import ConfigError, State
from jbg.presets.problem import Problem, Recipe

_MODULES = {
    "double-well": "double_well",
    "mueller-brown": "mueller_brown",
    "lj-dimer": "lj_dimer",
    "lj-dimer-explored": "lj_dimer_explored",
    "alanine-dipeptide": "alanine_dipeptide",
    "molecule": "molecule",
}
PRESETS = ("quick", "full")


def names() -> list[str]:
    return list(_MODULES)


def recipe(name: str) -> Recipe:
    """The module that studies the system ``name``.

    Raises:
        ConfigError: no system of that name.
    """
    if name not in _MODULES:
        raise ConfigError(f"unknown system {name!r}: choose one of {', '.join(_MODULES)}")
    return importlib.import_module(f"jbg.presets.{_MODULES[name]}")


def state_pairs(states: Sequence[State]) -> list[tuple[State, State]]:
    """Pairs to report a free-energy difference for: states listed two by two, as systems define them."""
    return list(zip(states[::2], states[1::2], strict=True))


__all__ = ["PRESETS", "Problem", "Recipe", "names", "recipe", "state_pairs"]
