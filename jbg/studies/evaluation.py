"""The numbers of a study, from its samples on disk: what ``results.json`` and the figures are made of."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jbg import reweighting
from jbg.analysis import (
    forward_nll_by_state,
    free_energy_difference,
    local_chain_gap,
    mean_weight,
    weight_gap,
)
from jbg.interfaces import Params, RunError, State
from jbg.runs import Run
from jbg.sampling.generate import SampleSet
from jbg.studies import registry
from jbg.studies.evidence import Evidence, evidence
from jbg.studies.registry import Problem


class Weighted(NamedTuple):
    """Samples of one relative temperature with their log-weights ``(n,)``, -inf where one has no weight."""

    tau: float
    samples: SampleSet
    log_w: np.ndarray
    counts: dict[str, Any]  # what has no weight, and why


def weigh(problem: Problem, samples: SampleSet, tau: float) -> Weighted:
    """The samples with ln w = -u/tau - ln q, those outside the problem's cell with none.

    Raises:
        RunError: no sample has a finite energy.
    """
    log_w = reweighting.log_weights(samples.reduced_energy, samples.log_q, tau=tau)
    log_w, n_invalid = reweighting.drop_non_finite(log_w)
    if n_invalid == len(log_w):
        raise RunError(
            f"all {len(log_w)} samples have non-finite energies: the flow is untrained or the system broken"
        )
    if problem.in_cell is None:
        return Weighted(tau, samples, log_w, {"n_invalid": n_invalid})
    inside = problem.in_cell(np.asarray(samples.positions))
    n_invalid = int(np.count_nonzero(inside & ~np.isfinite(log_w)))
    log_w, outside = reweighting.restrict_log_weights(log_w, inside)
    return Weighted(tau, samples, log_w, {"n_invalid": n_invalid, "outside_cell_share": outside})


def compute(
    run: Run, problem: Problem, params: Params, drawn: dict[float, SampleSet]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(results, arrays of the figures) from the samples of each relative temperature.

    Whatever is not a free energy, and has no temperature beside it, is of tau = 1.
    """
    weighted = [weigh(problem, samples, tau) for tau, samples in drawn.items()]
    (own,) = (w for w in weighted if w.tau == 1.0)
    extra, arrays = registry.recipe(run.config["system"]).evaluate(
        run, problem, own.samples, own.log_w
    )
    arrays = _shared_arrays(run, problem, params, own.samples, own.log_w) | arrays
    differences = _differences(run, problem, weighted)
    frames = evidence(problem, params)
    config, in_kt = run.config, problem.system.energy_unit == "kT"
    found = {
        "system": config["system"],
        "seed": config["seed"],
        "preset": config["preset"],
        "temperature": config["options"].get("temperature"),
        "units": {
            "free_energy": "kT",
            "energy": problem.system.energy_unit,
            "length": "dimensionless" if in_kt else "nm",
            "temperature": None if in_kt else "K",
        },
        **_weights(run, problem, own),
        **_forward_nll(run, problem, frames, own),
        **_local_chains(problem, params, own),
        "free_energy_differences": differences,
        "ess_by_state": _ess_by_state(run, problem, own),
        "frame_energies": 0 if frames is None else frames.u.size,
        "parameters": sum(p.size for p in jax.tree.leaves(params)),
    }
    if problem.differences is not None:
        found["reweighted_differences"] = differences
        found["free_energy_differences"] = problem.differences(
            run, problem, params, weighted, differences, frames
        )
    if len(weighted) > 1:
        found["temperatures"] = [
            {"tau": w.tau}
            | _weights(run, problem, w)
            | {"ess_by_state": _ess_by_state(run, problem, w)}
            for w in weighted
        ]
    return found | extra, arrays


def _weights(run: Run, problem: Problem, weighted: Weighted) -> dict[str, Any]:
    """How good the weights are at one temperature, and ln Z where it is known."""
    log_w, log_z = weighted.log_w, reweighting.log_z_estimate(weighted.log_w)
    known = problem.target.log_z
    return {
        "n_samples": len(log_w),
        "ess_fraction": reweighting.ess(log_w),
        "ess_fraction_clipped": reweighting.ess(reweighting.clip_log_weights(log_w)),
        "largest_weight_share": reweighting.largest_weight_share(log_w),
        **_tail(run, log_w, f"tail {weighted.tau:g}"),
        **weighted.counts,
        "log_z": None
        if known is None
        else {"value": log_z.value, "stderr": log_z.stderr, "reference": known(weighted.tau)},
    }


def _forward_nll(
    run: Run, problem: Problem, frames: Evidence | None, weighted: Weighted
) -> dict[str, Any]:
    """-ln q of frames that training did not see, in the measure of x, as a whole and by state, and what their
    weights say (`analysis.weight_gap`)."""
    if frames is None:
        reason = "nothing was simulated that could be held out"
        return {"forward_nll": None, "forward_nll_reason": reason, "forward_nll_by_state": {}}
    known = frames.usable & ~np.isnan(frames.log_q) & np.isfinite(frames.u)
    frames = frames._replace(usable=known)
    flat = frames.x[frames.usable]
    log_q, u = frames.log_q[frames.usable], frames.u[frames.usable]
    chain, log_w = frames.chain[frames.usable], reweighting.log_weights(u, log_q)
    inside = _inside(problem, flat.T)
    generated = _inside(problem, weighted.samples.positions.T)
    by_state = forward_nll_by_state(log_q, inside, weighted.samples.log_q, generated)
    for name, here in inside.items():
        gap = weight_gap(
            log_w[here],
            chain[here],
            weighted.log_w[generated[name]],
            seed=run.seed_for(f"weights of frames {name}"),
        )
        by_state[name] |= gap.as_results()
    mean = -log_q.mean() if len(log_q) else math.nan
    known = (
        {"forward_nll": float(mean)}
        if math.isfinite(mean)
        else {
            "forward_nll": None,
            "forward_nll_reason": "q is zero at a frame that was held out"
            if len(log_q)
            else "no frame in the domain",
        }
    )
    return known | {"forward_nll_by_state": by_state}


def _local_chains(problem: Problem, params: Params, weighted: Weighted) -> dict[str, Any]:
    """Whether short chains from random conformations sit where the flow generates next to nothing."""
    if problem.chains is None:
        return {}
    x, u, chain, _ = problem.chains
    log_w = -u - problem.log_probs((params, ()), x, [1.0])[0]
    generated = weighted.log_w, weighted.samples.reduced_energy
    return {"local_chains": local_chain_gap(log_w, u, chain, *generated)}


def _inside(problem: Problem, x: np.ndarray) -> dict[str, np.ndarray]:
    """Which of x ``(dim, n)`` lie in each state."""
    return {state.name: np.asarray(state.contains(x)) for state in problem.system.states}


def _differences(run: Run, problem: Problem, weighted: list[Weighted]) -> list[dict]:
    """Of every pair of states, at every temperature."""
    inside = {w.tau: _inside(problem, w.samples.positions.T) for w in weighted}
    return [
        _difference(run, problem, w, inside[w.tau], a, b)
        for a, b in registry.state_pairs(problem.system.states)
        for w in weighted
    ]


def _difference(
    run: Run,
    problem: Problem,
    weighted: Weighted,
    inside: dict[str, np.ndarray],
    a: State,
    b: State,
) -> dict[str, Any]:
    tau = weighted.tau
    stream = f"bootstrap {a.name} {b.name}" + ("" if tau == 1.0 else f" tau {tau:g}")
    found = free_energy_difference(
        weighted.log_w, inside[a.name], inside[b.name], seed=run.seed_for(stream)
    )
    entry = {
        "states": [a.name, b.name],
        "tau": tau,
        "value": found.value,
        "stderr": found.stderr,
        "interval95": found.interval95,
        "definition": f"F({b.name}) - F({a.name}) = -ln(P_{b.name}/P_{a.name}); {a.name}: {a.definition}; "
        f"{b.name}: {b.definition}; error: the spread of the weights, with an allowance for larger ones that were "
        "not drawn",
    }
    if found.reason:
        entry["reason"] = found.reason
    recipe = registry.recipe(run.config["system"])
    return entry | recipe.reference_difference(run, problem, a, b, tau)


def _ess_by_state(run: Run, problem: Problem, weighted: Weighted) -> dict[str, Any]:
    """In each state effective samples (a number, not a fraction), the share of the generated samples, that which
    the heaviest of them has of its weight, and the tail of the weights."""
    return {
        name: {
            "effective_samples": reweighting.ess(weighted.log_w[inside]) * int(inside.sum())
            if inside.any()
            else 0.0,
            "generated_share": float(inside.mean()),
            "largest_weight_share": reweighting.largest_weight_share(weighted.log_w[inside])
            if inside.any()
            else 0.0,
            **_tail(run, weighted.log_w[inside], f"tail {name} {weighted.tau:g}"),
        }
        for name, inside in _inside(problem, weighted.samples.positions.T).items()
    }


def _tail(run: Run, log_w: np.ndarray, stream: str) -> dict[str, float | None]:
    """Pareto k of the weights, and what weights that were not drawn may add to their mean."""
    if not np.isfinite(log_w).any():
        return {"pareto_k": None, "tail_kt": None}
    k = reweighting.pareto_k(log_w)
    rng = np.random.default_rng(run.seed_for(stream))
    mean = mean_weight(log_w, len(log_w), rng, of_set=False)
    return {"pareto_k": k if math.isfinite(k) else None, "tail_kt": mean.unseen}


def _shared_arrays(run, problem, params, samples, log_w) -> dict[str, np.ndarray]:
    """What every system's figures need; at most 20 000 of each."""
    few = slice(0, 20_000)
    arrays = {"u_generated": np.asarray(samples.reduced_energy[few]), "log_weights": log_w[few]}
    if not len(problem.heldout):
        return arrays
    v = np.concatenate([problem.train, problem.heldout])
    v = v[np.random.default_rng(run.seed_for("figures")).permutation(len(v))[:4000]]
    x, _ = problem.coords.forward((), jnp.asarray(v.T))
    z, _ = problem.flow.inverse(params, jnp.asarray(v.T))
    states = problem.system.states
    arrays |= {
        "u_data": np.asarray(problem.target.reduced_energy(x)),
        "z_data": np.asarray(z[-2:]).T,  # the last two: linear wherever there are any
    }
    if problem.system.dim == 2:
        arrays["x_data"] = np.asarray(x).T
    if states:
        arrays["state_data"] = np.argmax([np.asarray(s.contains(np.asarray(x))) for s in states], 0)
        arrays["state_names"] = np.array([s.name for s in states])
    return arrays
