"""Free-energy differences from chains that a generator moved, and what forbids them (`analysis.chain_checks`)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jbg.analysis.chain_checks import Chains, StateCheck, chain_difference, check_state, refuse_all
from jbg.studies.chain_files import Corrected
from jbg.studies.correction import load_choice, load_corrected
from jbg.studies.difference import Difference
from jbg.studies.evidence import Evidence
from jbg.studies.study import Finding

METHOD = {
    "moves": "shares of chains of the target with flow moves, no weights; error: bootstrap over chains",
    "ladder": "shares of the last rung of ladders between flow and target; error: bootstrap over ladders",
}


def correction(evidence: Evidence) -> Finding:
    """``correction``: what was chosen and why, and the diagnostics of the chains."""
    choice = load_choice(evidence.run)
    if choice is None:
        return Finding({}, {})
    numbers: dict[str, Any] = choice._asdict()
    chains = load_corrected(evidence.run, evidence.plan.correction)
    if chains is not None:
        found, reasons = _refused(evidence, chains)
        states = {
            state.name: _check(evidence, chains, state).as_results() for state in evidence.states
        }
        numbers |= {
            "chains": len(chains.u),
            "frames": int(chains.u.size),
            "acceptance": list(chains.acceptance),
            "energy_evaluations": getattr(evidence.plan.correction, chains.corrector).evaluations,
            **found,
            "refused": reasons,
            "states": states,
        }
    return Finding({"correction": numbers}, {})


def corrected(evidence: Evidence, plain: Sequence[Difference]) -> list[Difference]:
    """The differences of the chains, where there are any and nothing forbids them.

    A difference that is forbidden leaves what other estimators gave, with ``corrector_reason``; where they gave
    none, the reasons are joined.
    """
    chains, choice = (
        load_corrected(evidence.run, evidence.plan.correction),
        load_choice(evidence.run),
    )
    if choice is not None and choice.refused:
        return [_refuse(entry, choice.corrector, [choice.refused]) for entry in plain]
    if chains is None:
        return list(plain)
    _, reasons = _refused(evidence, chains)
    return [_corrected(evidence, chains, entry, reasons, len(plain)) for entry in plain]


def _corrected(
    evidence: Evidence, chains: Corrected, entry: Difference, reasons: list[str], n: int
) -> Difference:
    pair = (entry.a, entry.b)
    checks = [_check(evidence, chains, state) for state in pair]
    reasons = reasons + [check.reason for check in checks if check.reason]
    if not reasons:
        known = entry.reference
        found = chain_difference(
            (_inside(chains, entry.a), _inside(chains, entry.b)),
            (known.value, known.stderr),
            n_pairs=n,
            seed=evidence.seed_for(f"corrected {entry.a.name} {entry.b.name}"),
        )
        if found.value is not None:
            return entry.by(chains.corrector, found, METHOD[chains.corrector])
        reasons = [found.reason or ""]
    return _refuse(entry, chains.corrector, reasons)


def _refuse(entry: Difference, corrector: str, reasons: list[str]) -> Difference:
    """What other estimators gave, or every reason why there is no value."""
    if entry.value is not None:
        return entry.noting(corrector_reason="; ".join(reasons))
    return entry.refused("; ".join([entry.reason, *(f"{corrector}: {r}" for r in reasons)]))


def _refused(evidence: Evidence, chains: Corrected) -> tuple[dict[str, Any], list[str]]:
    frames = evidence.frames
    log_w = -chains.u - chains.log_q
    seen = Chains(log_w, chains.arrivals, chains.swaps, chains.from_frames)
    if frames is None:
        return refuse_all(seen, None, None)
    return refuse_all(seen, -frames.u - frames.log_q, frames.usable & np.isfinite(frames.log_q))


def _inside(chains: Corrected, state) -> np.ndarray:
    flat = chains.x.reshape(-1, chains.x.shape[-1])
    return np.asarray(state.contains(flat.T), bool).reshape(chains.u.shape)


def _check(evidence: Evidence, chains: Corrected, state) -> StateCheck:
    inside = _inside(chains, state)
    return check_state(state.name, inside, chains.from_frames, len(evidence.states))
