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

from jbg.analysis.estimate_alarms import (
    difference_alarms,
    estimator_alarms,
    few_effective_alarms,
    heavy_sample_alarms,
    weight_alarms,
)
from jbg.analysis.free_energy import MIN_EFFECTIVE
from jbg.analysis.local_chains import unseen_alarms
from jbg.analysis.own_data_alarms import own_data_alarms
from jbg.analysis.protein_alarms import annealing_alarms, rotamer_alarms, slice_alarms
from jbg.analysis.question_alarms import question_alarms

MIN_DATA = 10  # held-out configurations that make a state known
RARE = 1e-3  # quantile of ln q among generated samples, below which q is far from where it samples
MAX_CHANCE = 1e-3  # of frames beyond the samples, where the flow is right
MIN_UNSEEN = 0.015  # of a state; less of it missing is no alarm
MIN_FORWARD = 0.1  # of the reverse ESS; a smaller forward one means that weights are missing
MISSING_SHARE = 0.01  # of the generated samples; a state with more is not missing
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
                f"fewer than {MIN_EFFECTIVE:.0f}: draw more, or train longer"
            )
            found += [_part_missing(name, nll)] if part_missing(nll) else []
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
    if gap.get("forward_ess") is None:
        return False
    told = gap["unseen_chance"] is not None
    unseen = told and gap["unseen_chance"] < MAX_CHANCE and gap["unseen_share"] > MIN_UNSEEN
    most = gap["forward_ess"] + 2 * gap["forward_ess_stderr"]
    short = most < MIN_FORWARD * gap["reverse_ess"] and gap["beyond_share"] > MIN_UNSEEN / 3
    return bool(unseen or short)


def _part_missing(name: str, gap: Mapping[str, Any]) -> str:
    share = max(gap["unseen_share"] or 0.0, gap["beyond_share"])
    return (
        f"part of state {name} is missing from the samples: {share:.1%} of its {gap['n']} held-out "
        "frames have weights beyond those of the samples; as the frames know it, the ESS fraction of the state "
        f"is {gap['forward_ess']:.2g}, not {gap['reverse_ess']:.2g}: reweighted averages leave that part out; "
        "train longer"
    )


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
    found += question_alarms(results)
    found += slice_alarms(results.get("slice") or {})
    found += rotamer_alarms(results.get("structure") or {})
    found += annealing_alarms(results.get("annealing") or {})
    found += own_data_alarms(results.get("own_data") or {})
    skipped = sum(record.get("skipped") or 0 for record in metrics)
    if skipped:
        found.append(f"{skipped:.0f} training steps had no finite gradient and were skipped")
    return found
