"""Honesty alarms: one line each for whatever a careful reader should be told before the numbers.

Every function is pure and returns a list of warnings, empty where all is well. Weights cannot show a state
that the flow lost: the effective sample size of what is left is then near one. Frames of that state
can, and two alarms use them. The first counts what the samples hold of each state that the frames know. The second
compares the weights of frames and samples within a state (`weight_gap`): where frames have weights that the
samples do not reach, a part of the state is missing.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jbg.analysis.free_energy import MIN_EFFECTIVE, NORMAL_95
from jbg.analysis.local_chains import unseen_alarms

MIN_DATA = 10  # held-out configurations that make a state known
RARE = 1e-3  # quantile of ln q among generated samples, below which q is far from where it samples
MAX_CHANCE = 1e-3  # of frames beyond the samples, where the flow is right
MIN_UNSEEN = 0.015  # of a state; less of it missing is no alarm
MIN_FORWARD = 0.1  # of the reverse ESS; a smaller forward one means that weights are missing
MIN_TAIL = 0.05  # kT; what a heavy tail may add before its Pareto k is an alarm
APART = 3.0  # combined errors between two estimators
MISSING_SHARE = 0.01  # of the generated samples; a state with more is not missing
MAX_SHARE = 0.05  # of all weight, or of a state's, in one sample
MAX_BLOCKS = 20  # of consecutive frames, for the error of their mean


def forward_nll_by_state(
    log_q: ArrayLike,
    in_state: Mapping[str, ArrayLike],
    log_q_generated: ArrayLike,
    generated_in_state: Mapping[str, ArrayLike],
) -> dict[str, dict[str, Any]]:
    """Mean -ln q over the data of each state, and how much of them the flow hardly ever draws.

    Args:
        log_q: ln q of data that training did not see, in nats, in order of simulation, ``(n,)``.
        in_state: for each state, whether each of them lies in it, ``(n,)`` bool.
        log_q_generated: ln q of generated samples in the same measure, ``(m,)``.
        generated_in_state: for each state, whether each of those lies in it.

    Returns:
        For each state ``value`` and ``stderr`` in nats, the latter from means of at most MAX_BLOCKS blocks of
        consecutive frames; ``n``, the data in it; and ``below_generated``, the share of them whose ln q
        is below the RARE quantile of the generated samples in that state, or of all generated samples
        where the state holds fewer than 1 / RARE. None where not known. Data where q = 0 are below, and
        make ``value`` None.
    """
    log_q = np.asarray(log_q, np.float64)
    generated = np.asarray(log_q_generated, np.float64)
    found = {}
    for name, inside in in_state.items():
        here = log_q[np.asarray(inside, bool)]
        drawn = generated[np.asarray(generated_in_state[name], bool)]
        drawn = drawn if drawn.size * RARE >= 1 else generated
        drawn = drawn[np.isfinite(drawn)]
        value = stderr = below = None
        if here.size and drawn.size:
            # what is not a number compares false: it counts as below
            below = float(np.mean(~(here >= np.quantile(drawn, RARE))))
        if here.size and np.isfinite(here).all():
            value = float(-here.mean())
            blocks = np.array([b.mean() for b in np.array_split(here, min(MAX_BLOCKS, here.size))])
            if blocks.size > 1:
                stderr = float(blocks.std(ddof=1) / math.sqrt(blocks.size))
        found[name] = {
            "value": value,
            "stderr": stderr,
            "n": int(here.size),
            "below_generated": below,
        }
    return found


def missing_state_alarms(
    nll_by_state: Mapping[str, Mapping[str, Any]], ess_by_state: Mapping[str, Mapping[str, float]]
) -> list[str]:
    """States that held-out data know and the samples lost, wholly or in part (mode collapse).

    Args:
        nll_by_state: from `forward_nll_by_state`; states with fewer than MIN_DATA data are passed over.
        ess_by_state: for each state ``effective_samples`` (Kish's number of those inside) and
            ``generated_share``.

    Returns:
        A warning for each state with fewer than MIN_EFFECTIVE effective samples, which says that it is
        missing if fewer than MISSING_SHARE of the samples were generated in it; else for each of which
        the weights of frames show that a part is missing (`part_missing`).
    """
    known = {name: nll for name, nll in nll_by_state.items() if nll["n"] >= MIN_DATA}
    values = [nll["value"] for nll in known.values() if nll["value"] is not None]
    found = []
    for name, nll in known.items():
        held = ess_by_state[name]
        excess = "where q is zero"
        if nll["value"] is not None:
            excess = f"{nll['value'] - min(values):.1f} nats above the best-served state's"
        few = held["effective_samples"] < MIN_EFFECTIVE
        if few and held["generated_share"] >= MISSING_SHARE:  # there, but badly weighted
            found.append(
                f"averages over state {name} rest on {held['effective_samples']:.1f} effective samples, "
                f"fewer than {MIN_EFFECTIVE:.0f}: draw more"
            )
        elif few:
            found.append(
                f"state {name} is in the data ({nll['n']} held out) but nearly missing from the samples: "
                f"{held['effective_samples']:.1f} effective, {held['generated_share']:.2g} of the generated; "
                f"-ln q of its data is {excess}"
            )
        elif part_missing(nll):
            found.append(_part_missing(name, nll))
    return found


def part_missing(gap: Mapping[str, Any]) -> bool:
    """Whether a state's frames have weights that its samples do not reach.

    Either more than MIN_UNSEEN of the frames do so, with a chance below MAX_CHANCE, or a third as many while the
    forward ESS is below MIN_FORWARD of the reverse one by two of its errors. On flows that are right this fires in
    less than 1 % of runs, on flows that lost 8 % of a state in 19 of 20 and more, in 60 to 400 dimensions
    (`experiments/coverage.py`).

    Args:
        gap: an entry of ``forward_nll_by_state``; the numbers of `weight_gap` under their names in results.json.
    """
    if gap.get("unseen_chance") is None:
        return False
    unseen = gap["unseen_chance"] < MAX_CHANCE and gap["unseen_share"] > MIN_UNSEEN
    most = gap["forward_ess"] + 2 * gap["forward_ess_stderr"]
    short = most < MIN_FORWARD * gap["reverse_ess"] and gap["beyond_share"] > MIN_UNSEEN / 3
    return bool(unseen or short)


def _part_missing(name: str, gap: Mapping[str, Any]) -> str:
    share = max(gap["unseen_share"], gap["beyond_share"])
    return (
        f"part of state {name} is missing from the samples: {share:.1%} of its {gap['n']} held-out "
        "frames have weights beyond those of the samples; as the frames know it, the ESS fraction of the state "
        f"is {gap['forward_ess']:.2g}, not {gap['reverse_ess']:.2g}: reweighted averages leave that part out"
    )


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
            f"Pareto k of the weights{at_tau(tau)} is {weights['pareto_k']:.2f} (> 0.7): heavier ones, not drawn, "
            f"may add up to {weights['tail_kt']:.2f} kT to ln Z"
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
    elif entry.get("estimator_reason"):
        found.append(
            f"F({b}) - F({a}){at} is by plain reweighting, which does not see a part of a state that the flow "
            f"leaves out; not by BAR: {entry['estimator_reason']}"
        )
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
    """Plain reweighting that differs by more than APART combined errors from an estimator that uses frames too.

    Errors are those of the intervals, on the side of the other estimate. Both use the same generated samples, so
    that the bound is generous: on flows that are right it fires in less than 1 % of runs
    (`experiments/coverage.py`).

    Args:
        entry: of ``free_energy_differences``, with an ``estimator``.
        plain: the same of ``reweighted_differences``.
    """
    if entry.get("estimator") != "bar" or entry["value"] is None or plain["value"] is None:
        return []
    apart = entry["value"] - plain["value"]
    errors = _error_towards(plain, entry["value"]), _error_towards(entry, plain["value"])
    if abs(apart) <= APART * math.hypot(*errors):
        return []
    a, b = entry["states"]
    return [
        f"F({b}) - F({a}){at_tau(entry['tau'])} by plain reweighting, {plain['value']:.2f} kT, is "
        f"{abs(apart):.2f} kT from that with simulated frames: the flow leaves a part of a state out, and "
        "reweighted averages do too, or the frames are not in equilibrium within a state"
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
                f"Pareto k of the weights in {name} is {ess_by_state[name]['pareto_k']:.2f} (> 0.7): heavier "
                f"ones, not drawn, may lower F({name}) by up to {ess_by_state[name]['tail_kt']:.2f} kT"
            )
    return found


def results_alarms(results: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every alarm that the numbers of one run set off.

    Args:
        results: as in ``results.json``. metrics: the logged training steps.
    """
    found = weight_alarms(results)
    for entry in results.get("temperatures", []):
        if entry["tau"] != 1.0:
            found += weight_alarms(entry, tau=entry["tau"])
    ess_by_state = results["ess_by_state"]
    found += missing_state_alarms(results["forward_nll_by_state"], ess_by_state)
    effective = {name: held["effective_samples"] for name, held in ess_by_state.items()}
    for entry in results["free_energy_differences"]:
        found += difference_alarms(entry)
        if entry["tau"] == 1.0 and "estimator" not in entry:  # reweighted, as `effective` is
            found += few_effective_alarms(entry, effective)
            found += heavy_sample_alarms(entry, ess_by_state)
    pairs = zip(
        results["free_energy_differences"], results.get("reweighted_differences", []), strict=False
    )
    for entry, plain in pairs:
        found += estimator_alarms(entry, plain)
    found = list(dict.fromkeys(found))
    if results["n_invalid"] > 0.01 * results["n_samples"]:
        found.append(
            f"{results['n_invalid']} of {results['n_samples']} samples have no finite energy or density"
        )
    if results.get("never_turned"):
        found.append(
            "these bonds are held where they were, in the reference or at the minimum of the energy, and the "
            "ensemble is conditional on that: " + ", ".join(results["never_turned"])
        )
    if "forward_nll_reason" in results and not results["forward_nll_by_state"]:
        found += unseen_alarms(results.get("local_chains"))
    skipped = sum(record.get("skipped") or 0 for record in metrics)
    if skipped:
        found.append(f"{skipped:.0f} training steps had no finite gradient and were skipped")
    return found
