"""Free-energy differences at one temperature from the samples of all of them.

A flow whose base is N(0, tau) has a density q_tau for every tau, each of them normalised, so samples drawn at
several temperatures are one pool of a known density (`reweighting.mixture_log_q`). A state that is rare at a low
temperature, and of which samples of that temperature hold a handful, is common among those of a higher one. B of
the Mueller-Brown potential holds 2e-7 of the weight at tau = 0.25: of 5e5 samples at each of five temperatures, a
hundred effective ones of its own temperature, 30 000 of the pool. Differences at neighbouring temperatures rest on
the same samples: their errors are not independent.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jbg.analysis import free_energy_difference
from jbg.reweighting import drop_non_finite, ess, log_weights, mixture_log_q
from jbg.runs import Run
from jbg.studies.evidence import Evidence
from jbg.studies.problem import Problem

ESTIMATOR = "pooled reweighting"


def differences(
    run: Run,
    problem: Problem,
    params: Any,
    weighted: Sequence[Any],
    plain: Sequence[dict],
    frames: Evidence | None,
) -> list[dict[str, Any]]:
    """The entries of ``plain`` with the samples of all temperatures in place of those of the entry's own."""
    del frames
    counts = [len(w.log_w) for w in weighted]
    x = np.concatenate([w.samples.positions for w in weighted])
    u = np.concatenate([w.samples.reduced_energy for w in weighted])
    usable = np.isfinite(np.concatenate([w.log_w for w in weighted]))
    log_q = mixture_log_q(problem.log_probs((params, ()), x, [w.tau for w in weighted]), counts)
    inside = {state.name: np.asarray(state.contains(x.T)) for state in problem.system.states}
    entries = []
    for entry in plain:
        tau, (a, b) = entry["tau"], entry["states"]
        log_w, _ = drop_non_finite(np.where(usable, log_weights(u, log_q, tau=tau), -np.inf))
        seed = run.seed_for(f"bootstrap pooled {a} {b} {tau:g}")
        found = free_energy_difference(log_w, inside[a], inside[b], seed=seed)
        new = {k: v for k, v in entry.items() if k != "reason"} | {
            "estimator": ESTIMATOR,
            "value": found.value,
            "stderr": found.stderr,
            "interval95": found.interval95,
            "effective_samples": {
                name: ess(log_w[inside[name]]) * int(inside[name].sum())
                if inside[name].any()
                else 0.0
                for name in (a, b)
            },
            "definition": entry["definition"].replace(
                "the spread of the weights",
                "the spread of the weights of the samples of all temperatures as one pool",
            ),
        }
        entries.append(new | ({"reason": found.reason} if found.reason else {}))
    return entries
