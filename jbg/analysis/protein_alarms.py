"""Alarms of a protein's study: chains on the slice that have not mixed, rotamers that samples lost, and annealed
weights that hold too little."""

import math
from collections.abc import Mapping
from typing import Any

from scipy import stats

from jbg.analysis.free_energy import MIN_EFFECTIVE

NAMED = 4  # torsions in a warning
MAX_K = 0.7  # Pareto k, above which errors of weights are not to be trusted
MAX_SHARE = 0.05  # of the total weight, in one particle
MAX_SPREAD = 1.0  # nats between ln Z of groups of particles
CHANCE = 1e-3  # of groups, or sides, as far apart where all is well


def slice_alarms(found: Mapping[str, Any]) -> list[str]:
    """Alarms of chains on a protein's slice that have not mixed (`studies.protein.mixing`).

    Args:
        found: ``slice`` of the results, empty for other studies.
    """
    slow, locked = found.get("n_slow", 0), found.get("locked", [])
    if not slow and not locked:
        return []
    what = f"{slow} coordinates of the chains on the slice have R-hat above 1.05" if slow else ""
    held = (
        f"{len(locked)} torsions never left their rotamer ({', '.join(locked[:4])})"
        if locked
        else ""
    )
    return [
        f"{' and '.join(filter(None, (what, held)))}: the reference, and ln Z from frames, hold for the rotamers "
        "that chains saw; simulate longer, or choose a higher --hottest"
    ]


def rotamer_alarms(structure: Mapping[str, Any]) -> list[str]:
    """Rotamers that samples lost of the density they learnt from, and of the slice, which weights lead to.

    Of dynamics that they did not learn from they may rightly lack some: on the slice rotamers weigh differently.

    Args:
        structure: ``structure`` of the results, empty for other studies.
    """
    alarms = []
    for name, row in structure.items():
        found = row.get("lost_rotamers")
        if not found or not found["n_lost"] or not (row["learnt"] or name == "slice"):
            continue
        worst = [each for each in found["torsions"].items() if each[1]["lost"]][:NAMED]
        shares = [f"{each['share']:.0%} for {torsion}" for torsion, each in worst]
        shares[0] = shares[0].replace(" for", f" of the {name} for", 1)
        more = found["n_lost"] - len(worst)
        what_to_do = (
            "energies and weights do not show it: train with --strategy own-samples or nll, or longer"
            if row["learnt"]
            else "weights and ln Z leave that out: learn from it with --learn slice"
        )
        alarms.append(
            f"samples have lost rotamers of {found['n_lost']} of {found['n_torsions']} torsions: bins that hold "
            f"{', '.join(shares)}{f' (and {more} more)' if more else ''} have less than a fifth of that among the "
            f"samples; {what_to_do}"
        )
    return alarms


def annealing_alarms(found: Mapping[str, Any]) -> list[str]:
    """Alarms of annealed weights: few of them hold all, groups of particles disagree, or both sides of ln Z do.

    Particles from the flow cannot tell of a part of the target that none of them reached; frames annealed back
    can, and the gap of ln Z shows it.

    Args:
        found: ``annealing`` of the results, empty for other studies.
    """
    if not found:
        return []
    best, alarms = found["annealed"], []
    k, share, effective = best["pareto_k"], best["largest_share"], best["effective"]
    heavy = rest_on_few(best)
    if heavy:
        tail = "unknown" if not _finite(k) else f"{k:.2f}"
        alarms.append(
            f"averages over annealed particles rest on {effective:.1f} effective ones (Pareto k {tail}, largest "
            f"share {share:.1%}): anneal more of them with --anneal, or train longer"
        )
    if _groups_differ(best):
        spread = best["block_spread"]
        apart = "without bound" if spread is None else f"by {spread:.2f} nats"
        alarms.append(
            f"ln Z of independent groups of annealed particles differs {apart}, more than their weights explain: "
            "anneal more of them with --anneal"
        )
    sides = found.get("ln_z") or {}
    if sides and sides_differ(sides):
        gap, stderr = sides["gap"], sides["gap_stderr"]
        if heavy:
            what = "the annealing has not converged"
        elif not _finite(gap) or gap > 0:
            what = "frames of the chains have weights that no particle reached"
        else:
            what = "particles reach parts of the target that the chains never saw"
        apart = "without bound" if not _finite(gap) else f"by {abs(gap):.2f} +- {stderr:.2f} nats"
        alarms.append(f"ln Z from the flow and back from frames differ {apart}: {what}")
    return alarms


def _groups_differ(best: Mapping[str, Any]) -> bool:
    """Whether groups lie further apart than their weights say, or than anybody would like."""
    spread, n = best["block_spread"], len(best["block_log_z"])
    between, within = best["block_stderr"], best["log_z_stderr"]
    if spread is None or spread > MAX_SPREAD:
        return True
    if n < 2 or between is None or within is None:
        return False
    return between**2 > within**2 * stats.chi2.ppf(1 - CHANCE, n - 1) / (n - 1)


def rest_on_few(weights: Mapping[str, Any]) -> bool:
    """Whether averages with annealed weights rest on few particles, or on the tail of the weights."""
    k, share, effective = (weights[name] for name in ("pareto_k", "largest_share", "effective"))
    return not _finite(k) or k > MAX_K or share > MAX_SHARE or effective < MIN_EFFECTIVE


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def sides_differ(sides: Mapping[str, Any]) -> bool:
    """Whether the gap of ln Z is larger than its error allows, which rests on few chains."""
    gap, stderr, n = sides["gap"], sides["gap_stderr"], sides["n_chains"]
    if not _finite(gap):
        return True
    if not _finite(stderr) or n < 2:
        return False
    return abs(gap) > stats.t.ppf(1 - CHANCE / 2, n - 1) * stderr
