"""The study of the bistable dimer in its bath: umbrella reference, chains in each state, BAR through the flow."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jbg import coords, flows
from jbg.analysis import StateSamples, bar_free_energy_difference, weighted_profile
from jbg.analysis.free_energy import MIN_EFFECTIVE
from jbg.interfaces import Params, State
from jbg.runs import Run
from jbg.sampling.generate import SampleSet
from jbg.studies.dimer.data import FRAMES, REFERENCE, in_cell, simulate, system_of
from jbg.studies.dimer.settings import cost, make_config
from jbg.studies.evidence import Evidence
from jbg.studies.problem import Problem, Simulated
from jbg.studies.state_samples import state_samples
from jbg.systems import dimer_distance
from jbg.systems.dimer import symmetries
from jbg.targets import make_target

DESCRIPTION = (
    "bistable dimer in a bath of 36 discs of Noe et al. 2019, reference by umbrella sampling"
)
PROFILES = {"profiles": {"d": {"label": "dimer distance d", "unit": ""}}}


def load(run: Run) -> Problem:
    """The problem: a spline flow of standardised coordinates, averaged over the symmetries of the box."""
    system, flow = system_of(run), run.config["flow"]
    data = run.load_arrays(FRAMES)
    t = list(run.config["sampling"]["taus"]).index(1.0)
    chains = [data[f"frames_{t}_{i}"] for i in range(2)]
    n_held = _n_heldout(run, chains[0])
    train = np.concatenate([c[n_held:].reshape(-1, system.dim) for c in chains])
    held = np.concatenate([c[:n_held] for c in chains])
    heldout = held.reshape(-1, system.dim)
    group = symmetries()
    train = np.concatenate([train[:, i] * s for i, s in zip(group.index, group.sign, strict=True)])
    fit = coords.fit_standardisation(train)
    return Problem(
        system=system,
        target=make_target(system),
        base=flows.normal(system.dim),
        flow=flows.spline_flow(0, system.dim, flows.spline_flow_config(flow)),
        coords=coords.standardisation(fit),
        train=((train - fit.mean) / fit.scale).astype(np.float32),
        heldout=((heldout - fit.mean) / fit.scale).astype(np.float32),
        simulated=Simulated.all_usable(held),
        u_reference=float(np.median(system.potential(heldout.T))),
        batch=run.config["sampling"]["batch"],
        simulation_evaluations=int(data["evaluations"]),
        in_cell=in_cell,
        group=group,
        differences=differences,
    )


def _n_heldout(run: Run, chains: np.ndarray) -> int:
    """The first chains of a state at tau = 1 are held out from training: two or more, for an error."""
    return max(2, round(run.config["simulation"]["heldout"] * len(chains)))


def reference_difference(
    run: Run, problem: Problem, a: State, b: State, tau: float
) -> dict[str, Any]:
    """F(b) - F(a) by umbrella sampling and MBAR, error from independent replicas."""
    del problem, a, b
    t = list(run.config["sampling"]["taus"]).index(tau)
    data = run.load_arrays(REFERENCE)
    value, stderr = data[f"difference_{t}"]
    if not np.isfinite(value):
        reason = str(data[f"reason_{t}"])
        return {"reference": None, "reference_stderr": None, "reference_reason": reason}
    return {"reference": float(value), "reference_stderr": float(stderr)}


def differences(
    run: Run,
    problem: Problem,
    params: Params,
    weighted: Sequence[Any],
    plain: Sequence[dict],
    frames: Evidence | None,
) -> list[dict[str, Any]]:
    """F(open) - F(closed) at each temperature by BAR between generated and simulated samples.

    Takes the place of plain reweighting, whose entries are ``plain``: in 76 dimensions weights rest on few
    samples, while BAR asks for overlap with the simulation of each state only. Where the flow learnt from the
    chains, only those held out are taken: ln q of what it learnt from is too high.
    """
    del frames  # chains of each state and temperature take their place
    a, b = problem.system.states
    entries = []
    for w, reweighted in zip(weighted, plain, strict=True):
        found = bar_free_energy_difference(
            *both_states(run, problem, params, w),
            same_generator=True,
            tau=w.tau,
            seed=run.seed_for(f"bar {w.tau:g}"),
        )
        entry = {k: v for k, v in reweighted.items() if k != "reason"} | {
            "estimator": "bar",
            "value": found.value,
            "stderr": found.stderr,
            "interval95": found.interval95,
            "definition": f"F({b.name}) - F({a.name}); {a.name}: {a.definition}; {b.name}: {b.definition}; BAR "
            "between generated samples and chains confined to each state; error: bootstrap over both",
        }
        entries.append(entry | ({"reason": found.reason} if found.reason else {}))
    return entries


def both_states(
    run: Run, problem: Problem, params: Params, weighted: Any
) -> tuple[StateSamples, StateSamples]:
    """Both states as weighted samples (`evaluation.weigh`) and the run's chains at their temperature see them.

    At tau = 1 the chains are those held out from training.
    """
    data, t = run.load_arrays(FRAMES), list(run.config["sampling"]["taus"]).index(weighted.tau)
    chains = [data[f"frames_{t}_{i}"] for i in range(2)]
    if weighted.tau == 1.0:
        chains = [c[: _n_heldout(run, c)] for c in chains]
    log_q, u = weighted.samples.log_q, weighted.samples.reduced_energy
    x, usable = weighted.samples.positions.T, np.isfinite(weighted.log_w)
    seen = []
    for state, frames in zip(problem.system.states, chains, strict=True):
        frames = frames[:, :: max(1, len(frames) * frames.shape[1] // 10_000)]  # 10 000 are plenty
        inside = usable & np.asarray(state.contains(x))
        seen.append(
            state_samples(
                problem, (params, ()), frames, log_q=log_q, u=u, inside=inside, tau=weighted.tau
            )
        )
    return tuple(seen)


def evaluate(
    run: Run, problem: Problem, samples: SampleSet, log_w: np.ndarray
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Profile along the dimer distance beside umbrella sampling's."""
    del problem
    t = list(run.config["sampling"]["taus"]).index(1.0)
    data = run.load_arrays(REFERENCE)
    reference = {
        "profile_d_reference": data[f"profile_{t}"],
        "profile_d_reference_stderr": data[f"profile_stderr_{t}"],
    }
    return PROFILES, profile(run, samples, log_w, data[f"edges_{t}"]) | reference


def profile(
    run: Run, samples: SampleSet, log_w: np.ndarray, edges: np.ndarray
) -> dict[str, np.ndarray]:
    """Arrays of the profile along the dimer distance, with weights and without; NaN in bins not to be trusted."""
    d = dimer_distance(np.asarray(samples.positions).T)
    seed = run.seed_for("profile")
    weighted = weighted_profile(d, log_w, edges, seed=seed, min_effective=MIN_EFFECTIVE)
    plain = weighted_profile(d, np.zeros_like(log_w), edges, seed=seed)
    return {
        "profile_d_centers": 0.5 * (edges[1:] + edges[:-1]),
        "profile_d_reweighted": weighted.free_energy,
        "profile_d_stderr": weighted.stderr,
        "profile_d_generated": plain.free_energy,
    }


__all__ = [
    "DESCRIPTION",
    "cost",
    "evaluate",
    "load",
    "make_config",
    "reference_difference",
    "simulate",
]
