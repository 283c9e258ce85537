"""Questions about states, variables, temperatures and means: their options, and what is printed of the answers."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Annotated, Any

import tyro

from jbg.cli.options import Flag, QuestionOptions, RunOptions, SharedStageOptions

ESTIMATORS = {
    "bar": " by BAR",
    "moves": " by chains with flow moves",
    "ladder": " by a latent ladder",
    "annealed": " by annealed weights",
}


def options_beside(system: str, of_command: type = RunOptions) -> tuple[type, ...]:
    """The classes of options that a command about ``system`` has beside those of its study."""
    from jbg.studies.registry import MOLECULES, STUDIES

    return (of_command, QuestionOptions) if STUDIES[system].needs == MOLECULES else (of_command,)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateOptions(SharedStageOptions, QuestionOptions):
    """Compute results.json from the samples of a run. What is asked replaces what was asked before."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeanOptions:
    """Mean of a function of configurations over the Boltzmann distribution of a molecule's run, with its error."""

    dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    """Run folder."""
    of: Annotated[str, tyro.conf.arg(metavar="FILE.py:FUNCTION")]
    """Function of an mdtraj trajectory of n frames, in nm; gives (n,) or (n, k) numbers. The file is executed."""
    json: Flag = False
    """Print JSON instead of lines."""


def print_means(run: Any, options: MeanOptions) -> int:
    """Print the mean of each column of the function."""
    from jbg.studies.molecule.means import means
    from jbg.variables import load_function

    found = means(run, load_function(options.of), whose=options.of)
    if options.json:
        kinds = [{"weighted": m.weighted, "chains": m.chains} for m in found]
        print(json.dumps([{k: v and v._asdict() for k, v in m.items()} for m in kinds], indent=2))
        return 0
    for i, mean in enumerate(found):
        name = options.of if len(found) == 1 else f"{options.of}[{i}]"
        print(f"{name}: {_mean_text(mean.weighted)} by weights")
        if mean.chains is not None:
            print(f"{name}: {_mean_text(mean.chains)} by chains with flow moves")
    return 0


def _mean_text(mean: Any) -> str:
    if mean.value is None:
        return f"not given ({mean.reason})"
    low, high = mean.interval95
    return (
        f"{mean.value:.6g} +- {mean.stderr:.2g}, 95 % {low:.6g} to {high:.6g}, "
        f"{mean.n_effective:.0f} effective samples,"
    )


def of(options: Any) -> Any:
    """The `Questions` of the options; None where they have none."""
    from jbg.studies.wanted import Questions

    given = [getattr(options, name, ()) for name in ("state", "cv", "temperatures")]
    if not any(given):
        return None
    states, variables, temperatures = map(tuple, given)
    return Questions(states=states, variables=variables, temperatures=temperatures)


def check(plan: Any, options: Any) -> None:
    """Raises ConfigError for a question that a run of ``plan`` cannot answer."""
    from jbg.studies import engine

    asked = of(options)
    if asked is not None:
        engine.check_questions(plan, asked)


def keep(run: Any, options: Any) -> None:
    """Notes the questions, if there are any, in the run folder."""
    from jbg.studies import engine

    asked = of(options)
    if asked is not None:
        engine.keep_questions(run, asked)


def print_answers(results: dict[str, Any]) -> None:
    """Populations of the user's states, and numbers at other temperatures."""
    for name, state in (results.get("states") or {}).items():
        p = state["population"]
        text = f"not given: {p['reason']}" if p["value"] is None else _percent(p)
        print(f"population of {name} = {text}")
    for entry in results.get("temperature_series") or []:
        kelvin = f"{entry['temperature']:g} K"
        for name, symbol in (("energy", "U"), ("heat_capacity", "C")):
            unit = "kJ/mol" if symbol == "U" else "kJ/mol/K"
            print(f"{symbol} at {kelvin} = {_estimate_text(entry[name], unit)}")
        for pair in entry["differences"]:
            a, b = pair["states"]
            for name, symbol in (("free_energy", "F"), ("energy", "U"), ("entropy_term", "T S")):
                text = _estimate_text(pair[name], "kJ/mol")
                print(f"{symbol}({b}) - {symbol}({a}) at {kelvin} = {text}")


def _percent(p: dict[str, Any]) -> str:
    low, high = p["interval95"]
    return f"{p['value']:.2%} +- {p['stderr']:.2%} ({low:.2%} to {high:.2%})"


def _estimate_text(found: dict[str, Any], unit: str) -> str:
    if found["value"] is None:
        return f"not given: {found['reason']}"
    return f"{_with_error(found['value'], found['stderr'])} {unit}"


def _with_error(value: float, stderr: float) -> str:
    """A value with two digits of its error."""
    digits = max(0, 1 - math.floor(math.log10(stderr))) if stderr > 0 else 3
    return f"{value:.{digits}f} +- {stderr:.{digits}f}"


def free_energy_text(entry: dict[str, Any]) -> str:
    """A free energy with its error, in kT and where they are known in kJ/mol and kcal/mol, and its estimator."""
    text = f"{entry['value']:.3f} +- {entry['stderr']:.3f} kT"
    molar = [
        f"{_with_error(entry[unit]['value'], entry[unit]['stderr'])} {unit}"
        for unit in ("kJ/mol", "kcal/mol")
        if unit in entry
    ]
    text += f" ({', '.join(molar)})" if molar else ""
    return text + ESTIMATORS.get(entry.get("estimator", ""), "")


def reference_text(entry: dict[str, Any]) -> str:
    """The reference of a free energy, if it has one."""
    known, error = entry.get("reference"), entry.get("reference_stderr")
    if known is None:
        return ""
    return f"  (reference {known:.3f}" + (f" +- {error:.3f})" if error else ")")
