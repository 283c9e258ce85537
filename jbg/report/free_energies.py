"""The cells of a free-energy difference in the report."""

from collections.abc import Mapping
from typing import Any

from jbg.report.numerals import MINUS, NO_BREAK, digits_of, fixed, number, number_with_error


def definition(entry: Mapping[str, Any]) -> str:
    """The dividing surfaces, the method, and why it is not another."""
    parts = [entry.get("definition")]
    plain = entry.get("reweighted")
    if plain is not None:
        parts.append(f"plain reweighting: {_plain(plain)}")
    if entry.get("corrector_reason"):
        parts.append(f"not by chains: {entry['corrector_reason']}")
    if entry.get("estimator_reason"):
        parts.append(f"not by BAR: {entry['estimator_reason']}")
    if entry.get("reference") is None and entry.get("reference_reason"):
        parts.append(f"no reference: {entry['reference_reason']}")
    return "; ".join(part for part in parts if part)


def _plain(entry: Mapping[str, Any]) -> str:
    if entry.get("value") is None:
        return f"not given, {entry.get('reason') or 'no reason stored'}"
    return f"{estimate(entry)}{NO_BREAK}kT, {interval(entry)}"


def difference_label(entry: Mapping[str, Any]) -> str:
    """Which difference it is."""
    first, second = (entry.get("states") or ["first", "second"])[:2]
    return f"F({second}){NO_BREAK}{MINUS}{NO_BREAK}F({first})"


def estimate(entry: Mapping[str, Any]) -> str:
    """The value with its error."""
    known = entry.get("stderr") is not None
    return number_with_error(entry["value"], entry.get("stderr")) + (
        "" if known else ", error unknown"
    )


def molar(entry: Mapping[str, Any], unit: str) -> str:
    """The value with its error in another unit than kT; empty where it is not known."""
    found = entry.get(unit) or {}
    if found.get("value") is None:
        return ""
    return number_with_error(found["value"], found.get("stderr"))


def interval(entry: Mapping[str, Any]) -> str:
    """The 95 % interval."""
    ends, stderr = entry.get("interval95"), entry.get("stderr")
    if not ends:
        return ""
    low, high = (fixed(v, digits_of(stderr)) if stderr else number(v) for v in ends)
    return f"{low}{NO_BREAK}to{NO_BREAK}{high}"
