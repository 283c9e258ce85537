"""Free-energy differences of the two states of a bridge from annealed particles, and how they are shown."""

from typing import Any

import numpy as np
from bridge import NAMES

from jbg.analysis import mean_weight_difference
from jbg.analysis.annealed_weights import annealed_weights
from jbg.analysis.protein_alarms import rest_on_few, sides_differ


def at(found: dict[str, np.ndarray], kelvin: float, t0: float) -> np.ndarray:
    """ln W of the particles at another temperature ``(n,)``."""
    log_w, u = np.float64(found["log_w"]), np.float64(found["u"])
    possible = np.isfinite(log_w) & np.isfinite(u)
    return np.where(possible, log_w - (t0 / kelvin - 1) * np.where(possible, u, 0.0), -np.inf)


def differences(
    states: list[dict[str, np.ndarray]], kelvin: float, t0: float, seed: int
) -> dict[str, Any]:
    """F(plus) - F(minus) with its parts U and T S, in kT at a temperature, errors by the bootstrap.

    Args:
        states: ``log_w`` and ``u`` of particles at ``t0``, of minus and of plus.
        kelvin: K, of the differences.
        t0: K, of the particles.
        seed: of the bootstrap.
    """
    log_w = [at(found, kelvin, t0) for found in states]
    free = mean_weight_difference(*log_w, seed=seed)
    rng, parts = np.random.default_rng(seed), []
    finite = lambda u: np.where(np.isfinite(u), u, 0.0)
    energies = [finite(np.float64(found["u"])) * t0 / kelvin for found in states]
    for draw in range(501):
        mean = []
        for w, u in zip(log_w, energies, strict=True):
            rows = np.arange(len(w)) if draw == 0 else rng.integers(0, len(w), len(w))
            weight = np.exp(w[rows] - w.max())
            good = weight > 0
            mean.append(
                (np.log(weight.mean()) + w.max(), (weight[good] @ u[rows][good]) / weight.sum())
            )
        f, u = mean[0][0] - mean[1][0], mean[1][1] - mean[0][1]
        parts.append((u, u - f))
    (u, ts), spread = parts[0], np.std(parts[1:], axis=0, ddof=1)
    # the bootstrap knows nothing of weights that were not drawn
    few = any(
        rest_on_few(annealed_weights(w, np.arange(len(w)), evaluations=1)._asdict()) for w in log_w
    )
    known = free.value is not None and not few
    return {
        "kelvin": kelvin,
        **free._asdict(),
        "energy": float(u) if known else None,
        "energy_stderr": float(spread[0]) if known else None,
        "entropy": float(ts) if known else None,
        "entropy_stderr": float(spread[1]) if known else None,
    }


def doubts(rows: dict[str, Any]) -> str | None:
    """Why no difference is to be given: the sides of a state's ln Z differ; None where they do not."""
    found = []
    for name in NAMES:
        sides = rows[name]["ln_z"]
        if sides_differ(sides):
            apart = f"{-sides['gap']:.2f} +- {sides['gap_stderr']:.2f}"
            found.append(f"{name}: ln Z from the flow less that back from frames is {apart}")
    return "; ".join(found) or None


def refused(found: dict[str, Any], reason: str | None) -> dict[str, Any]:
    """A difference without its numbers, where there is a reason."""
    if reason is None:
        return found
    return {name: None for name in found} | {"kelvin": found["kelvin"], "reason": reason}


def by_both_sides(rows: dict[str, Any], t0: float) -> dict[str, Any]:
    """F(plus) - F(minus) in kT at t0 by the acceptance ratio of both directions in each state."""
    minus, plus = (rows[name]["ln_z"]["bar"] for name in NAMES)
    for bar in (minus, plus):
        if bar["value"] is None:
            return {"kelvin": t0, "value": None, "stderr": None, "reason": bar["reason"]}
    stderr = float(np.hypot(minus["stderr"], plus["stderr"]))
    value = minus["value"] - plus["value"]
    return {"kelvin": t0, "value": value, "stderr": stderr, "reason": None}


def table(result: dict[str, Any]) -> list[str]:
    """The differences in markdown, those of the reference beside them."""
    names = ("value", "energy", "entropy")
    lines = [
        "| K | F(plus) - F(minus), kT | U | T S | F by replica exchange | U | T S |",
        "|" + " --- |" * 7,
    ]
    known = {row["kelvin"]: row for row in result.get("reference", {}).get("rows", [])}
    for row in result["differences"]:
        cells = [f"{row['kelvin']:g}"]
        for source in (row, known.get(row["kelvin"], {})):
            errors = {name: f"{name}_stderr" for name in names} | {"value": "stderr"}
            if source is not row:
                errors["value"] = "value_stderr"
            for name in names:
                value = source.get(name)
                cells.append("" if value is None else f"{value:.2f} +- {source[errors[name]]:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    bar = result["bar"]
    if bar["value"] is not None:
        lines.append(
            f"By both sides at {bar['kelvin']:g} K: {bar['value']:.2f} +- {bar['stderr']:.2f}"
        )
    reasons = dict.fromkeys(row["reason"] for row in (*result["differences"], bar) if row["reason"])
    return [*lines, *(f"No value: {reason}" for reason in reasons)]
