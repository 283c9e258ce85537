"""What a user wants to know of a run beside what its study reports: states, collective variables, temperatures.

None of it changes data, training, samples or corrections, so that it is no part of a plan: a finished run answers
new questions by `engine.evaluate` alone, with the numbers that it would have given had they been asked at first.
"""

import dataclasses
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jbg.interfaces import ConfigError, State, Topology
from jbg.runs import Run
from jbg.variables import Variable, state, variable

KEPT = "wanted.json"
MOST_STATES, MOST_VARIABLES, MOST_TEMPERATURES = 10, 12, 20
RANGE = (0.5, 2.0)  # of a temperature, times that of the run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Questions:
    """Questions about a molecule, as a user asks them.

    Attributes:
        states: each "NAME: DEFINITION" in the grammar of docs/states.md, or from `jbg.state`.
        variables: each "NAME: QUANTITY" or "NAME: QUANTITY, QUANTITY", or from `jbg.variable`.
        temperatures: K.
        folder: where files with relative paths in definitions are.
    """

    states: tuple[str | State, ...] = ()
    variables: tuple[str | Variable, ...] = ()
    temperatures: tuple[float, ...] = ()
    folder: str = "."

    def __post_init__(self):
        for field in ("states", "variables", "temperatures"):
            given = getattr(self, field)
            alone = isinstance(given, str | State | Variable | int | float)
            object.__setattr__(self, field, (given,) if alone else tuple(given))
        object.__setattr__(self, "folder", str(Path(self.folder).absolute()))

    @property
    def empty(self) -> bool:
        return not (self.states or self.variables or self.temperatures)


class Wanted(NamedTuple):
    """Questions with their functions: states, the pairs of them whose free energies differ, variables, and
    temperatures in K."""

    states: tuple[State, ...] = ()
    pairs: tuple[tuple[State, State], ...] = ()
    variables: tuple[Variable, ...] = ()
    temperatures: tuple[float, ...] = ()


NOTHING = Wanted()


def resolve(questions: Questions, topology: Topology | None, *, temperature: float) -> Wanted:
    """The functions that questions stand for.

    One state is compared with the rest of the configurations, several with each other.

    Args:
        questions: of the user.
        topology: of the molecule; None where the system has no atoms.
        temperature: of the run, K.

    Raises:
        ConfigError: a system without atoms, a definition that cannot be read, a name twice, too many questions, or
            a temperature that the samples say nothing about.
    """
    if questions.empty:
        return NOTHING
    if topology is None:
        raise ConfigError(
            "--state, --cv and --temperatures are about molecules, and this system has no atoms"
        )
    folder = Path(questions.folder)
    states = tuple(
        each if isinstance(each, State) else state(*_split("state", each), topology, folder=folder)
        for each in questions.states
    )
    variables = tuple(
        each
        if isinstance(each, Variable)
        else variable(*_split("variable", each), topology, folder=folder)
        for each in questions.variables
    )
    _check_names("state", [each.name for each in states], MOST_STATES)
    _check_names("variable", [each.name for each in variables], MOST_VARIABLES)
    states = tuple(dataclasses.replace(each, dim=3 * topology.n_atoms) for each in states)
    if len(states) == 1:
        pairs = ((_rest(states[0]), states[0]),)
    else:
        pairs = tuple((a, b) for i, a in enumerate(states) for b in states[i + 1 :])
    return Wanted(states, pairs, variables, _temperatures(questions.temperatures, temperature))


def keep(run: Run, questions: Questions) -> None:
    """Notes the questions in the run folder for later evaluations, in place of earlier ones. Those that are
    functions of Python cannot be kept."""
    text = dataclasses.asdict(
        dataclasses.replace(
            questions,
            states=[each for each in questions.states if isinstance(each, str)],
            variables=[each for each in questions.variables if isinstance(each, str)],
        )
    )
    run.write_json(KEPT, text)


def kept(run: Run) -> Questions:
    """The questions that a run folder holds; none where it has no such file.

    Raises:
        ConfigError: the file is damaged.
    """
    if not run.holds(KEPT):
        return Questions()
    found = run.read_json(KEPT)
    try:
        return Questions(**found)
    except (TypeError, AttributeError) as error:
        raise ConfigError(
            f"{run.path / KEPT} is damaged: delete it, and give --state, --cv and --temperatures again"
        ) from error


def _split(what: str, text: str) -> tuple[str, str]:
    """Name and definition."""
    name, colon, definition = text.partition(":")
    if not colon or not re.fullmatch(r"\s*\S+\s*", name) or re.search(r"\.py$", name):
        flag = {"state": "--state", "variable": "--cv"}[what]
        example = {"state": "alpha: torsion phi2 < 0", "variable": "psi: torsion psi2"}[what]
        raise ConfigError(
            f"{flag} {text!r}: expected a name, a colon and a definition, such as '{example}'"
        )
    return name.strip(), definition.strip()


def _rest(state: State) -> State:
    return State(
        name=f"not {state.name}",
        contains=lambda x: ~np.asarray(state.contains(x), bool),
        definition=f"everywhere outside of {state.name}",
        dim=state.dim,
    )


def _check_names(what: str, names: list[str], most: int) -> None:
    if len(names) > most:
        raise ConfigError(f"{len(names)} {what}s: at most {most} are evaluated at once")
    for i, name in enumerate(names):
        if name in names[:i]:
            raise ConfigError(f"{what} {name}: two have this name; choose another")


def _temperatures(given: Sequence[Any], own: float) -> tuple[float, ...]:
    if len(given) > MOST_TEMPERATURES:
        raise ConfigError(
            f"temperatures: at most {MOST_TEMPERATURES} at once, got {len(given)}: give fewer"
        )
    low, high = (share * own for share in RANGE)
    for kelvin in given:
        if not (math.isfinite(kelvin) and low <= kelvin <= high):
            raise ConfigError(
                f"temperatures: samples at {own:g} K are reweighted to {low:g} to {high:g} K, got {kelvin:g}: "
                "make a run at that temperature (--temperature)"
            )
    return tuple(sorted({float(kelvin) for kelvin in given}))
