"""Options about the states, variables and temperatures of the user, and what is printed of the answers."""

import dataclasses
from typing import Any

from jbg.cli.options import QuestionOptions, RunOptions, SharedStageOptions

ESTIMATORS = {
    "bar": " by BAR",
    "moves": " by chains with flow moves",
    "ladder": " by a latent ladder",
}


def options_beside(system: str) -> tuple[type, ...]:
    """The classes of options that a run of ``system`` has beside those of its study."""
    from jbg.studies.registry import MOLECULES, STUDIES

    return (RunOptions, QuestionOptions) if STUDIES[system].needs == MOLECULES else (RunOptions,)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateOptions(SharedStageOptions, QuestionOptions):
    """Compute results.json from the samples of a run. What is asked replaces what was asked before."""


def questions_of(options: Any) -> Any:
    """The `Questions` of the options; None where they have none."""
    from jbg.studies.wanted import Questions

    given = [getattr(options, name, ()) for name in ("state", "cv", "temperatures")]
    if not any(given):
        return None
    states, variables, temperatures = map(tuple, given)
    return Questions(states=states, variables=variables, temperatures=temperatures)


def free_energy_text(entry: dict[str, Any]) -> str:
    """A free energy with its error, in kT and where they are known in kJ/mol and kcal/mol, and its estimator."""
    text = f"{entry['value']:.3f} +- {entry['stderr']:.3f} kT"
    molar = [
        f"{entry[unit]['value']:.2f} +- {entry[unit]['stderr']:.2f} {unit}"
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
