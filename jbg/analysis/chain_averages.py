"""Averages over independent chains, with the errors that their independence gives."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit


class ChainAverages(NamedTuple):
    """Errors are standard errors; nan from a single chain, that of the variance also from two."""

    mean: float
    mean_stderr: float
    variance: float
    variance_stderr: float
    drift: float  # mean of the second half less that of the first; nan of a single frame
    drift_stderr: float


def chain_averages(values: ArrayLike) -> ChainAverages:
    """Mean, variance and drift of ``values`` (n_chains, n_frames), whatever the correlation within a chain.

    Mean and drift are averages of what every chain gives by itself, their errors the standard deviation of these
    over the square root of their number. The variance is about the common mean, whose own error squared is
    added back: the mean variance within chains plus the variance between their means. Chains share that mean, so
    its error is the jackknife's over chains. All errors have one degree of freedom less than there are chains.
    """
    values = np.asarray(values, float)
    half = values.shape[1] // 2
    means, within = values.mean(1), values.var(1)
    mean, mean_error = _average(means)
    drift = (np.nan, np.nan)
    if half:
        drift = _average(values[:, -half:].mean(1) - values[:, :half].mean(1))
    return ChainAverages(
        mean, mean_error, _variance(means, within), _jackknife_error(means, within), *drift
    )


def apart_by_chance(difference: float, stderr: float, n_chains: int, level: float) -> bool:
    """Whether a mean over independent chains can differ so much from its expectation by chance.

    Student's t of n_chains - 1 degrees of freedom, two-sided; true where there is no error.

    Args:
        difference: the mean minus its expectation.
        stderr: standard error of the mean; not finite where it is unknown.
        n_chains: number of chains; fewer than two give no error.
        level: probability of a false alarm, in (0, 1).
    """
    if n_chains < 2 or not np.isfinite(stderr):
        return True
    return abs(difference) <= stdtrit(n_chains - 1, 1 - level / 2) * stderr


def _variance(means: np.ndarray, within: np.ndarray) -> float:
    return float(within.mean() + (means.var(ddof=1) if len(means) > 1 else 0.0))


def _jackknife_error(means: np.ndarray, within: np.ndarray) -> float:
    n = len(means)
    if n < 3:  # of two chains, one left alone does not know the variance between them
        return np.nan
    # the variance without chain i, but for what is the same for all i
    off = means - means.mean()
    between = -(off**2) * n / ((n - 1) * (n - 2))
    return float(np.sqrt((n - 1) * np.var(between - within / (n - 1))))


def _average(of_chains: np.ndarray) -> tuple[float, float]:
    n = len(of_chains)
    error = of_chains.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
    return float(of_chains.mean()), float(error)
