"""Averages over independent chains, with the errors that their independence gives."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class ChainAverages(NamedTuple):
    """Errors are standard errors; nan from a single chain."""

    mean: float
    mean_stderr: float
    variance: float
    variance_stderr: float
    drift: float  # mean of the second half less that of the first; nan of a single frame
    drift_stderr: float


def chain_averages(values: ArrayLike) -> ChainAverages:
    """Mean, variance and drift of ``values`` (n_chains, n_frames), whatever the correlation within a chain.

    Each is the average of what every chain gives by itself, and its error the standard deviation of these over
    the square root of their number. The variance is about the common mean, whose own error is added back.
    """
    values = np.asarray(values, float)
    half = values.shape[1] // 2
    mean, mean_error = _average(values.mean(1))
    variance, variance_error = _average(((values - mean) ** 2).mean(1))
    drift = (np.nan, np.nan)
    if half:
        drift = _average(values[:, -half:].mean(1) - values[:, :half].mean(1))
    return ChainAverages(
        mean, mean_error, variance + np.nan_to_num(mean_error) ** 2, variance_error, *drift
    )


def _average(of_chains: np.ndarray) -> tuple[float, float]:
    n = len(of_chains)
    error = of_chains.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
    return float(of_chains.mean()), float(error)
