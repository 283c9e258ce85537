"""The mean of any number of a configuration over weighted samples, with an error that knows of heavy tails.

With mu = sum w f / sum w, the weights w (f - c) of the samples above c and w (c - f) of those below have the same
mean at c = mu. What another set of samples would give is thus what free energies ask of two states: whether two
means of weights can be equal, where heavy ones may not have been drawn (`weight_tail`). The interval holds all c
at which the 95 % interval of ln <w (f - c)>_above - ln <w (c - f)>_below holds zero. For f that is 1 inside of a
state and 0 outside, it is that of the free-energy difference between inside and outside.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from jbg.analysis.chain_averages import chain_averages
from jbg.analysis.chain_checks import MAX_R_HAT
from jbg.analysis.equilibration import split_r_hat
from jbg.analysis.estimate_alarms import MIN_TAIL
from jbg.analysis.free_energy import (
    MAX_HALF_WIDTH,
    MAX_WEIGHT_SHARE,
    MIN_CHAINS,
    MIN_EFFECTIVE,
    NORMAL_95,
)
from jbg.analysis.weight_tail import difference_interval, mean_weight
from jbg.interfaces import ConfigError
from jbg.reweighting import effective_samples, pareto_k, relative_weights

MAX_SHAPE = (
    0.9  # Pareto k of the weights, and of weighted deviations; the mean does not exist from 1 on
)
CLOSE = 0.02  # of the half width of the interval, to which its ends are found
MOST_STEPS = 30


class WeightedMean(NamedTuple):
    """A mean in the unit of the values; value, stderr and interval95 are None together, with a reason.

    ``n_effective`` is Kish's number of the samples with a value, (sum w)^2 / sum w^2.
    """

    value: float | None
    stderr: float | None
    interval95: tuple[float, float] | None
    n_effective: float
    reason: str | None = None


def weighted_mean(values: ArrayLike, log_w: ArrayLike, *, seed: int = 0) -> WeightedMean:
    """sum w f / sum w over independent samples, with its error.

    Args:
        values: f of each sample, ``(n,)``, numbers or bool; they must be finite where the sample has a weight.
        log_w: log-weights ``(n,)``, not finite = weight zero; zeros for samples of equal weight.
        seed: of the draws that the interval is made of.

    Returns:
        The mean, ``stderr`` a 3.92th of the interval; or None with a reason where the samples hold fewer than
        MIN_EFFECTIVE effective ones, one has more than MAX_WEIGHT_SHARE of the weight, weights that were not drawn
        may be as heavy as those that were (Pareto k above MAX_SHAPE), or deviations above or below the mean have
        such a tail or rest on fewer than MIN_EFFECTIVE.

    Raises:
        ConfigError: arrays that do not fit, or a value that is not finite.
    """
    f, w = _checked(values, log_w)
    n, n_effective = w.size, effective_samples(_log(w))
    f, w = f[w > 0], w[w > 0]
    reason = _why_untrusted(w, n, n_effective, seed)
    if reason is not None:
        return WeightedMean(None, None, None, n_effective, reason)
    mean = float(np.sum(w * f) / w.sum())
    if np.ptp(f) == 0:  # the same everywhere, as far as samples show
        return WeightedMean(mean, 0.0, (mean, mean), n_effective)
    for side, name in ((f > mean, "above"), (f < mean, "below")):
        away = w[side] * np.abs(f[side] - mean)
        held = float(away.sum() ** 2 / np.sum(away**2))
        if held < MIN_EFFECTIVE:
            reason = (
                f"the values {name} the mean rest on {held:.1f} effective samples, need "
                f"{MIN_EFFECTIVE:.0f}: draw more"
            )
        else:
            reason = _too_heavy(_log(away), n, seed, f"weighted values {name} the mean")
        if reason is not None:
            return WeightedMean(None, None, None, n_effective, reason)
    spread = float(np.sqrt(np.sum((w * (f - mean)) ** 2)) / w.sum())
    low, high = (
        _end(lambda c: _excess(f, w, n, c, seed), mean, sign * NORMAL_95 * spread, f)
        for sign in (-1, 1)
    )
    return WeightedMean(mean, (high - low) / (2 * NORMAL_95), (low, high), n_effective)


def chain_mean(values: ArrayLike) -> WeightedMean:
    """The mean over independent chains of the distribution itself, ``values (chains, frames)`` in order of time.

    The error is that between the chains, the interval Student's. None with a reason for fewer than MIN_CHAINS, or
    where split-R-hat of the values is above MAX_R_HAT.
    """
    values = np.asarray(values, np.float64)
    averages = chain_averages(values)
    mean, stderr, n = averages.mean, averages.mean_stderr, len(values)
    n_effective = averages.variance / stderr**2 if n > 1 and stderr > 0 else float(values.size)
    r_hat = split_r_hat(values)
    if n < MIN_CHAINS:
        return WeightedMean(None, None, None, n_effective, f"{n} chains, need {MIN_CHAINS}")
    if r_hat > MAX_R_HAT:
        reason = f"split-R-hat of the values is {r_hat:.2f}, need {MAX_R_HAT} or less: run longer"
        return WeightedMean(None, None, None, n_effective, reason)
    half = float(stats.t.ppf(0.975, n - 1)) * stderr
    return WeightedMean(mean, stderr, (mean - half, mean + half), n_effective)


def _checked(values: ArrayLike, log_w: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The values and the relative weights, ``(n,)`` each."""
    f, log_w = np.asarray(values, np.float64), np.asarray(log_w, np.float64)
    if f.ndim != 1 or f.shape != log_w.shape or not f.size:
        raise ConfigError(
            f"weighted_mean: values and log_w must both be (n,), n >= 1, got {f.shape} and {log_w.shape}"
        )
    w = relative_weights(log_w)
    wrong = int(np.count_nonzero(~np.isfinite(f) & (w > 0)))
    if wrong:
        raise ConfigError(
            f"weighted_mean: {wrong} of {f.size} samples have a weight and no finite value: give each a value, or "
            "the weight zero (-inf)"
        )
    return np.where(w > 0, f, 0.0), w


def _why_untrusted(w: np.ndarray, n: int, n_effective: float, seed: int) -> str | None:
    """What speaks against any average over these weights, if anything."""
    if not w.size:
        return "no sample has a weight"
    if n_effective < MIN_EFFECTIVE:
        return f"{n_effective:.1f} effective samples, need {MIN_EFFECTIVE:.0f}"
    share = w.max() / w.sum()
    if share > MAX_WEIGHT_SHARE:
        return f"one sample holds {share:.0%} of the weight"
    return _too_heavy(np.log(w), n, seed, "weights")


def _too_heavy(log_w: np.ndarray, n: int, seed: int, what: str) -> str | None:
    """Whether those that were not drawn may add as much as all that were, or have no mean at all.

    k of weights with a sharp upper end is of any size: it counts where the tail adds something.
    """
    k = pareto_k(log_w)
    unseen = mean_weight(log_w, n, np.random.default_rng(seed), of_set=True).unseen
    if unseen > MAX_HALF_WIDTH or (k > MAX_SHAPE and unseen > MIN_TAIL):
        return f"{what} that were not drawn may add as much as all that were (Pareto k {k:.2f})"
    return None


def _excess(f: np.ndarray, w: np.ndarray, n: int, c: float, seed: int) -> tuple[float, float]:
    """The 95 % interval of ln <w (f - c)>_above - ln <w (c - f)>_below; infinite where one side is empty."""
    above, below = f > c, f < c
    if not above.any() or not below.any():
        end = np.inf if above.any() else -np.inf
        return end, end
    rng = np.random.default_rng(seed)
    sides = (
        mean_weight(_log(w[side] * np.abs(f[side] - c)), n, rng, of_set=True)
        for side in (above, below)
    )
    return difference_interval(*sides)


def _log(w: np.ndarray) -> np.ndarray:
    """ln of weights, -inf of those that rounding made zero."""
    return np.log(w, out=np.full(w.size, -np.inf), where=w > 0)


def _end(
    excess: Callable[[float], tuple[float, float]], mean: float, step: float, f: np.ndarray
) -> float:
    """The last c, from the mean in the direction of ``step``, whose interval holds zero.

    Found by false position between a c inside and one outside, the latter at the edge of the values at most.
    """
    edge, which = (float(f.max()), 1) if step > 0 else (float(f.min()), 0)
    # the end of the interval that reaches zero last, positive while it has not
    left = lambda c: (1 if which else -1) * excess(c)[which]
    inside, outside = mean, mean + step
    first = at_inside = max(left(mean), 0.0)
    while True:
        outside = min(outside, edge) if which else max(outside, edge)
        at_outside = left(outside)
        if at_outside <= 0 or outside == edge:
            break
        inside, at_inside, outside = outside, at_outside, outside + 2 * (outside - mean)
    for _ in range(MOST_STEPS):
        if -CLOSE * first <= at_outside <= 0 or at_inside <= CLOSE * first:
            break
        share = at_inside / (at_inside - at_outside) if np.isfinite(at_outside) else 0.5
        middle = inside + min(max(share, 0.1), 0.9) * (outside - inside)
        at_middle = left(middle)
        if at_middle > 0:
            inside, at_inside = middle, at_middle
        else:
            outside, at_outside = middle, at_middle
    return outside if -CLOSE * first <= at_outside <= 0 else inside
