"""What a user asked of a run, as rows of the report: populations of states, numbers at other temperatures."""

from collections.abc import Mapping, Sequence
from typing import Any

from jbg.report.numerals import MINUS, NO_BREAK, digits_of, fixed, number, number_with_error

TEMPERATURE_HEADS = (
    *("T / K", "Of", "Effective samples", "F / (kJ/mol)", "U / (kJ/mol)", "T S / (kJ/mol)"),
    *("C / (kJ/mol/K)",),
)
TEMPERATURE_NOTE = (
    "By reweighting the samples of the run. Of all configurations, F and T S count the entropy from that at the "
    "temperature of the run, where they are U and 0; differences between states need no such zero. C is that of "
    "the configurations; the momenta add 3 N / 2 k."
)


def population_rows(results: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """(state, population, 95 % interval or reason, definition) of each state of the user."""
    rows = []
    for name, found in (results.get("states") or {}).items():
        p = found["population"]
        if p["value"] is None:
            rows.append((name, "not given", p["reason"], found["definition"]))
            continue
        low, high = (fixed(100 * end, _digits(p["stderr"])) for end in p["interval95"])
        value = number_with_error(100 * p["value"], 100 * p["stderr"])
        rows.append((name, f"{value}{NO_BREAK}%", f"{low} to {high} %", found["definition"]))
    return rows


def temperature_rows(results: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Rows of numbers at each temperature, of all configurations and of each pair of states."""
    rows = []
    for entry in results.get("temperature_series") or []:
        kelvin = number(entry["temperature"])
        names = ("free_energy", "energy", "entropy_term", "heat_capacity")
        rows.append((kelvin, "all", _counts([entry["n_effective"]]), *_cells(entry, names)))
        for pair in entry["differences"]:
            a, b = pair["states"]
            what = f"{b}{NO_BREAK}{MINUS}{NO_BREAK}{a}"
            rows.append((kelvin, what, _counts(pair["n_effective"]), *_cells(pair, names[:3]), ""))
    return rows


def _counts(n: Sequence[float]) -> str:
    return ", ".join(number(round(each)) for each in n)


def _cells(entry: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    cells = []
    for name in names:
        value, stderr = entry[name]["value"], entry[name]["stderr"]
        reason = entry[name].get("reason")
        text = f"not given: {reason}" if value is None else number_with_error(value, stderr)
        cells.append(text)
    return cells


def _digits(stderr: float) -> int:
    return digits_of(100 * stderr) if stderr > 0 else 1
