"""Free-energy differences of a molecule by BAR between generated samples and simulated frames set aside for it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jbg.analysis import StateSamples, bar_free_energy_difference
from jbg.interfaces import Params, State
from jbg.runs import Run
from jbg.studies.evidence import Evidence
from jbg.studies.molecule.data import FRAMES
from jbg.studies.molecule.reference import slow_within_states
from jbg.studies.problem import Problem

MIN_LADDERS, MIN_FRAMES = 6, 300  # in each state: fewer give no error that can be trusted


def bar_differences(
    run: Run,
    problem: Problem,
    params: Params,
    weighted: Sequence[Any],
    plain: Sequence[dict],
    frames: Evidence | None,
) -> list[dict[str, Any]]:
    """F(B) - F(A) of each pair of states by BAR; ``plain`` reweighting where too few frames were set aside.

    Weights alone do not show a part of a state that the flow hardly ever makes; frames do, and BAR counts it at
    what it weighs. They have to be in equilibrium within each state only, not between the two; what speaks against
    that is in ``equilibrium_reason``. Where they do not suffice, the reweighted entry stands, with
    ``estimator_reason``.
    """
    del params
    (own,) = (w for w in weighted if w.tau == 1.0)
    data = run.load_arrays(FRAMES)
    states = {state.name: state for state in problem.system.states}
    entries = []
    for entry in plain:
        a, b = (states[name] for name in entry["states"])
        new = _bar(run, problem, own, frames, a, b, entry)
        if new.get("estimator") == "bar" and "walker" in data:
            reason = slow_within_states(problem.system.topology, data, data["aside"], (a, b))
            if reason is not None:
                new |= {
                    "equilibrium_reason": f"BAR takes the frames as in equilibrium within a state, but {reason}"
                }
        entries.append(new)
    return entries


def _bar(run, problem, own, frames: Evidence | None, a: State, b: State, plain: dict) -> dict:
    if frames is None or problem.simulated is None:
        return plain | {
            "estimator_reason": "no simulated frames were set aside for BAR; begin a new run to have them"
        }
    seen = [_state_samples(own, frames, state) for state in (a, b)]
    for state, samples in zip((a, b), seen, strict=True):
        reason = _too_few(state.name, samples.simulated_inside)
        if reason:
            return plain | {"estimator_reason": reason}
    found = bar_free_energy_difference(
        *seen,
        same_generator=True,
        same_chains=True,
        seed=run.seed_for(f"bar {a.name} {b.name}"),
    )
    if found.reason and "simulated samples, need" in found.reason:
        return plain | {"estimator_reason": found.reason}
    if found.reason:  # what BAR cannot bridge, weights alone can even less
        nothing = dict.fromkeys(("value", "stderr", "interval95"))
        return plain | nothing | {"estimator": "bar", "reason": found.reason}
    return {k: v for k, v in plain.items() if k != "reason"} | {
        "estimator": "bar",
        "value": found.value,
        "stderr": found.stderr,
        "interval95": found.interval95,
        "definition": f"F({b.name}) - F({a.name}); {a.name}: {a.definition}; {b.name}: {b.definition}; BAR "
        "between generated samples and simulated frames set aside, which training did not use; error: bootstrap "
        "over samples and ladders",
    }


def _too_few(name: str, inside: np.ndarray) -> str | None:
    ladders, frames = np.count_nonzero(inside.any(axis=1)), np.count_nonzero(inside)
    if ladders < MIN_LADDERS:
        return (
            f"{ladders} of the {len(inside)} ladders set aside for it visited {name}, need {MIN_LADDERS}: "
            "simulate longer"
        )
    if frames < MIN_FRAMES:
        return (
            f"{frames} frames of {name} were set aside for it, need {MIN_FRAMES}: simulate longer"
        )
    return None


def _state_samples(own: Any, frames: Evidence, state: State) -> StateSamples:
    log_q, u = own.samples.log_q, own.samples.reduced_energy
    inside = np.isfinite(own.log_w) & np.asarray(state.contains(own.samples.positions.T))
    return StateSamples(
        generated_log_q=log_q[inside],
        generated_u=u[inside],
        n_generated=len(inside),
        simulated_log_q=frames.log_q,
        simulated_u=frames.u,
        simulated_inside=frames.inside(state.contains),
    )
