"""The numbers of a run, computed from its samples: ``results.json``, and the arrays of the figures."""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jbg import reweighting
from jbg.analysis import forward_nll_by_state, mean_weight, weight_gap
from jbg.interfaces import Params, State
from jbg.studies.difference import Difference, reweighted
from jbg.studies.evidence import Evidence, Weighted
from jbg.studies.problem import Problem
from jbg.studies.study import Study
from jbg.studies.user_states import states_of_user
from jbg.units import in_molar_units

Numbers = dict[str, Any]
Arrays = dict[str, np.ndarray]


def compute(study: Study, evidence: Evidence) -> tuple[Numbers, Arrays]:
    """(results, arrays of the figures).

    Unless stated, numbers are at tau = 1; free energies are at every tau.
    """
    found, arrays = _head(evidence), _shared_arrays(evidence)
    for observable in study.observables:
        numbers, drawn = observable(evidence)
        found, arrays = found | numbers, arrays | drawn
    plain, best = estimated(study, evidence)
    if evidence.wanted.states:
        of_user = evidence.of_user()
        found |= states_of_user(of_user)
        found["ess_by_state"] |= _ess_by_state(of_user, of_user.own)
        found["forward_nll_by_state"] |= _forward_nll(of_user, of_user.own)["forward_nll_by_state"]
        more = estimated(study, of_user)
        plain, best = plain + more[0], best + more[1]
    if best != plain:
        found["reweighted_differences"] = [in_units(evidence, entry) for entry in plain]
    found["free_energy_differences"] = [in_units(evidence, entry) for entry in best]
    return found, arrays


def estimated(study: Study, evidence: Evidence) -> tuple[list[Difference], list[Difference]]:
    """The differences of the evidence's pairs of states by plain reweighting, and by the best estimator."""
    plain = best = reweighted(study, evidence)
    for estimator in study.estimators:
        best = estimator(evidence, best)
    return plain, best


def in_units(evidence: Evidence, entry: Difference) -> Numbers:
    """An entry of ``results.json``, in kJ/mol and kcal/mol too where the system has such units."""
    found = entry.as_results()
    if evidence.problem.system.energy_unit != "kJ/mol":
        return found
    names = ("value", "stderr", "interval95", "reference", "reference_stderr")
    kelvin = evidence.plan.options.temperature * entry.tau
    return found | in_molar_units(kelvin, **{name: found[name] for name in names})


def _head(evidence: Evidence) -> Numbers:
    """The numbers that every study reports besides free energies."""
    plan, own, in_kt = evidence.plan, evidence.own, evidence.problem.system.energy_unit == "kT"
    found = {
        "system": plan.study,
        "seed": plan.seed,
        "preset": plan.preset,
        "temperature": getattr(plan.options, "temperature", None),
        "units": {
            "free_energy": "kT",
            "energy": evidence.problem.system.energy_unit,
            "length": "dimensionless" if in_kt else "nm",
            "temperature": None if in_kt else "K",
        },
        **_weights(evidence, own),
        **_forward_nll(evidence, own),
        "ess_by_state": _ess_by_state(evidence, own),
        "frame_energies": 0 if evidence.frames is None else evidence.frames.u.size,
        "parameters": sum(p.size for p in jax.tree.leaves(evidence.params)),
    }
    if len(evidence.weighted) > 1:
        found["temperatures"] = [
            {"tau": w.tau} | _weights(evidence, w) | {"ess_by_state": _ess_by_state(evidence, w)}
            for w in evidence.weighted.values()
        ]
    return found


def _weights(evidence: Evidence, weighted: Weighted) -> Numbers:
    """The quality of the weights of one ensemble, and ln Z where the target has one."""
    log_w, log_z = weighted.log_w, reweighting.log_z_estimate(weighted.log_w)
    known = evidence.problem.target.log_z
    return {
        "n_samples": len(log_w),
        "ess_fraction": reweighting.ess_fraction(log_w),
        "ess_fraction_clipped": reweighting.ess_fraction(reweighting.clip_log_weights(log_w)),
        "largest_weight_share": reweighting.largest_weight_share(log_w),
        **_tail(evidence, log_w, f"tail {weighted.tau:g}"),
        **weighted.counts,
        "log_z": None
        if known is None
        else {"value": log_z.value, "stderr": log_z.stderr, "reference": known(weighted.tau)},
    }


def _forward_nll(evidence: Evidence, weighted: Weighted) -> Numbers:
    """-ln q of held-out frames in the measure of x, in total and by state, and what their weights reveal about
    lost parts of a state (`analysis.weight_gap`)."""
    frames = evidence.frames
    if frames is None:
        reason = "nothing was simulated that could be held out"
        return {"forward_nll": None, "forward_nll_reason": reason, "forward_nll_by_state": {}}
    known = frames.usable & ~np.isnan(frames.log_q) & np.isfinite(frames.u)
    frames = frames._replace(usable=known)
    flat = frames.x[frames.usable]
    log_q, u = frames.log_q[frames.usable], frames.u[frames.usable]
    chain, log_w = frames.chain[frames.usable], reweighting.log_weights(u, log_q)
    inside = {state.name: np.asarray(state.contains(flat.T)) for state in evidence.states}
    generated = {state.name: weighted.inside(state) for state in evidence.states}
    by_state = forward_nll_by_state(log_q, inside, weighted.samples.log_q, generated)
    for name, here in inside.items():
        gap = weight_gap(
            log_w[here],
            chain[here],
            weighted.log_w[generated[name]],
            seed=evidence.seed_for(f"weights of frames {name}"),
        )
        by_state[name] |= gap.as_results()
    return _mean_nll(log_q) | {"forward_nll_by_state": by_state}


def _mean_nll(log_q: np.ndarray) -> Numbers:
    mean = -log_q.mean() if len(log_q) else math.nan
    if math.isfinite(mean):
        return {"forward_nll": float(mean)}
    reason = "q is zero at a frame that was held out" if len(log_q) else "no frame in the domain"
    return {"forward_nll": None, "forward_nll_reason": reason}


def _ess_by_state(evidence: Evidence, weighted: Weighted) -> Numbers:
    """For each state: effective samples (a number, not a fraction), share of the generated samples, share of the
    state's weight in its heaviest sample, and the tail of the weights."""
    return {state.name: _ess_in(evidence, weighted, state) for state in evidence.states}


def _ess_in(evidence: Evidence, weighted: Weighted, state: State) -> Numbers:
    inside = weighted.inside(state)
    log_w, some = weighted.log_w[inside], bool(inside.any())
    return {
        "effective_samples": reweighting.effective_samples(log_w),
        "generated_share": float(inside.mean()),
        "largest_weight_share": reweighting.largest_weight_share(log_w) if some else 0.0,
        **_tail(evidence, log_w, f"tail {state.name} {weighted.tau:g}"),
    }


def _tail(evidence: Evidence, log_w: np.ndarray, stream: str) -> dict[str, float | None]:
    """Pareto k of the weights, and how much undrawn heavier weights may add to their mean."""
    if not np.isfinite(log_w).any():
        return {"pareto_k": None, "tail_kt": None}
    k = reweighting.pareto_k(log_w)
    rng = np.random.default_rng(evidence.seed_for(stream))
    mean = mean_weight(log_w, len(log_w), rng, of_set=False)
    return {"pareto_k": k if math.isfinite(k) else None, "tail_kt": mean.unseen}


def _shown(problem: Problem) -> Callable[[Params, Any], tuple[jax.Array, ...]]:
    """Compiled (flow parameters, v ``(dim_v, n)``) -> x, z and the true u, as one program."""

    def of(params, v):
        x, _ = problem.coords.forward((), v)
        z, _ = problem.flow.bijector.inverse(params, v)
        return x, z, problem.target.reduced_energy(x)

    return jax.jit(of)


def _shared_arrays(evidence: Evidence) -> Arrays:
    """Arrays for the figures of every system; at most 20 000 rows each."""
    problem, own, few = evidence.problem, evidence.own, slice(0, 20_000)
    arrays = {
        "u_generated": np.asarray(own.samples.reduced_energy[few]),
        "log_weights": own.log_w[few],
    }
    if not len(problem.examples.heldout):
        return arrays
    v = np.concatenate([problem.examples.train, problem.examples.heldout])
    v = v[np.random.default_rng(evidence.seed_for("figures")).permutation(len(v))[:4000]]
    x, z, u = map(np.asarray, _shown(problem)(evidence.params, v.T))
    arrays |= {
        "u_data": u,
        "z_data": z[-2:].T,  # the last two are linear wherever there are linear ones
    }
    if problem.system.dim == 2:
        arrays["x_data"] = np.asarray(x).T
    if evidence.states:
        inside = [np.asarray(s.contains(np.asarray(x))) for s in evidence.states]
        arrays["state_data"] = np.argmax(inside, 0)
        arrays["state_names"] = np.array([s.name for s in evidence.states])
    return arrays
