"""Free-energy differences from chains that a generator moved, and what forbids them (`analysis.chain_checks`)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jbg.analysis.chain_checks import (
    Chains,
    StateCheck,
    chain_difference,
    check_state,
    refuse_all,
    slow_reason,
)
from jbg.studies.chain_files import Corrected
from jbg.studies.correction import load_choice, load_corrected
from jbg.studies.difference import Difference
from jbg.studies.evidence import Evidence
from jbg.studies.molecule.reference import slow_functions
from jbg.studies.molecule.states import topology_of
from jbg.studies.relearned import cycles_of
from jbg.studies.study import Finding

METHOD = {
    "moves": "shares of chains of the target, moved by flow and torsion, no weights; error: bootstrap over chains",
    "ladder": "shares of the last rung of ladders between flow and target; error: bootstrap over ladders",
}


class Checked(NamedTuple):
    """The chains, and what the checks say: numbers and reasons of all, and for each state which frames lie in it
    ``(chains, frames)`` and its own check."""

    chains: Corrected
    numbers: dict[str, Any]
    refused: list[str]
    inside: dict[str, np.ndarray]
    states: dict[str, StateCheck]


def correction(evidence: Evidence) -> Finding:
    """``correction``: what was chosen and why, the diagnostics of the chains, and what was learnt from others."""
    choice, plan = load_choice(evidence.run), evidence.plan.correction
    cycles = [cycle._asdict() for cycle in cycles_of(evidence.run, plan)]
    numbers: dict[str, Any] = {"relearned": cycles} if cycles else {}
    if choice is None:
        return Finding({"correction": {"corrector": "none", **numbers}} if cycles else {}, {})
    numbers |= choice._asdict() | {"refused": [choice.refused] if choice.refused else []}
    checked = _checked(evidence)
    if checked is not None and plan is not None:
        chains = checked.chains
        numbers |= {
            "chains": len(chains.u),
            "frames": int(chains.u.size),
            "acceptance": list(chains.acceptance),
            "turned": chains.turned,
            "energy_evaluations": plan.chain_evaluations(chains.corrector),
            **checked.numbers,
            "refused": checked.refused,
            "states": {name: check.as_results() for name, check in checked.states.items()},
        }
    return Finding({"correction": numbers}, {})


def corrected(evidence: Evidence, plain: Sequence[Difference]) -> list[Difference]:
    """The differences of the chains, where there are any and nothing forbids them.

    A difference that is forbidden leaves what other estimators gave, with ``corrector_reason``; where they gave
    none, the reasons are joined.
    """
    choice = load_choice(evidence.run)
    if choice is not None and choice.refused:
        return [_refuse(entry, choice.corrector, [choice.refused]) for entry in plain]
    checked = _checked(evidence)
    if checked is None:
        return list(plain)
    return [_corrected(evidence, checked, entry, len(plain)) for entry in plain]


def _checked(evidence: Evidence) -> Checked | None:
    chains = load_corrected(evidence.run, evidence.plan.correction)
    if chains is None:
        return None
    frames, log_w = evidence.frames, -chains.u - chains.log_q
    seen = Chains(log_w, chains.arrivals, chains.swaps, chains.walkers)
    known = (None, None)
    if frames is not None:
        known = (-frames.u - frames.log_q, frames.usable & np.isfinite(frames.log_q))
    numbers, refused = refuse_all(seen, *known)
    flat = chains.x.reshape(-1, chains.x.shape[-1]).T
    shaped = lambda values: np.asarray(values).reshape(chains.u.shape)
    inside = {s.name: shaped(s.contains(flat)).astype(bool) for s in evidence.states}
    topology = topology_of(evidence.problem.system)
    slow = {what: shaped(values) for what, values in slow_functions(topology, flat).items()}
    states = {}
    for name, here in inside.items():
        check = check_state(name, here, chains.from_frames, len(inside))
        within = slow_reason(name, here, slow, chains.from_frames, len(inside))
        states[name] = check._replace(reason=check.reason or within)
    return Checked(chains, numbers, refused, inside, states)


def _corrected(evidence: Evidence, checked: Checked, entry: Difference, n: int) -> Difference:
    corrector, pair = checked.chains.corrector, (entry.a.name, entry.b.name)
    of_states = [checked.states[name].reason for name in pair]
    reasons = checked.refused + [reason for reason in of_states if reason]
    if not reasons:
        known = entry.reference
        found = chain_difference(
            (checked.inside[pair[0]], checked.inside[pair[1]]),
            (known.value, known.stderr),
            n_pairs=n,
            seed=evidence.seed_for(f"corrected {pair[0]} {pair[1]}"),
        )
        if found.value is not None:
            better = entry.by(corrector, found, METHOD[corrector])
            return better.without("equilibrium_reason")  # an assumption of BAR
        reasons = [found.reason or ""]
    return _refuse(entry, corrector, reasons)


def _refuse(entry: Difference, corrector: str, reasons: list[str]) -> Difference:
    """What other estimators gave, or every reason why there is no value."""
    if entry.value is not None:
        return entry.noting(corrector_reason="; ".join(reasons))
    return entry.refused("; ".join([entry.reason, *(f"{corrector}: {r}" for r in reasons)]))
