"""States and collective variables of a molecule: from text in the grammar, or from functions."""

import dataclasses
import operator
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from jbg.interfaces import ConfigError, State, Topology
from jbg.variables.functions import Takes, load_function, numbers_of, of_positions, over_batch
from jbg.variables.grammar import (
    Comparison,
    Condition,
    Joined,
    Range,
    Text,
    parse_condition,
    parse_variables,
)
from jbg.variables.names import Names
from jbg.variables.quantities import Quantity, measure

NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,39}")
SIGNS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
USERS = "a function of the user"


class HasTopology(Protocol):
    """A molecule, a system, or whatever else has a topology."""

    @property
    def topology(self) -> Any: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variable:
    """A collective variable: one quantity, or two for a map.

    Attributes:
        name: of the variable.
        quantities: one or two.
        bounds: (low, high) of each in rad or nm, where the user gave them, else None.
        definition: in words.
        dim: number of coordinates of a configuration.
    """

    name: str
    quantities: tuple[Quantity, ...]
    bounds: tuple[tuple[float, float] | None, ...]
    definition: str
    dim: int

    def of(self, x: Any) -> np.ndarray:
        """The values ``(n, quantities)`` of flat x ``(3 atoms, n)``."""
        parts = [over_batch(q.of, self.dim // 3, np.float64)(x) for q in self.quantities]
        return np.stack(parts, axis=-1)


def state(
    name: str,
    definition: str | Callable[[Any], Any],
    molecule: HasTopology | Topology,
    *,
    takes: Takes = "trajectory",
    folder: Path | None = None,
) -> State:
    """A state of a molecule: ``contains(x)`` of flat positions ``(3 atoms, *batch)``, nm.

    ``jbg.state("alpha", "torsion phi2 in -120..-30 and torsion psi2 in -80..10", molecule)``

    Args:
        name: letters, digits and any of . + - _.
        definition: in the grammar of docs/states.md, FILE.py:FUNCTION, or a function of frames -> ``(n,)`` bool.
        molecule: whose atoms it is about; anything with a ``topology``, or that itself.
        takes: what a function is called with: an ``mdtraj.Trajectory``, or positions ``(n, atoms, 3)`` in nm.
        folder: where files with relative paths are; the current one by default.

    Raises:
        ConfigError: a definition that cannot be read, in one line that names the place.
    """
    whose, topology = f"state {name}", topology_of(molecule)
    _check_name(name, "state")
    names, text = Names(topology), USERS
    if isinstance(definition, str) and not _is_file(definition):
        source = Text(whose, definition)
        of, atoms = _compiled(source, parse_condition(source), names, folder or Path())
        text = _with_atoms(" ".join(definition.split()), atoms)
    else:
        function, text = _function(definition, folder, whose)
        of = _bool(of_positions(function, topology, takes, whose), whose)
    dim = 3 * topology.n_atoms
    return State(
        name=name, contains=over_batch(of, topology.n_atoms, bool), definition=text, dim=dim
    )


def variable(
    name: str,
    definition: str | Callable[[Any], Any],
    molecule: HasTopology | Topology,
    *,
    takes: Takes = "trajectory",
    folder: Path | None = None,
) -> Variable:
    """A collective variable of a molecule, for profiles and, of two quantities, maps.

    ``jbg.variable("rama", "torsion phi2, torsion psi2", molecule)``

    Args:
        name, molecule, takes, folder: as for `state`.
        definition: one or two quantities, or a function of frames -> ``(n,)``; what a function gives has no unit.

    Raises:
        ConfigError: a definition that cannot be read, in one line that names the place.
    """
    whose, topology = f"variable {name}", topology_of(molecule)
    _check_name(name, "variable")
    if not isinstance(definition, str) or _is_file(definition):
        function, label = _function(definition, folder, whose)
        of = numbers_of(of_positions(function, topology, takes, whose), whose)
        quantities, bounds = (Quantity(label=name, unit="", of=of),), (None,)
        return Variable(
            name=name,
            quantities=quantities,
            bounds=bounds,
            definition=label,
            dim=3 * topology.n_atoms,
        )
    text, names = Text(whose, definition), Names(topology)
    parsed = parse_variables(text)
    if len(parsed) > 2:
        raise text.error(parsed[2][0].kind, "expected one quantity or two")
    quantities = tuple(measure(text, each, names, folder or Path()) for each, _ in parsed)
    bounds = tuple(
        None if given is None else _bounds(text, given, quantity)
        for (_, given), quantity in zip(parsed, quantities, strict=True)
    )
    return Variable(
        name=name,
        quantities=quantities,
        bounds=bounds,
        definition=_with_atoms(
            ", ".join(quantity.label for quantity in quantities), [q.atoms for q in quantities]
        ),
        dim=3 * topology.n_atoms,
    )


def topology_of(molecule: Any) -> Topology:
    """The topology of a molecule, or of anything that has one.

    Raises:
        ConfigError: it has none.
    """
    found = molecule if isinstance(molecule, Topology) else getattr(molecule, "topology", None)
    if not isinstance(found, Topology):
        raise ConfigError(
            f"expected a molecule with a topology, got {type(molecule).__name__}: use jbg.molecule(...)"
        )
    return found


def _with_atoms(text: str, atoms: list[str]) -> str:
    """A definition, and behind it which atoms its names and numbers mean."""
    known = ", ".join(dict.fromkeys(filter(None, atoms)))
    return f"{text} ({known})" if known else text


def _check_name(name: str, what: str) -> None:
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{what} {name!r}: a name has up to 40 letters, digits and any of . + - _, and begins with one of "
            "the first two"
        )


def _is_file(definition: str) -> bool:
    return re.fullmatch(r"\S+\.py:\w+", definition.strip()) is not None


def _function(definition: Any, folder: Path | None, whose: str) -> tuple[Callable, str]:
    """The function of a definition, and how it is called in words."""
    if not isinstance(definition, str):
        return definition, f"{USERS}, {getattr(definition, '__name__', 'unnamed')}"
    try:
        return load_function(definition.strip(), folder), f"{USERS}, {definition.strip()}"
    except ConfigError as error:
        raise ConfigError(f"{whose}: {error}") from error


def _bool(of: Callable[[np.ndarray], np.ndarray], whose: str) -> Callable[[np.ndarray], np.ndarray]:
    def checked(x: np.ndarray) -> np.ndarray:
        found = of(x)
        if found.dtype != bool or found.ndim != 1:
            raise ConfigError(
                f"{whose}: expected true or false for each frame, got {found.dtype} of shape {found.shape}"
            )
        return found

    return checked


def _compiled(
    text: Text, node: Condition, names: Names, folder: Path
) -> tuple[Callable[[np.ndarray], np.ndarray], list[str]]:
    """The function of positions that a tree stands for, and the atoms of its quantities in words."""
    if isinstance(node, Joined):
        parts = [_compiled(text, part, names, folder) for part in node.parts]
        atoms = [each for _, inside in parts for each in inside]
        return _joined(node.by, [of for of, _ in parts]), atoms
    quantity = measure(text, node.quantity, names, folder)
    if isinstance(node, Comparison):
        test = _compared(text, node, quantity)
    else:
        test = _ranged(*_bounds(text, node, quantity), periodic=quantity.periodic)
    return lambda x: test(quantity.of(x)), [quantity.atoms]


def _joined(by: str, parts: list[Callable[[np.ndarray], np.ndarray]]):
    if by == "not":
        return lambda x: ~parts[0](x)
    gather = np.logical_and if by == "and" else np.logical_or
    return lambda x: gather.reduce([part(x) for part in parts])


def _compared(text: Text, node: Comparison, quantity: Quantity):
    sign, bound = SIGNS[node.sign], _inside_unit(node.bound, quantity)
    if quantity.periodic and abs(node.bound) > 180:
        raise text.error(node.at, "a torsion lies between -180 and 180 degrees")
    return lambda values: sign(values, bound)


def _bounds(text: Text, node: Range, quantity: Quantity) -> tuple[float, float]:
    """Low and high in rad or nm; the high end of a torsion lies above the low one, a turn further if need be."""
    low, high = node.low, node.high
    if quantity.periodic:
        if max(abs(low), abs(high)) > 360:
            raise text.error(node.at, "the ends for a torsion lie between -360 and 360 degrees")
        high += 360.0 if high < low else 0.0
        if not 0 < high - low <= 360:
            raise text.error(node.at, f"{node.low:g}..{node.high:g} is empty or more than a turn")
    elif not low < high:
        raise text.error(node.at, f"{low:g}..{high:g} is empty: the first number is the lower one")
    return _inside_unit(low, quantity), _inside_unit(high, quantity)


def _inside_unit(value: float, quantity: Quantity) -> float:
    return float(np.radians(value)) if quantity.unit == "rad" else value


def _ranged(low: float, high: float, *, periodic: bool):
    if not periodic:
        return lambda values: (values >= low) & (values < high)
    if high - low >= 2 * np.pi * (1 - 1e-12):
        return lambda values: np.isfinite(values)
    return lambda values: np.mod(values - low, 2 * np.pi) < high - low
