"""Honesty alarms: one line each for whatever a careful reader should be told before the numbers.

Every function is pure and returns a list of warnings, empty where all is well. Weights cannot show a state
that the flow lost: the effective sample size of what is left is then near one. Data of that state
can, and two alarms use them. The first counts what the samples hold of each state that the data know. The second
looks within a state: where more than MAX_BELOW of its data lie at densities that the flow's own samples in
that state hardly ever have, a part of the state is missing.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jbg.analysis.free_energy import MIN_EFFECTIVE
from jbg.analysis.local_chains import unseen_alarms

MIN_DATA = 10  # held-out configurations that make a state known
RARE = 1e-3  # quantile of ln q among generated samples, below which q is far from where it samples
MAX_BELOW = 0.1  # of a state's data below it; RARE of them are where data and flow agree
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
        missing if fewer than MISSING_SHARE of the samples were generated in it; else for each with
        more than MAX_BELOW of its data where the flow hardly ever samples.
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
        elif nll["below_generated"] is not None and nll["below_generated"] > MAX_BELOW:
            found.append(
                f"part of state {name} is missing from the samples: {nll['below_generated']:.0%} of its data "
                f"lie where the flow draws {RARE:.1%} of its own; -ln q of its data is {excess}"
            )
    return found


def at_tau(tau: float) -> str:
    """How a text names a relative temperature other than the system's own."""
    return "" if tau == 1.0 else f" at tau {tau:g}"


def weight_alarms(
    ess_fraction: float, pareto_k: float, largest_weight_share: float, *, tau: float = 1.0
) -> list[str]:
    """Weights that rest on few samples: ESS fraction below 0.05, Pareto k above 0.7, one above 5 %."""
    found = []
    if ess_fraction < 0.05:
        found.append(
            f"ESS fraction{at_tau(tau)} is {ess_fraction:.2g}: "
            "reweighted averages rest on few samples; train longer"
        )
    if math.isfinite(pareto_k) and pareto_k > 0.7:
        found.append(
            f"Pareto k of the weights{at_tau(tau)} is {pareto_k:.2f} (> 0.7): their variance is not finite, "
            "so errors may be too small"
        )
    if largest_weight_share > MAX_SHARE:
        found.append(
            f"one sample holds {largest_weight_share:.1%} of the total weight{at_tau(tau)}"
        )
    return found


def difference_alarms(entry: Mapping[str, Any]) -> list[str]:
    """A free-energy difference (an entry of ``results.json``) that is missing, or far from its reference.

    So is a reference that a simulation could not give, but not one that no run of its kind has
    (``reference_expected`` false).
    """
    (a, b), at = entry["states"], at_tau(entry["tau"])
    found = []
    if entry["value"] is None:
        found.append(f"no free energy between {a} and {b}{at}: {entry['reason']}")
    if entry["reference"] is None and entry.get("reference_expected", True):
        found.append(f"no reference between {a} and {b}{at}: {entry['reference_reason']}")
    if entry["value"] is not None and entry["reference"] is not None:
        error = math.hypot(entry["stderr"], entry["reference_stderr"])
        apart = abs(entry["value"] - entry["reference"])
        if apart > 3 * error:
            found.append(
                f"F({b}) - F({a}){at} is {apart:.2f} kT from the reference, more than three combined errors"
            )
    return found


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
    entry: Mapping[str, Any], ess_by_state: Mapping[str, Mapping[str, float]]
) -> list[str]:
    """A given free energy of which one sample holds more than MAX_SHARE of a state's weight."""
    if entry["value"] is None:
        return []
    shares = {name: ess_by_state[name].get("largest_weight_share", 0.0) for name in entry["states"]}
    return [
        f"one sample holds {share:.1%} of the weight of {name}: draw more"
        for name, share in shares.items()
        if share > MAX_SHARE
    ]


def results_alarms(results: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every alarm that the numbers of one run set off.

    Args:
        results: as in ``results.json``. metrics: the logged training steps.
    """
    found = weight_alarms(
        results["ess_fraction"], results["pareto_k"], results["largest_weight_share"]
    )
    for entry in results.get("temperatures", []):
        if entry["tau"] != 1.0:
            numbers = (entry[name] for name in ("ess_fraction", "pareto_k", "largest_weight_share"))
            found += weight_alarms(*numbers, tau=entry["tau"])
    ess_by_state = results["ess_by_state"]
    found += missing_state_alarms(results["forward_nll_by_state"], ess_by_state)
    effective = {name: held["effective_samples"] for name, held in ess_by_state.items()}
    for entry in results["free_energy_differences"]:
        found += difference_alarms(entry)
        if entry["tau"] == 1.0 and "estimator" not in entry:  # reweighted, as `effective` is
            found += few_effective_alarms(entry, effective)
            found += heavy_sample_alarms(entry, ess_by_state)
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
    if "forward_nll_reason" in results:
        found += unseen_alarms(results.get("local_chains"))
    skipped = sum(record.get("skipped") or 0 for record in metrics)
    if skipped:
        found.append(f"{skipped:.0f} training steps had no finite gradient and were skipped")
    return found
