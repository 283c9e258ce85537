"""The numbers of a study, from its samples on disk: what ``results.json`` and the figures are made of."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jbg import presets, reweighting
from jbg.analysis import forward_nll_by_state, free_energy_difference, local_chain_gap
from jbg.interfaces import Params, RunError, State
from jbg.presets import Problem
from jbg.runs import Run
from jbg.sampling.generate import SampleSet


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
    extra, arrays = presets.recipe(run.config["system"]).evaluate(
        run, problem, own.samples, own.log_w
    )
    arrays = _shared_arrays(run, problem, params, own.samples, own.log_w) | arrays
    differences = _differences(run, problem, weighted)
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
        **_weights(problem, own),
        **_forward_nll(problem, params, own),
        **_local_chains(problem, params, own),
        "free_energy_differences": differences,
        "ess_by_state": _ess_by_state(problem, own),
        "parameters": sum(p.size for p in jax.tree.leaves(params)),
    }
    if problem.differences is not None:
        found["reweighted_differences"] = differences
        found["free_energy_differences"] = problem.differences(
            run, problem, params, weighted, differences
        )
    if len(weighted) > 1:
        found["temperatures"] = [
            {"tau": w.tau} | _weights(problem, w) | {"ess_by_state": _ess_by_state(problem, w)}
            for w in weighted
        ]
    return found | extra, arrays


def _weights(problem: Problem, weighted: Weighted) -> dict[str, Any]:
    """How good the weights are at one temperature, and ln Z where it is known."""
    log_w, log_z = weighted.log_w, reweighting.log_z_estimate(weighted.log_w)
    known = problem.target.log_z
    return {
        "n_samples": len(log_w),
        "ess_fraction": reweighting.ess(log_w),
        "ess_fraction_clipped": reweighting.ess(reweighting.clip_log_weights(log_w)),
        "largest_weight_share": reweighting.largest_weight_share(log_w),
        "pareto_k": reweighting.pareto_k(log_w),
        **weighted.counts,
        "log_z": None
        if known is None
        else {"value": log_z.value, "stderr": log_z.stderr, "reference": known(weighted.tau)},
    }


def _forward_nll(problem: Problem, params: Params, weighted: Weighted) -> dict[str, Any]:
    """-ln q of held-out data, in the measure of x, as a whole and by state."""
    if not len(problem.heldout):
        reason = "nothing was simulated that could be held out"
        return {"forward_nll": None, "forward_nll_reason": reason, "forward_nll_by_state": {}}
    v = jnp.asarray(problem.heldout.T)
    x, log_det = problem.coords.forward((), v)
    if problem.group is None:
        log_q = problem.flow_generator.log_prob(params, v) - log_det
    else:
        log_q = problem.generator.log_prob((params, ()), x)
    log_q = np.asarray(log_q, np.float64)
    return {
        "forward_nll": float(-log_q.mean()),
        "forward_nll_by_state": forward_nll_by_state(
            log_q,
            _inside(problem, np.asarray(x)),
            weighted.samples.log_q,
            _inside(problem, weighted.samples.positions.T),
        ),
    }


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
        for a, b in presets.state_pairs(problem.system.states)
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
        f"{b.name}: {b.definition}; error: bootstrap of the weighted samples",
    }
    if found.reason:
        entry["reason"] = found.reason
    recipe = presets.recipe(run.config["system"])
    return entry | recipe.reference_difference(run, problem, a, b, tau)


def _ess_by_state(problem: Problem, weighted: Weighted) -> dict[str, Any]:
    """In each state effective samples (a number, not a fraction), the share of the generated samples, and that
    which the heaviest of them has of its weight."""
    return {
        name: {
            "effective_samples": reweighting.ess(weighted.log_w[inside]) * int(inside.sum())
            if inside.any()
            else 0.0,
            "generated_share": float(inside.mean()),
            "largest_weight_share": reweighting.largest_weight_share(weighted.log_w[inside])
            if inside.any()
            else 0.0,
        }
        for name, inside in _inside(problem, weighted.samples.positions.T).items()
    }


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
