"""Explanations of the words and signs beside the free energies of a report."""

from collections.abc import Mapping, Sequence
from typing import Any

ERRORS = (
    "\N{PLUS-MINUS SIGN} is one standard error; a 95 % interval need not be symmetric. kT is that of the "
    "temperature of the row."
)
TAU = "tau is the temperature of the row over the reference temperature, T / T_ref."
LADDERS = (
    "A ladder is one independent replica exchange: copies of the molecule at rising temperatures that swap "
    "configurations. Errors are between ladders."
)
SHARED = (
    "BAR uses the simulated frames of half of the ladders, and the reference those of all of them: the two are "
    "not independent, so that their agreement says less than two separate measurements would."
)


def notes(entries: Sequence[Mapping[str, Any]], *, molecule: bool) -> str:
    """The sentences that a reader of these free-energy differences needs.

    Args:
        entries: of ``free_energy_differences`` in ``results.json``.
        molecule: whether the system is one, whose reference is a replica exchange.
    """
    simulated = molecule and any(entry.get("reference_expected", True) for entry in entries)
    by_bar = any(
        entry.get("estimator") == "bar" and entry.get("reference") is not None for entry in entries
    )
    return " ".join(
        [
            ERRORS,
            *([TAU] if any(entry.get("tau", 1.0) != 1.0 for entry in entries) else []),
            *([LADDERS] if simulated else []),
            *([SHARED] if simulated and by_bar else []),
        ]
    )
