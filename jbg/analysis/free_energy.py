"""Free-energy differences and profiles with errors, from weighted samples or simulations.

Errors of differences of weighted samples include what heavy weights that were not drawn may add
(`weight_tail`). Those of profiles come from a bootstrap over blocks: generated samples are independent,
so they are dealt at random into at most ``N_BLOCKS`` blocks of equal size and only the blocks' sums
are resampled; 1e6 samples x 1000 replicas then cost a 1000 x 1000 matrix product, with the same
variance in expectation as resampling single samples (the error of the error is
1 / sqrt(2 N_BLOCKS) = 2 %). For simulations the blocks are the independent chains. A difference that
cannot be trusted is None with a reason.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from jbg.analysis.weight_tail import difference_interval, mean_weight
from jbg.interfaces import ConfigError, State
from jbg.reweighting import WeightedSamples, pareto_k, relative_weights

N_BLOCKS = 1000
MIN_EFFECTIVE = 50.0  # Kish's number of samples in a state
MAX_WEIGHT_SHARE = 0.1  # of a state's weight in one sample
MAX_HALF_WIDTH = 1.0  # kT, of the interval of reweighted samples
MIN_CHAINS = 3  # independent visitors of a state, or all where there are fewer
MIN_BIN_WEIGHT = 0.01  # in samples
NORMAL_95 = 1.96  # standard errors to each side of a 95 % interval


class FreeEnergyDifference(NamedTuple):
    """F(B) - F(A) in kT; value, stderr and interval95 are None together, with a reason."""

    value: float | None
    stderr: float | None
    interval95: tuple[float, float] | None
    reason: str | None = None


class Profile(NamedTuple):
    """-ln p along a coordinate, in kT, by bin; NaN in bins that hold too little."""

    edges: np.ndarray  # (n_bins + 1,)
    free_energy: np.ndarray  # (n_bins,)
    stderr: np.ndarray  # (n_bins,)


def _untrusted(reason: str) -> FreeEnergyDifference:
    return FreeEnergyDifference(None, None, None, reason)


def free_energy_difference(
    samples: WeightedSamples | ArrayLike,
    a: State | ArrayLike,
    b: State | ArrayLike,
    *,
    seed: int = 0,
) -> FreeEnergyDifference:
    """F(B) - F(A) = -ln(sum of w in B / sum of w in A) from weighted independent samples.

    The interval is not symmetric: of a state whose weights have a heavy tail, a part is more likely
    missing than counted twice, and F of that state then lies lower (`weight_tail`).

    Args:
        samples: from `reweighting.weigh`; or their log-weights of the true energy, ``(n,)``, not finite = weight
        zero. a: the state A; or whether each sample lies in it, ``(n,)`` bool. b: the same for B. seed: of the
        draws that the interval is made of.

    Returns:
        The difference, ``stderr`` a 3.92th of the interval, or None with a reason when a state is empty,
        holds fewer than MIN_EFFECTIVE effective samples, has more than MAX_WEIGHT_SHARE of its weight
        in one sample, or the interval is wider than 2 MAX_HALF_WIDTH.

    Raises:
        ConfigError: samples without weights, or states that do not fit them.
    """
    log_w, frames = _weights(samples)
    states = [log_w[_inside(state, log_w.size, frames)] for state in (a, b)]
    return _ratio(states, (log_w.size, log_w.size), seed, of_set=True)


def _weights(samples: WeightedSamples | ArrayLike) -> tuple[np.ndarray, np.ndarray | None]:
    """Log-weights ``(n,)`` and, where they are known, the frames ``(n, dim)``.

    Raises:
        ConfigError: samples without weights, or an array that is not ``(n,)``.
    """
    if isinstance(samples, WeightedSamples):
        return np.asarray(samples.log_w, np.float64), samples.frames
    expected = "free_energy_difference: expected samples from weigh or log-weights (n,)"
    if isinstance(samples, tuple):
        raise ConfigError(
            f"{expected}, got {type(samples).__name__} without weights: pass jbg.weigh(samples, target)"
        )
    log_w = np.asarray(samples, np.float64)
    if log_w.ndim != 1:
        raise ConfigError(f"{expected}, got shape {log_w.shape}: weigh the samples first")
    return log_w, None


def _inside(state: State | ArrayLike, n: int, frames: np.ndarray | None) -> np.ndarray:
    """Which of n samples lie in a state, ``(n,)`` bool.

    Raises:
        ConfigError: a state without samples to look at, or a mask that is not ``(n,)`` bool.
    """
    if isinstance(state, State):
        if frames is None:
            raise ConfigError(
                f"free_energy_difference: state {state.name} needs samples from weigh, got log-weights"
            )
        return np.asarray(state.contains(frames.T), bool)
    mask = np.asarray(state)
    if mask.shape != (n,) or mask.dtype != bool:
        raise ConfigError(
            f"free_energy_difference: expected a mask ({n},) of bool, got {mask.shape} of {mask.dtype}"
        )
    return mask


def mean_weight_difference(
    log_w_a: ArrayLike, log_w_b: ArrayLike, *, seed: int
) -> FreeEnergyDifference:
    """F(B) - F(A) = -ln(<w>_B / <w>_A) from two generators, one for each state, by plain reweighting.

    Z_S = <w> over all samples of a generator of normalised q, with w = exp(-u/tau) / q inside S and zero
    outside (`reweighting.restrict_log_weights`).

    Args:
        log_w_a: log-weights of all samples of generator A, ``(n,)``; not finite = weight zero.
        log_w_b: the same of generator B.
        seed: of the draws that the interval is made of.

    Returns:
        The difference, or None with a reason, as in `free_energy_difference`.
    """
    states = [np.asarray(log_w, np.float64) for log_w in (log_w_a, log_w_b)]
    return _ratio(states, (states[0].size, states[1].size), seed, of_set=False)


def _ratio(
    states: list[np.ndarray], n: tuple[int, int], seed: int, *, of_set: bool
) -> FreeEnergyDifference:
    """ln(<w>_A / <w>_B) of the log-weights in two states, out of n samples each, parts of one set or not."""
    rng = np.random.default_rng(seed)
    means = []
    for name, log_w, size in zip(("first", "second"), states, n, strict=True):
        reason = _why_untrusted(name, relative_weights(log_w) if log_w.size else np.zeros(1))
        if reason:
            return _untrusted(reason)
        means.append(mean_weight(log_w, size, rng, of_set=of_set))
    low, high = difference_interval(*means)
    if high - low > 2 * MAX_HALF_WIDTH:
        name, log_w = (
            ("first", states[0]) if means[0].unseen > means[1].unseen else ("second", states[1])
        )
        return _untrusted(
            f"the 95 % interval is {high - low:.1f} kT wide: the weights of the {name} state have a heavy tail "
            f"(Pareto k {pareto_k(log_w):.2f}), of which too little was drawn"
        )
    value = means[0].value - means[1].value
    return FreeEnergyDifference(value, (high - low) / (2 * NORMAL_95), (low, high))


def _why_untrusted(name: str, w: np.ndarray) -> str | None:
    """What speaks against an average over the weights of one state, if anything."""
    total = w.sum()
    if total == 0:
        return f"no weight in the {name} state"
    n_effective = total**2 / np.sum(w**2)
    if n_effective < MIN_EFFECTIVE:
        return f"{n_effective:.1f} effective samples in the {name} state, need {MIN_EFFECTIVE:.0f}"
    share = w.max() / total
    if share > MAX_WEIGHT_SHARE:
        return f"one sample holds {share:.0%} of the weight of the {name} state"
    return None


def reference_free_energy(
    counts_a: ArrayLike, counts_b: ArrayLike, *, seed: int, n_bootstrap: int = 1000
) -> FreeEnergyDifference:
    """F(B) - F(A) = -ln(n_B / n_A) from the frames of independent chains (or ladders).

    Frames of one chain are correlated, so chains are resampled, not frames; the interval is
    Student's. Replicas in which a state happens to have no frame are left out.

    Args:
        counts_a: frames in A of each chain, ``(n_chains,)``.
        counts_b: frames in B of each chain.
        seed: of the bootstrap.
        n_bootstrap: replicas.

    Returns:
        The difference, or None with a reason when fewer than two chains ran, or fewer than
        MIN_CHAINS of them (all, where there are fewer) visited a state.
    """
    counts = np.stack([np.asarray(counts_a, np.float64), np.asarray(counts_b, np.float64)], axis=1)
    n_chains = len(counts)
    for name, state in zip(("first", "second"), counts.T, strict=True):
        n_visitors = np.count_nonzero(state)
        if n_visitors == 0:
            return _untrusted(f"the simulation never visited the {name} state")
        if n_chains < 2:
            return _untrusted("a single chain gives no error; run two or more")
        if n_visitors < min(MIN_CHAINS, n_chains):
            return _untrusted(f"only {n_visitors} of {n_chains} chains visited the {name} state")
    return _difference_from_blocks(counts, np.random.default_rng(seed), n_bootstrap)


def _difference_from_blocks(
    blocks: np.ndarray, rng: np.random.Generator, n_bootstrap: int
) -> FreeEnergyDifference:
    """F from the column sums of ``blocks`` ``(n_blocks, 2)``, with its bootstrap error."""
    n_blocks = len(blocks)
    sums = _resampled_sums(rng, blocks, n_bootstrap)
    sums = sums[np.all(sums > 0, axis=1)]
    replicas = np.log(sums[:, 0] / sums[:, 1])
    value = float(np.log(blocks[:, 0].sum() / blocks[:, 1].sum()))
    # resampling n blocks has (n - 1) / n of the variance of drawing n new ones
    stderr = float(np.std(replicas, ddof=1) * math.sqrt(n_blocks / (n_blocks - 1)))
    half = float(stats.t.ppf(0.975, n_blocks - 1)) * stderr
    return FreeEnergyDifference(value, stderr, (value - half, value + half))


def _block_of(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.permutation(np.arange(n) % min(n, N_BLOCKS))


def _resampled_sums(rng: np.random.Generator, blocks: np.ndarray, n_bootstrap: int) -> np.ndarray:
    """Sums ``(n_bootstrap, m)`` over as many blocks drawn with replacement as there are."""
    n_blocks = len(blocks)
    times = rng.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=n_bootstrap)
    return times @ blocks


def weighted_profile(
    values: ArrayLike,
    log_w: ArrayLike,
    edges: ArrayLike,
    *,
    seed: int,
    n_bootstrap: int = 200,
    min_effective: float = 0.0,
) -> Profile:
    """Free energy along a coordinate, F_i = -ln(P_i / width_i) in kT, P_i the share of bin i.

    P is normalised over all samples, those outside ``edges`` included, so that profiles of
    different sources compare without an offset and ``exp(-F) * width`` sums to the probability of a
    state.

    Args:
        values: the coordinate of each independent sample, ``(n,)``.
        log_w: log-weights ``(n,)``; zeros for an unweighted profile.
        edges: bin edges ``(n_bins + 1,)``, rising.
        seed: of the bootstrap.
        n_bootstrap: replicas.
        min_effective: Kish's number of samples, (sum w)^2 / sum w^2, that a bin needs.

    Returns:
        F is NaN where a bin holds the weight of fewer than MIN_BIN_WEIGHT samples, or too few effective ones; its
        error is NaN also where more than one replica in twenty leaves the bin empty.
    """
    values, edges = np.asarray(values, np.float64), np.asarray(edges, np.float64)
    w = relative_weights(log_w)
    n_bins = len(edges) - 1
    bins = np.searchsorted(edges, values, side="right") - 1
    bins = np.where((bins >= 0) & (bins < n_bins), bins, n_bins)  # the last column is all the rest
    rng = np.random.default_rng(seed)
    block = _block_of(rng, w.size)
    n_blocks = min(w.size, N_BLOCKS)
    flat = np.bincount(block * (n_bins + 1) + bins, w, minlength=n_blocks * (n_bins + 1))
    blocks = flat.reshape(n_blocks, n_bins + 1)

    def free_energy(sums: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            p = sums[..., :n_bins] / sums.sum(axis=-1, keepdims=True)
            return -np.log(p / np.diff(edges))

    total = blocks.sum(axis=0)
    tiny = np.finfo(float).tiny
    held = total[:n_bins] * w.size >= MIN_BIN_WEIGHT * max(total.sum(), tiny)
    squares = np.bincount(bins, w * w, minlength=n_bins + 1)[:n_bins]
    held &= total[:n_bins] ** 2 >= min_effective * np.maximum(squares, tiny)
    replicas = free_energy(_resampled_sums(rng, blocks, n_bootstrap))
    seen = np.isfinite(replicas)
    firm = held & (seen.mean(axis=0) >= 0.95)
    stderr = np.full(n_bins, np.nan)
    stderr[firm] = np.nanstd(np.where(seen, replicas, np.nan)[:, firm], axis=0, ddof=1)
    return Profile(edges, np.where(held, free_energy(total), np.nan), stderr)
