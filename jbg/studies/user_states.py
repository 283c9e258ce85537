"""What is said of each state of the user by itself: its definition, its population, and how far states overlap."""

import math
from typing import Any

import numpy as np

from jbg.analysis import free_energy_difference
from jbg.reweighting import relative_weights
from jbg.studies.evidence import Evidence

MIN_OVERLAP = 1e-4  # of all weight


def states_of_user(evidence: Evidence) -> dict[str, Any]:
    """``states``: definition and population of each, the latter by reweighting; and ``overlaps`` of those that are
    compared, where they share weight."""
    own, inside = evidence.own, {}
    w = relative_weights(own.log_w)
    for state in evidence.wanted.states:
        inside[state.name] = own.inside(state)
    found = {
        state.name: {
            "definition": state.definition,
            "population": _population(
                own.log_w, inside[state.name], evidence.seed_for(f"population {state.name}")
            ),
        }
        for state in evidence.wanted.states
    }
    overlaps = []
    for a, b in evidence.wanted.pairs:
        if a.name not in inside:  # the rest of a single state
            continue
        share = float(w[inside[a.name] & inside[b.name]].sum() / w.sum())
        if share > MIN_OVERLAP:
            overlaps.append({"states": [a.name, b.name], "share": share})
    return {"states": found, "overlaps": overlaps}


def _population(log_w: np.ndarray, inside: np.ndarray, seed: int) -> dict[str, Any]:
    """The share of the weight in a state, from F of the state against the rest: p = 1 / (1 + exp F)."""
    found = free_energy_difference(log_w, ~inside, inside, seed=seed)
    if found.value is None or found.interval95 is None:
        reason = (found.reason or "").replace("the first state", "the rest")
        reason = reason.replace("the second state", "the state")
        return {"value": None, "stderr": None, "interval95": None, "reason": reason}
    share = lambda f: 1 / (1 + math.exp(f))
    low, high = share(found.interval95[1]), share(found.interval95[0])
    return {
        "value": share(found.value),
        "stderr": (high - low) / 3.92,
        "interval95": [low, high],
    }
