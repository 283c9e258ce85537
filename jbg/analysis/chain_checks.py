"""Whether chains that a generator moved have reached the target, and which differences may be given from them.

Chains carry no weights that could look bad, so other things are asked of them. Of all: enough fresh samples of
the generator arrived; every pair of rungs of a ladder swaps; split-R-hat of ln w is small; its mean is that of
frames which training did not see. Mean ln w is blind to a rare state that is still filling up, so of each state:
split-R-hat of its indicator and of slow torsions within it is small; it holds enough effective samples; chains
that started from frames and from generated samples agree on both; and where the reference simulation has
equilibrated, F is the same.

Each reason here leaves a value out (null). On runs that are right all of them together speak in less than 1 %
(`tests/analysis/test_chain_checks.py`). Pure functions of host arrays; those of chains are ``(chains, frames)``
in order of time.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from jbg.analysis.equilibration import group_difference, split_r_hat, within
from jbg.analysis.free_energy import NORMAL_95, FreeEnergyDifference, reference_free_energy

MIN_ARRIVALS = 200  # fresh samples of the generator, and
RENEWALS = 5  # for each walker, of chains or of all rungs, which may share a bias of their starts
MIN_SWAPS = 0.2  # of each pair of rungs
MAX_R_HAT = 1.05  # of ln w and of the states: halves of chains worth ten independent frames
# of slow functions within a state: a basin of 3 to 20 % of it that takes a run's length to fill gives 1.07 to 1.15
MAX_R_HAT_WITHIN = 1.08
MIN_EFFECTIVE = 100.0  # independent samples in a state
CHANCE = 5e-4  # of refusing sound chains, by all comparisons of one kind


class Chains(NamedTuple):
    """What is known of the chains.

    ``log_w (chains, frames)`` is -u - ln q. ``arrivals`` counts fresh samples of the generator that reached the
    target, ``swaps`` are the accepted shares of neighbouring rungs, empty for a single rung, and ``walkers``
    counts those of all rungs.
    """

    log_w: np.ndarray
    arrivals: int
    swaps: Sequence[float]
    walkers: int


def refuse_all(
    chains: Chains, frames_log_w: np.ndarray | None, inside: np.ndarray | None
) -> tuple[dict[str, Any], list[str]]:
    """Numbers of the chains as a whole, and the reasons that forbid every value; none where all is well.

    Args:
        chains: what is known of them.
        frames_log_w: ln w of frames that training did not see, ``(ladders, frames)``; None where there are none.
        inside: which of them lie in the coordinates' domain, likewise.
    """
    r_hat = split_r_hat(chains.log_w)
    mean, stderr = _mean(chains.log_w)
    found = {
        "arrivals": chains.arrivals,
        "swaps": [float(s) for s in chains.swaps],
        "r_hat_log_w": r_hat,
        "mean_log_w": mean,
        "mean_log_w_stderr": stderr,
        "frames_log_w": None,
        "frames_log_w_stderr": None,
    }
    reasons = []
    needed = max(MIN_ARRIVALS, RENEWALS * chains.walkers)
    if chains.arrivals < needed:
        reasons.append(
            f"{chains.arrivals} fresh samples of the flow arrived at the target, need {needed}: "
            "train longer on more data, or run longer"
        )
    for i, share in enumerate(chains.swaps):
        if not share >= MIN_SWAPS:
            reasons.append(
                f"rungs {i + 1} and {i + 2} swap in {share:.0%} of tries, need {MIN_SWAPS:.0%}"
            )
    if not r_hat <= MAX_R_HAT:
        reasons.append(f"split-R-hat of ln w is {r_hat:.2f}, need {MAX_R_HAT} or less: run longer")
    if frames_log_w is not None and inside is not None:
        known, error, n_ladders = _mean_of_frames(frames_log_w, inside)
        found |= {"frames_log_w": known, "frames_log_w_stderr": error}
        apart = mean - known
        counts = (len(chains.log_w), n_ladders)
        if not _apart_by_chance(apart, (stderr, error), counts, CHANCE):
            reasons.append(
                f"mean ln w of the chains is {abs(apart):.2f} +- {math.hypot(stderr, error):.2f} nats "
                f"{'above' if apart > 0 else 'below'} that of simulated frames"
            )
    return found, reasons


def _apart_by_chance(apart: float, errors: tuple, counts: tuple, level: float) -> bool:
    """Whether two means over independent chains may differ so much by chance (Welch); true where one of them has
    no error, of a single chain: then they are not compared."""
    squares, freedom = np.square(errors), np.asarray(counts, float) - 1
    total = squares.sum()
    if not (np.isfinite(total) and total > 0):
        return True
    effective = total**2 / np.sum(squares**2 / np.maximum(freedom, 1))
    return bool(abs(apart) <= stats.t.ppf(1 - level / 2, effective) * math.sqrt(total))


def slow_reason(
    name: str,
    inside: np.ndarray,
    slow: Mapping[str, np.ndarray],
    from_frames: np.ndarray,
    n_states: int,
) -> str:
    """What the chains have not mixed within a state; empty where nothing is known to be slow.

    Split-R-hat of each function within the state, and its mean over chains that started from frames against that
    over the others: a basin within a state that no chain has left, or found, shows in neither the state's share
    nor ln w.

    Args:
        name: of the state.
        inside: which frames lie in it, ``(chains, frames)`` bool.
        slow: functions of the configuration that have to relax within it, name and ``(chains, frames)``.
        from_frames: which chains started from simulated frames, ``(chains,)`` bool.
        n_states: number of states that are checked.
    """
    if not inside.any():
        return ""
    parts = {what: within(np.asarray(values, float), inside) for what, values in slow.items()}
    r_hat, what = max(
        ((split_r_hat(part), what) for what, part in parts.items()), default=(1.0, "")
    )
    if not r_hat <= MAX_R_HAT_WITHIN:
        return (
            f"split-R-hat of {what} within {name} is {r_hat:.2f}, need {MAX_R_HAT_WITHIN} or less: "
            "run longer"
        )
    if not 2 <= np.sum(from_frames) <= len(from_frames) - 2:
        return ""
    group = np.asarray(from_frames, bool)
    for what, part in parts.items():
        apart, error, freedom = group_difference(part.mean(1), group)
        if abs(apart) > stats.t.ppf(1 - CHANCE / 2 / len(parts) / n_states, freedom) * error:
            return f"chains from frames and from generated samples differ in {what} within {name}: run longer"
    return ""


class StateCheck(NamedTuple):
    """One state as the chains see it; ``reason`` is empty where nothing speaks against its share."""

    share: float
    stderr: float
    effective_samples: float
    r_hat: float
    reason: str

    def as_results(self) -> dict[str, Any]:
        """Plain values; infinite ones become None."""
        return {
            k: v if isinstance(v, str) or math.isfinite(v) else None
            for k, v in self._asdict().items()
        }


def check_state(
    name: str, inside: np.ndarray, from_frames: np.ndarray, n_states: int
) -> StateCheck:
    """Whether the chains have settled on the share of one state.

    Args:
        name: of the state.
        inside: which frames lie in it, ``(chains, frames)`` bool.
        from_frames: which chains started from simulated frames, ``(chains,)`` bool.
        n_states: number of states that are checked.
    """
    inside = np.asarray(inside, float)
    share, stderr = _mean(inside)
    r_hat = split_r_hat(inside)
    n_independent = inside.size if stderr == 0 else share * (1 - share) / stderr**2
    effective = float(min(n_independent, inside.size) * share)
    reason = ""
    if effective < MIN_EFFECTIVE:
        reason = (
            f"the chains hold {effective:.0f} effective samples of {name}, need {MIN_EFFECTIVE:.0f}: "
            "run longer"
        )
    elif not r_hat <= MAX_R_HAT:
        reason = f"split-R-hat of the share of {name} is {r_hat:.2f}, need {MAX_R_HAT} or less: run longer"
    elif 2 <= np.sum(from_frames) <= len(from_frames) - 2:
        apart, error, freedom = group_difference(inside.mean(1), np.asarray(from_frames, bool))
        if abs(apart) > stats.t.ppf(1 - CHANCE / 2 / n_states, freedom) * error:
            reason = (
                f"chains from frames and from generated samples have shares of {name} that are "
                f"{abs(apart):.3f} +- {error:.3f} apart: run longer"
            )
    return StateCheck(share, stderr, effective, r_hat, reason)


def chain_difference(
    inside: tuple[np.ndarray, np.ndarray],
    reference: tuple[float | None, float | None],
    *,
    n_pairs: int,
    seed: int,
) -> FreeEnergyDifference:
    """F(B) - F(A) = -ln(n_B / n_A) from chains, unless it is far from an equilibrated reference simulation.

    Args:
        inside: which frames lie in A and in B, ``(chains, frames)`` bool each.
        reference: the difference by the simulation and its standard error; None where it gives none.
        n_pairs: number of differences that are compared.
        seed: of the bootstrap over chains.
    """
    found = reference_free_energy(*(part.sum(1) for part in inside), seed=seed)
    if found.value is None or found.interval95 is None:
        return found
    low, high = found.interval95  # Student's: few ladders know their own error badly
    found = found._replace(stderr=0.5 * (high - low) / NORMAL_95)
    value, stderr = reference
    if found.value is None or found.stderr is None or value is None or stderr is None:
        return found
    apart, error = found.value - value, math.hypot(found.stderr, stderr)
    if abs(apart) <= stats.norm.ppf(1 - CHANCE / 2 / n_pairs) * error:
        return found
    reason = (
        f"the chains give {found.value:.2f} kT and the reference simulation {value:.2f} kT, {abs(apart):.2f} +- "
        f"{error:.2f} apart: one of them has not reached equilibrium"
    )
    return FreeEnergyDifference(None, None, None, reason)


def accepted_share(frames_log_w: np.ndarray, generated_log_w: np.ndarray, seed: int) -> float:
    """Expected acceptance of a fresh sample in place of a frame, <min(1, w'/w)>, from weights alone.

    Args:
        frames_log_w: of equilibrium frames, ``(n,)``.
        generated_log_w: of generated samples, ``(m,)``, -inf without weight.
        seed: of the pairs that are compared.
    """
    rng = np.random.default_rng(seed)
    n = 100_000
    old, new = rng.choice(frames_log_w, n), rng.choice(generated_log_w, n)
    return float(np.exp(np.minimum(0.0, new - old)).mean())


def _mean(values: np.ndarray) -> tuple[float, float]:
    """Mean over chains and its standard error from their independence."""
    of_chains = np.asarray(values, np.float64).mean(1)
    return float(of_chains.mean()), float(of_chains.std(ddof=1) / math.sqrt(len(of_chains)))


def _mean_of_frames(log_w: np.ndarray, inside: np.ndarray) -> tuple[float, float, int]:
    """Mean over the frames inside, its error as a ratio of sums over ladders, and the ladders that have any."""
    n = np.asarray(inside, float).sum(axis=1)
    sums = np.where(inside, log_w, 0.0).sum(axis=1)
    mean = sums.sum() / n.sum()
    ladders = int(np.count_nonzero(n))
    if ladders < 2:
        return float(mean), math.nan, ladders
    stderr = math.sqrt(np.sum((sums - mean * n) ** 2) * ladders / (ladders - 1)) / n.sum()
    return float(mean), stderr, ladders
