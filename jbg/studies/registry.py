"""Ready-made studies: what `jbg run NAME` finds."""

import importlib
from collections.abc import Sequence

from jbg.interfaces import ConfigError, State
from jbg.studies.problem import Problem, Recipe

_MODULES = {
    "double-well": "plane.double_well",
    "mueller-brown": "plane.mueller_brown",
    "lj-dimer": "dimer.umbrella",
    "lj-dimer-explored": "dimer.explored",
    "alanine-dipeptide": "molecule.alanine_dipeptide",
    "molecule": "molecule.molecule",
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
    return importlib.import_module(f"jbg.studies.{_MODULES[name]}")


def state_pairs(states: Sequence[State]) -> list[tuple[State, State]]:
    """Pairs to report a free-energy difference for: states listed two by two, as systems define them."""
    return list(zip(states[::2], states[1::2], strict=True))


__all__ = ["PRESETS", "Problem", "Recipe", "names", "recipe", "state_pairs"]
