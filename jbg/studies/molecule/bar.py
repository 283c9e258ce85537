"""Free-energy differences of a molecule by BAR between generated samples and simulated frames set aside for it."""

from collections.abc import Sequence

import numpy as np

from jbg.analysis import StateSamples, bar_free_energy_difference
from jbg.interfaces import State
from jbg.studies.dataset import ASIDE
from jbg.studies.difference import Difference
from jbg.studies.evidence import Evidence, Frames
from jbg.studies.molecule.data_plan import HarmonicPlan
from jbg.studies.molecule.reference import BIASED, slow_within_states
from jbg.studies.molecule.states import topology_of
from jbg.studies.molecule.target_check import mismatch

MIN_LADDERS, MIN_FRAMES = 6, 300  # in each state: fewer give no error that can be trusted
BAR = "bar"
METHOD = (
    "BAR between generated samples and simulated frames set aside, which training did not use; error: bootstrap "
    "over samples and ladders"
)


def bar(evidence: Evidence, plain: Sequence[Difference]) -> list[Difference]:
    """F(B) - F(A) of each pair of states by BAR; ``plain`` reweighting where too few frames were set aside.

    Weights alone do not show a part of a state that the flow hardly ever generates; frames do, and BAR counts it
    with its weight. The frames have to be in equilibrium within each state, not between the two;
    ``equilibrium_reason`` holds evidence against it. Where there are too few frames, the reweighted entry is kept,
    with ``estimator_reason``. Nothing changes where nothing was simulated.
    """
    if isinstance(evidence.plan.data, HarmonicPlan):
        return list(plain)
    refused = BIASED if evidence.dataset.weighted else mismatch(evidence.run)
    if refused:
        return [entry.noting(estimator_reason=f"no BAR: {refused}") for entry in plain]
    return [_checked(evidence, _bar(evidence, entry)) for entry in plain]


def _bar(evidence: Evidence, plain: Difference) -> Difference:
    a, b, frames = plain.a, plain.b, evidence.frames
    if frames is None or evidence.problem.simulated is None:
        reason = "no simulated frames were set aside for BAR; begin a new run to have them"
        return plain.noting(estimator_reason=reason)
    for state in (a, b):
        reason = _too_few(state.name, frames.inside(state.contains))
        if reason:
            return plain.noting(estimator_reason=reason)
    found = bar_free_energy_difference(
        *(_state_samples(evidence, frames, state) for state in (a, b)),
        same_generator=True,
        same_chains=True,
        seed=evidence.seed_for(f"bar {a.name} {b.name}"),
    )
    if found.reason and "simulated samples, need" in found.reason:
        return plain.noting(estimator_reason=found.reason)
    # where BAR lacks overlap, weights alone are worse: report its reason, and no value
    return plain.by(BAR, found, METHOD)


def _checked(evidence: Evidence, found: Difference) -> Difference:
    """The difference with evidence against equilibrium within the states, if there is any."""
    if found.estimator != BAR:
        return found
    data, topology = evidence.dataset, topology_of(evidence.problem.system)
    aside = data.where(data.role == ASIDE)
    reason = slow_within_states(topology, aside, (found.a, found.b))
    if reason is None:
        return found
    return found.noting(
        equilibrium_reason=f"BAR assumes that the frames are in equilibrium within a state, but {reason}"
    )


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


def _state_samples(evidence: Evidence, frames: Frames, state: State) -> StateSamples:
    own = evidence.own
    inside = own.usable & own.inside(state)
    return StateSamples(
        generated_log_q=own.samples.log_q[inside],
        generated_u=own.samples.reduced_energy[inside],
        n_generated=len(inside),
        simulated_log_q=frames.log_q,
        simulated_u=frames.u,
        simulated_inside=frames.inside(state.contains),
    )
