"""Alarms about weights, and about the free energies that were estimated from them.

Pure functions that return a line for each thing that a reader should know before the numbers; `alarms` has those
of states that went missing, and puts all of them together.
"""

import math
from collections.abc import Mapping
from typing import Any

from jbg.analysis.free_energy import MIN_EFFECTIVE, NORMAL_95

MIN_TAIL = 0.1  # kT; what a heavy tail may add before its Pareto k is an alarm
MAX_SHARE = 0.05  # of all weight, or of a state's, in one sample
APART = 3.0  # combined errors between two estimators


def at_tau(tau: float) -> str:
    """How a text names a relative temperature other than the system's own."""
    return "" if tau == 1.0 else f" at tau {tau:g}"


def weight_alarms(weights: Mapping[str, Any], *, tau: float = 1.0) -> list[str]:
    """Weights that rest on few samples: ESS fraction below 0.05, one sample above 5 %, or a heavy tail.

    The variance of weights is not finite from a Pareto k of 0.5 on, and from 0.7 on their averages stop being
    usable at any number of samples (Vehtari et al., arXiv 1507.02646). A k of nearly equal weights
    matters little, so that the alarm rests on k above 0.7 *and* on what the tail may add to ln Z, above MIN_TAIL.

    Args:
        weights: ``ess_fraction``, ``largest_weight_share``, ``pareto_k`` and ``tail_kt`` as in ``results.json``.
        tau: relative temperature that they are of.
    """
    found = []
    if weights["ess_fraction"] < 0.05:
        found.append(
            f"ESS fraction{at_tau(tau)} is {weights['ess_fraction']:.2g}: "
            "reweighted averages rest on few samples; train longer"
        )
    if _heavy_tail(weights):
        found.append(
            f"Pareto k of the weights{at_tau(tau)} is {weights['pareto_k']:.2f} (> 0.7): larger weights that were "
            f"not drawn may raise ln Z by up to {weights['tail_kt']:.2f} kT"
        )
    if weights["largest_weight_share"] > MAX_SHARE:
        found.append(
            f"one sample holds {weights['largest_weight_share']:.1%} of the total weight{at_tau(tau)}"
        )
    return found


def _heavy_tail(weights: Mapping[str, Any]) -> bool:
    k, tail = weights.get("pareto_k"), weights.get("tail_kt")
    return k is not None and k > 0.7 and (tail is None or tail > MIN_TAIL)


def difference_alarms(entry: Mapping[str, Any]) -> list[str]:
    """A free-energy difference (an entry of ``results.json``) that is missing, or far from its reference.

    So is a reference that a simulation could not give, but not one that no run of its kind has
    (``reference_expected`` false).
    """
    (a, b), at = entry["states"], at_tau(entry["tau"])
    found = []
    if entry["value"] is None:
        found.append(f"no free energy between {a} and {b}{at}: {entry['reason']}")
    elif entry.get("estimator_reason") and "estimator" not in entry:
        found.append(
            f"F({b}) - F({a}){at} is by reweighting alone, which cannot detect regions that the flow misses. BAR "
            f"was not possible: {entry['estimator_reason']}"
        )
    if entry.get("corrector_reason"):
        found.append(f"F({b}) - F({a}){at} is not by chains: {entry['corrector_reason']}")
    if entry.get("equilibrium_reason"):
        found.append(f"F({b}) - F({a}){at} may be biased: {entry['equilibrium_reason']}")
    if entry["reference"] is None and entry.get("reference_expected", True):
        found.append(f"no reference between {a} and {b}{at}: {entry['reference_reason']}")
    if entry["value"] is not None and entry["reference"] is not None:
        error = math.hypot(_error_towards(entry, entry["reference"]), entry["reference_stderr"])
        apart = abs(entry["value"] - entry["reference"])
        if apart > APART * error:
            found.append(
                f"F({b}) - F({a}){at} is {apart:.2f} kT from the reference, more than three combined errors"
            )
    return found


def estimator_alarms(entry: Mapping[str, Any], plain: Mapping[str, Any]) -> list[str]:
    """Plain reweighting that differs by more than APART combined errors from BAR or from chains.

    Errors are those of the intervals, on the side of the other estimate. Both use the same generated samples, so
    that the bound is generous: on flows that are right it fires in less than 1 % of runs
    (`experiments/coverage.py`).

    Args:
        entry: of ``free_energy_differences``, with an ``estimator``.
        plain: the same of ``reweighted_differences``.
    """
    other = {
        "bar": "that with simulated frames",
        "moves": "that of chains with flow moves",
        "ladder": "that of the latent ladder",
    }.get(entry.get("estimator", ""))
    if other is None or entry["value"] is None or plain["value"] is None:
        return []
    apart = entry["value"] - plain["value"]
    errors = _error_towards(plain, entry["value"]), _error_towards(entry, plain["value"])
    if abs(apart) <= APART * math.hypot(*errors):
        return []
    a, b = entry["states"]
    return [
        f"F({b}) - F({a}){at_tau(entry['tau'])} by plain reweighting, {plain['value']:.2f} kT, is "
        f"{abs(apart):.2f} kT from {other}: the flow leaves a part of a state out, and reweighted averages do "
        "too, or frames or chains are not in equilibrium within a state"
    ]


def _error_towards(entry: Mapping[str, Any], other: float) -> float:
    """The error of an estimate on the side of another: a 1.96th of its interval there, Student's t included."""
    low, high = entry["interval95"]
    return (high - entry["value"] if other > entry["value"] else entry["value"] - low) / NORMAL_95


def few_effective_alarms(
    entry: Mapping[str, Any], effective_samples: Mapping[str, float]
) -> list[str]:
    """A given free energy that rests on fewer than MIN_EFFECTIVE effective samples in one of its states.

    Args:
        entry: of ``free_energy_differences``.
        effective_samples: Kish's number for each state, of the estimator and the temperature of the entry.
    """
    a, b = entry["states"]
    if entry["value"] is None:
        return []
    return [
        f"F({b}) - F({a}) rests on {effective_samples[name]:.1f} effective samples in {name}, "
        f"fewer than {MIN_EFFECTIVE:.0f}"
        for name in (a, b)
        if effective_samples[name] < MIN_EFFECTIVE
    ]


def heavy_sample_alarms(
    entry: Mapping[str, Any], ess_by_state: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """A given reweighted free energy of which one sample holds more than MAX_SHARE of a state's weight, or the
    weights of a state have a heavy tail."""
    if entry["value"] is None:
        return []
    found = []
    for name in entry["states"]:
        share = ess_by_state[name].get("largest_weight_share", 0.0)
        if share > MAX_SHARE:
            found.append(f"one sample holds {share:.1%} of the weight of {name}: draw more")
        if _heavy_tail(ess_by_state[name]):
            found.append(
                f"Pareto k of the weights in {name} is {ess_by_state[name]['pareto_k']:.2f} (> 0.7): larger "
                f"weights that were not drawn may lower F({name}) by up to {ess_by_state[name]['tail_kt']:.2f} kT"
            )
    return found
