"""Estimators of free-energy differences that improve on reweighting the samples of one temperature.

Pooled reweighting: a flow whose base is N(0, tau) has a density q_tau for every tau, each of them normalised, so
samples drawn at several temperatures are one pool of a known density (`reweighting.mixture_log_q`). A state that
is rare among the samples of a low temperature is common among those of a higher one. State B of the Mueller-Brown
potential holds 2e-7 of the weight at tau = 0.25: with 5e5 samples at each of five temperatures it has a hundred
effective samples at its temperature alone, and 30 000 in the pool. Differences at neighbouring temperatures rest
on the same samples: their errors are not independent.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jbg.analysis import StateSamples, free_energy_difference
from jbg.reweighting import drop_non_finite, effective_samples, log_weights, mixture_log_q
from jbg.studies.difference import SPREAD, Difference, relation
from jbg.studies.evidence import Evidence
from jbg.studies.problem import Problem

POOLED = "pooled reweighting"


def pooled(evidence: Evidence, plain: Sequence[Difference]) -> list[Difference]:
    """The differences from the samples of all temperatures as one pool; unchanged where there is only one
    temperature."""
    weighted = list(evidence.weighted.values())
    if len(weighted) < 2:
        return list(plain)
    counts = [len(w.log_w) for w in weighted]
    x = np.concatenate([w.samples.positions for w in weighted])
    u = np.concatenate([w.samples.reduced_energy for w in weighted])
    usable = np.concatenate([w.usable for w in weighted])
    taus = [w.tau for w in weighted]
    log_q = mixture_log_q(evidence.problem.log_probs((evidence.params, ()), x, taus), counts)
    inside = {state.name: np.asarray(state.contains(x.T)) for state in evidence.states}
    found = []
    for entry in plain:
        a, b, tau = entry.a.name, entry.b.name, entry.tau
        log_w, _ = drop_non_finite(np.where(usable, log_weights(u, log_q, tau=tau), -np.inf))
        seed = evidence.seed_for(f"bootstrap pooled {a} {b} {tau:g}")
        better = free_energy_difference(log_w, inside[a], inside[b], seed=seed)
        effective = {name: effective_samples(log_w[inside[name]]) for name in (a, b)}
        method = SPREAD.format(of=" of the samples of all temperatures as one pool")
        new = entry.by(POOLED, better, method, relation=relation(entry.a, entry.b))
        found.append(new.noting(effective_samples=effective))
    return found


def state_samples(
    problem: Problem,
    params: Any,
    frames: np.ndarray,
    *,
    log_q: np.ndarray,
    u: np.ndarray,
    inside: np.ndarray,
    tau: float,
) -> StateSamples:
    """A state at tau as generated and simulated samples see it: the input of BAR through the flow.

    Args:
        problem: provides generator and energy.
        params: of ``problem.generator``.
        frames: of independent chains that stay in the state, ``(n_chains, n_frames, dim)``.
        log_q: of all generated samples, ``(n,)``.
        u: their reduced energies, ``(n,)``.
        inside: which of them lie in the state, ``(n,)`` bool.
        tau: relative temperature of chains and samples.
    """
    flat = frames.reshape(-1, frames.shape[-1])
    return StateSamples(
        generated_log_q=log_q[inside],
        generated_u=u[inside],
        n_generated=len(inside),
        simulated_log_q=problem.log_probs(params, flat, (tau,))[0].reshape(frames.shape[:2]),
        simulated_u=problem.reduced_energies(flat).reshape(frames.shape[:2]),
    )
