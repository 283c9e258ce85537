"""Alarms about what a user asked of a run: states that overlap, temperatures that the samples do not reach."""

from collections.abc import Mapping
from typing import Any

MAX_OVERLAP = 1e-3  # of all weight
FEWER = 0.1  # of the effective samples at the temperature of the run


def question_alarms(results: Mapping[str, Any]) -> list[str]:
    """A line for each pair of overlapping states, and for each temperature without a free energy or with few
    effective samples.

    Args:
        results: as in ``results.json``; ``overlaps`` and ``temperature_series`` are looked at.
    """
    found = []
    for overlap in results.get("overlaps") or []:
        a, b = overlap["states"]
        if overlap["share"] > MAX_OVERLAP:
            found.append(
                f"states {a} and {b} overlap: {overlap['share']:.2%} of the weight counts in both"
            )
    own = results.get("ess_fraction", 0.0) * results.get("n_samples", 0)
    for entry in results.get("temperature_series") or []:
        kelvin = f"{entry['temperature']:g} K"
        if entry["energy"]["value"] is None:
            found.append(f"no energy at {kelvin} by reweighting: {entry['energy']['reason']}")
        elif entry["n_effective"] < FEWER * own:
            found.append(
                f"at {kelvin} the samples are worth {entry['n_effective']:.0f} effective ones, of {own:.0f} at "
                "the temperature of the run"
            )
        for pair in entry["differences"]:
            if pair["free_energy"]["value"] is None:
                a, b = pair["states"]
                found.append(
                    f"no F({b}) - F({a}) at {kelvin} by reweighting: {pair['free_energy']['reason']}"
                )
    return found
