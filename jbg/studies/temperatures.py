"""``temperature_series``: what the samples of a molecule say of other temperatures, in kJ/mol."""

from typing import Any

import numpy as np

from jbg.analysis.temperatures import Estimate, at_temperature, difference_at_temperature
from jbg.studies.evidence import Evidence
from jbg.studies.study import Finding
from jbg.units import K_B, kt


def temperature_series(evidence: Evidence) -> Finding:
    """Numbers of all configurations and of each pair of states at the temperatures that the user asked for."""
    wanted, own = evidence.wanted, evidence.own
    if not wanted.temperatures:
        return Finding({}, {})
    kelvin = evidence.plan.options.temperature
    log_w, u = own.log_w, np.asarray(own.samples.reduced_energy, np.float64)
    pairs = [*evidence.problem.pairs, *wanted.pairs]
    inside = {state.name: own.inside(state) for pair in pairs for state in pair}
    series = []
    for temperature in wanted.temperatures:
        tau = temperature / kelvin
        seed = evidence.seed_for(f"temperature {temperature:g}")
        found, scale = at_temperature(log_w, u, tau, seed=seed), kt(kelvin)
        series.append(
            {
                "temperature": temperature,
                "n_effective": found.n_effective,
                "free_energy": _as_results(found.free_energy, scale),
                "energy": _as_results(found.energy, scale),
                "entropy_term": _as_results(found.entropy_term, scale),
                "heat_capacity": _as_results(found.heat_capacity, K_B),
                "differences": [
                    _difference(log_w, u, (a.name, b.name), inside, tau, seed, scale)
                    for a, b in pairs
                ],
            }
        )
    return Finding({"temperature_series": series}, {})


def _difference(
    log_w: np.ndarray,
    u: np.ndarray,
    names: tuple[str, str],
    inside: dict[str, np.ndarray],
    tau: float,
    seed: int,
    scale: float,
) -> dict[str, Any]:
    states = (inside[names[0]], inside[names[1]])
    found = difference_at_temperature(log_w, u, states, tau, seed=seed)
    return {
        "states": list(names),
        "n_effective": list(found.n_effective),
        "free_energy": _as_results(found.free_energy, scale),
        "energy": _as_results(found.energy, scale),
        "entropy_term": _as_results(found.entropy_term, scale),
    }


def _as_results(found: Estimate, scale: float) -> dict[str, Any]:
    """An estimate in the unit of ``scale``."""
    if found.value is None or found.stderr is None or found.interval95 is None:
        return {"value": None, "stderr": None, "interval95": None, "reason": found.reason}
    return {
        "value": scale * found.value,
        "stderr": scale * found.stderr,
        "interval95": [scale * end for end in found.interval95],
    }
