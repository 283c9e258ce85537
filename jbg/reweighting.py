"""Importance weights w = exp(-u/tau) / q: pure functions of log-weights in numpy float64.

``log_w`` is ``(n,)``, with q normalised. A sample whose log-weight is not finite has weight zero;
it still counts in n, so that nothing is gained by failing. The energies must be the true,
unsoftened ones.
"""

import math
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from jbg.interfaces import ConfigError, RunError, Target, check_event, check_target


class LogZEstimate(NamedTuple):
    """ln Z with its standard error; ``n_non_finite`` of the log-weights counted as weight zero."""

    value: float
    stderr: float
    n_non_finite: int


class WeightedSamples(NamedTuple):
    """Samples with the weights that make them of the Boltzmann distribution at tau, batch first."""

    frames: np.ndarray  # (n, dim)
    log_q: np.ndarray  # (n,)
    u: np.ndarray  # (n,) true reduced energies
    log_w: np.ndarray  # (n,); -inf where a sample has no weight
    tau: float = 1.0

    @property
    def ess_fraction(self) -> float:
        """Kish's (sum w)^2 / (n sum w^2), a fraction in [0, 1]."""
        return ess_fraction(self.log_w)

    @property
    def effective_samples(self) -> float:
        """Kish's number of samples, (sum w)^2 / sum w^2."""
        return effective_samples(self.log_w)


class Drawn(Protocol):
    """What `weigh` takes, such as `jbg.generator.Samples`: x ``(dim, n)`` and ln q(x) ``(n,)``."""

    @property
    def x(self) -> Any: ...

    @property
    def log_prob(self) -> Any: ...


def weigh(samples: Drawn, target: Target, tau: float = 1.0) -> WeightedSamples:
    """Samples with ln w = -u/tau - ln q.

    Args:
        samples: of a generator at tau.
        target: the true density, not softened.
        tau: relative temperature.

    Raises:
        ConfigError: not samples and a target, or samples in another layout than ``(dim, n)`` or of another
            dimension.
        RunError: no sample has a finite energy.
    """
    if not (hasattr(samples, "x") and hasattr(samples, "log_prob")):
        raise ConfigError(
            f"weigh: expected samples of Generator.sample, then a Target, got {type(samples).__name__} first: "
            "pass weigh(samples, target), or log_weights(u, log_q) for arrays"
        )
    check_target(target, "weigh")
    check_event(samples.x, target.dim, "weigh")
    u, log_q = np.asarray(target.reduced_energy(samples.x)), np.asarray(samples.log_prob)
    log_w, n_invalid = drop_non_finite(log_weights(u, log_q, tau=tau))
    if n_invalid == len(log_w):
        raise RunError(
            f"weigh: all {len(log_w)} samples have non-finite energies: the flow is untrained or the target broken"
        )
    return WeightedSamples(np.asarray(samples.x).T, log_q, u, log_w, tau)


def log_weights(u: ArrayLike, log_q: ArrayLike, *, tau: float = 1.0) -> np.ndarray:
    """ln w = -u/tau - ln q, from reduced energies and log-probabilities ``(n,)``.

    Raises:
        ConfigError: the two differ in length.
    """
    u, log_q = np.asarray(u, np.float64), np.asarray(log_q, np.float64)
    if u.ndim and log_q.ndim and u.shape[-1] != log_q.shape[-1]:
        raise ConfigError(
            f"log_weights: u and log_q must have the same length, got {u.shape} and {log_q.shape}: "
            "pass both of the same samples"
        )
    return -u / tau - log_q


def mixture_log_q(log_q: ArrayLike, counts: ArrayLike) -> np.ndarray:
    """ln of the density of a pool of samples, counts_k of them from q_k: ln sum_k (counts_k / N) q_k.

    With it in the denominator, w = exp(-u/tau) / q_pool weighs samples of all q_k at once, for any tau, and no
    weight exceeds N / counts_k of what q_k alone would give it (the balance heuristic of Veach & Guibas,
    SIGGRAPH 1995; MBAR with known normalisers, Shirts & Chodera 2008, Eq. 11).

    Args:
        log_q: ln q_k of every sample of the pool, ``(K, N)``; -inf where q_k has none.
        counts: how many of the samples came from each q_k, ``(K,)``.
    """
    counts = np.asarray(counts, np.float64)
    share = (counts / counts.sum())[:, None]
    return np.asarray(logsumexp(np.asarray(log_q, np.float64), axis=0, b=share))


def drop_non_finite(log_w: ArrayLike) -> tuple[np.ndarray, int]:
    """Log-weights with -inf (weight zero) for whatever is not finite, and how many those are."""
    log_w = np.asarray(log_w, np.float64)
    finite = np.isfinite(log_w)
    return np.where(finite, log_w, -np.inf), int(log_w.size - np.count_nonzero(finite))


def restrict_log_weights(log_w: ArrayLike, inside: ArrayLike) -> tuple[np.ndarray, float]:
    """Log-weights with -inf for samples outside a region, and the share of samples that lie outside.

    For a target that is restricted to the region: what lies outside has weight zero, and counts in
    n. ``inside`` is ``(n,)`` bool.
    """
    inside = np.asarray(inside, bool)
    log_w = np.where(inside, np.asarray(log_w, np.float64), -np.inf)
    return log_w, float(np.mean(~inside))


def relative_weights(log_w: ArrayLike) -> np.ndarray:
    """Weights divided by the largest of them; all zero if none is finite."""
    log_w, n_non_finite = drop_non_finite(log_w)
    if n_non_finite == log_w.size:
        return np.zeros_like(log_w)
    return np.exp(log_w - log_w.max())


def effective_samples(log_w: ArrayLike) -> float:
    """Kish's effective number of samples, (sum w)^2 / sum w^2; 0 of none."""
    n = np.size(log_w)
    return ess_fraction(log_w) * n if n else 0.0


def ess_fraction(log_w: ArrayLike) -> float:
    """Kish's effective number of samples as a fraction of all, (sum w)^2 / (n sum w^2), in [0, 1]."""
    w = relative_weights(log_w)
    if not w.any():
        return 0.0
    return float(w.sum() ** 2 / (w.size * np.sum(w**2)))


def clip_log_weights(log_w: ArrayLike, *, share: float = 1e-4) -> np.ndarray:
    """Log-weights with the largest ``share`` of them lowered to the smallest among those.

    It says what ESS would be without a few heavy weights. It biases every average: report, never
    use.
    """
    log_w, _ = drop_non_finite(log_w)
    n_clipped = round(share * log_w.size)
    if n_clipped < 2:  # one weight clipped to itself
        return log_w
    return np.minimum(log_w, np.partition(log_w, -n_clipped)[-n_clipped])


def largest_weight_share(log_w: ArrayLike) -> float:
    """Share of the total weight that the heaviest sample holds; 0 if no weight is finite."""
    w = relative_weights(log_w)
    return float(w.max() / w.sum()) if w.any() else 0.0


def log_mean_exp(log_w: ArrayLike) -> float:
    """ln of the mean weight; -inf if no weight is finite."""
    log_w, n_non_finite = drop_non_finite(log_w)
    if n_non_finite == log_w.size:
        return -math.inf
    return float(np.asarray(logsumexp(log_w)) - math.log(log_w.size))


def log_z_estimate(log_w: ArrayLike) -> LogZEstimate:
    """ln Z = ln <w> with its standard error to first order, std(w) / (sqrt(n) <w>).

    Without a finite weight the value is -inf with an infinite error.
    """
    w = relative_weights(log_w)
    n_non_finite = drop_non_finite(log_w)[1]
    if w.size < 2 or not w.any():
        return LogZEstimate(log_mean_exp(log_w), math.inf, n_non_finite)
    stderr = float(w.std(ddof=1) / (math.sqrt(w.size) * w.mean()))
    return LogZEstimate(log_mean_exp(log_w), stderr, n_non_finite)


def resample(rng: np.random.Generator, log_w: ArrayLike, n: int) -> np.ndarray:
    """Indices ``(n,)`` drawn by weight, systematically: each occurs n w / sum(w) times +- 1.

    Raises:
        RunError: if no weight is finite.
    """
    w = relative_weights(log_w)
    if not w.any():
        raise RunError("resample: no finite weight among the samples; train longer")
    cumulative = np.cumsum(w)
    comb = (rng.random() + np.arange(n)) / n * cumulative[-1]
    # rounding may put the last tooth on the total itself
    return np.minimum(np.searchsorted(cumulative, comb, side="right"), np.flatnonzero(w)[-1])


def pareto_k(log_w: ArrayLike) -> float:
    """Shape k of the tail of the weights: variance finite below 0.5, not to be trusted above 0.7.

    Generalised Pareto fit (Zhang & Stephens, Technometrics 51, 316, 2009) of the min(n/5, 3
    sqrt(n)) largest weights, drawn towards 0.5 as ten samples would (Vehtari et al., arXiv
    1507.02646). NaN with fewer than five distinct weights in the tail.
    """
    w = np.sort(relative_weights(log_w))
    n_tail = math.ceil(min(w.size / 5, 3 * math.sqrt(w.size)))
    if n_tail >= w.size:
        return math.nan
    excess = w[-n_tail:] - w[-n_tail - 1]
    excess = excess[excess > 0]
    if excess.size < 5:
        return math.nan
    n, quartile = excess.size, excess[int(excess.size / 4 + 0.5) - 1]
    m = 30 + int(math.sqrt(n))
    theta = 1 / excess[-1] + (1 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))) / (3 * quartile)
    k = np.mean(np.log1p(-theta[:, None] * excess[None]), axis=1)
    log_likelihood = n * (np.log(-theta / k) - k - 1)
    posterior = np.exp(log_likelihood - logsumexp(log_likelihood))
    shape = np.mean(np.log1p(-np.sum(theta * posterior) * excess))
    return float((n * shape + 10 * 0.5) / (n + 10))
