"""Numbers as a reader wants them: digits that mean something, signs and spaces of their own."""

import math
from collections.abc import Mapping
from typing import Any

MINUS, NO_BREAK = "\N{MINUS SIGN}", "\N{NO-BREAK SPACE}"


def percentage(share: float) -> str:
    """A fraction as "97.8 %", to three digits."""
    return f"{100 * share:.3g}{NO_BREAK}%"


def number(value: Any) -> str:
    """A figure as a reader wants it: counts with thin spaces, others to four digits."""
    if value is None:
        return "not given"
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\N{THIN SPACE}")
    return f"{value:.4g}".replace("-", MINUS)


def number_with_error(value: float, stderr: float | None) -> str:
    """The value to the digits that its standard error (two digits) leaves meaning."""
    if not stderr or not math.isfinite(stderr):
        return number(value)
    digits = digits_of(stderr)
    return f"{fixed(value, digits)} \N{PLUS-MINUS SIGN} {stderr:.{digits}f}"


def digits_of(stderr: float) -> int:
    """How many decimals of a value its standard error leaves meaning."""
    return max(0, 1 - math.floor(math.log10(stderr)))


def fixed(value: float, digits: int) -> str:
    """The value with so many decimals."""
    return f"{value:.{digits}f}".replace("-", MINUS)


def reference(entry: Mapping[str, Any]) -> str:
    """The ``reference`` beside an estimate; an exact one gets the estimate's digits."""
    known, stderr = entry.get("reference"), entry.get("reference_stderr")
    if known is None:
        return ""
    if not stderr and entry.get("stderr"):
        return f"reference {fixed(known, digits_of(entry['stderr']))}"
    return f"reference {number_with_error(known, stderr)}"


def duration(seconds: float | None) -> str:
    """Seconds as "42 s", "3.5 min" or "1.2 h"."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
