"""Free energy along a coordinate by a weighted Gaussian kernel density, bandwidth by cross-validation.

Samples are spread linearly over the two nearest points of a grid much finer than the bandwidth, and the
grid is convolved with the kernel: the cost hardly grows with the number of samples. A kernel rounds what is
narrower than itself: the profile is off by h^2 (F'' - F'^2) / 2 to first order, F in kT.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import convolve1d

from jbg.analysis.free_energy import MIN_BIN_WEIGHT, N_BLOCKS
from jbg.interfaces import ConfigError
from jbg.reweighting import relative_weights

_PER_BANDWIDTH = 10  # grid points
_REACH = 7.0  # of the kernel, in bandwidths
_FLOOR = 1e-12  # of the peak: a single far sample must not decide the bandwidth


class KernelProfile(NamedTuple):
    """-ln p along a coordinate, in kT, at points; NaN where there is too little."""

    grid: np.ndarray  # (n_points,)
    free_energy: np.ndarray  # (n_points,)
    stderr: np.ndarray  # (n_points,)
    bandwidth: float


def kernel_profile(
    values: ArrayLike,
    log_w: ArrayLike,
    grid: ArrayLike,
    *,
    seed: int,
    bandwidth: float | None = None,
    n_bootstrap: int = 200,
) -> KernelProfile:
    """F(s) = -ln p(s) in kT, p(s) = sum_i w_i N(s; s_i, h^2) / sum_i w_i.

    p is normalised over all samples, those outside ``grid`` included, as in `weighted_profile`. The error
    is a bootstrap over blocks at fixed bandwidth; the bias of the kernel is no part of it.

    Args:
        values: the coordinate of each independent sample, ``(n,)``.
        log_w: log-weights ``(n,)``; zeros for an unweighted profile.
        grid: where F is wanted, ``(n_points,)``, rising.
        seed: of the folds and the bootstrap.
        bandwidth: h in the unit of the coordinate; None for `cross_validated_bandwidth`.
        n_bootstrap: replicas.

    Returns:
        F is NaN where the kernel holds the weight of fewer than MIN_BIN_WEIGHT samples; its error is NaN
        also where more than one replica in twenty is empty.

    Raises:
        ConfigError: arrays that do not fit, a bandwidth that is not > 0, or no weight within the grid.
    """
    values, w = _weighted(values, log_w)
    grid = _checked(grid, bandwidth)
    bounds = (float(grid[0]), float(grid[-1]))
    if bandwidth is None:
        log_w = np.log(w, where=w > 0, out=np.full(w.shape, -np.inf))
        bandwidth = cross_validated_bandwidth(values, log_w, seed=seed, bounds=bounds)
    rng = np.random.default_rng(seed)
    n_blocks = min(w.size, N_BLOCKS)
    block = rng.permutation(np.arange(w.size) % n_blocks)
    points, blocks = _spread(values, w, block, n_blocks, bandwidth, bounds)
    totals = np.bincount(block, w, minlength=n_blocks)

    def free_energy(times: np.ndarray) -> np.ndarray:
        density = _smooth(times @ blocks, bandwidth) / (times @ totals)[:, None]
        with np.errstate(divide="ignore"):
            log_p = np.log(density)
        return -np.stack([_interpolate(grid, points, row) for row in log_p])

    value = free_energy(np.ones((1, n_blocks)))[0]
    # a kernel holds as many samples as a bin of width 2 sqrt(pi) h
    held = np.exp(-value) * 2 * math.sqrt(math.pi) * bandwidth * w.size >= MIN_BIN_WEIGHT
    times = rng.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=n_bootstrap)
    replicas = free_energy(times.astype(np.float64))
    seen = np.isfinite(replicas)
    firm = held & (seen.mean(axis=0) >= 0.95)
    stderr = np.full(grid.size, np.nan)
    stderr[firm] = np.nanstd(np.where(seen, replicas, np.nan)[:, firm], axis=0, ddof=1)
    return KernelProfile(grid, np.where(held, value, np.nan), stderr, float(bandwidth))


def _checked(grid: ArrayLike, bandwidth: float | None) -> np.ndarray:
    grid = np.asarray(grid, np.float64)
    if grid.ndim != 1 or grid.size < 2 or not np.all(np.diff(grid) > 0):
        raise ConfigError("kernel_profile: grid must be (n_points,), two or more, rising")
    if bandwidth is not None and not (math.isfinite(bandwidth) and bandwidth > 0):
        raise ConfigError(
            f"kernel_profile: bandwidth must be > 0, got {bandwidth}; or leave it out"
        )
    return grid


def silverman_bandwidth(values: ArrayLike, log_w: ArrayLike) -> float:
    """0.9 min(standard deviation, interquartile range / 1.34) n^(-1/5), all weighted, n Kish's number.

    Raises:
        ConfigError: no weight, or samples without spread.
    """
    values, w = _weighted(values, log_w)
    mean = np.average(values, weights=w)
    std = math.sqrt(np.average((values - mean) ** 2, weights=w))
    order = np.argsort(values)
    rank = np.cumsum(w[order]) / w.sum()
    quartiles = values[order][np.searchsorted(rank, [0.25, 0.75])]
    spread = min(std, (quartiles[1] - quartiles[0]) / 1.34) or std
    if not spread > 0:
        raise ConfigError("silverman_bandwidth: all samples have one value; give a bandwidth")
    return 0.9 * spread * float(w.sum() ** 2 / np.sum(w**2)) ** -0.2


def cross_validated_bandwidth(
    values: ArrayLike,
    log_w: ArrayLike,
    *,
    seed: int,
    bounds: tuple[float, float] | None = None,
    n_folds: int = 10,
    n_candidates: int = 31,
) -> float:
    """The bandwidth of the highest weighted log-likelihood of left-out samples, n_folds-fold.

    Score = sum_i w_i ln p_{-k(i)}(s_i), with p of the folds other than that of sample i. Candidates are spaced
    evenly in ln h from 0.1 to 10 times Silverman's. Densities below 1e-12 of the peak count as that.

    Args:
        values: the coordinate of each independent sample, ``(n,)``.
        log_w: log-weights ``(n,)``.
        seed: of the folds.
        bounds: samples outside are left out; None for all.
        n_folds: at least 2. n_candidates: at least 2.

    Raises:
        ConfigError: arrays that do not fit, or too few samples with weight.
    """
    values, w = _weighted(values, log_w)
    bounds = (float(values.min()), float(values.max())) if bounds is None else bounds
    inside = (values >= bounds[0]) & (values <= bounds[1]) & (w > 0)
    values, w = values[inside], w[inside]
    if min(n_folds, n_candidates) < 2 or values.size < n_folds:
        raise ConfigError(
            f"cross_validated_bandwidth: {values.size} weighted samples within {bounds} for {n_folds} folds;"
            " give more samples or a bandwidth"
        )
    silverman = silverman_bandwidth(values, np.log(w))
    fold = np.random.default_rng(seed).permutation(np.arange(values.size) % n_folds)

    def score(h: float) -> float:
        _, folds = _spread(values, w, fold, n_folds, h, bounds)
        others = folds.sum(axis=0) - folds
        weight = w.sum() - np.bincount(fold, w, minlength=n_folds)
        if np.any(weight <= 0):
            return -math.inf
        density = _smooth(others, h) / weight[:, None]
        return float(np.sum(folds * np.log(np.maximum(density, _FLOOR * density.max()))))

    candidates = silverman * np.geomspace(0.1, 10.0, n_candidates)
    return float(candidates[np.argmax([score(h) for h in candidates])])


def _weighted(values: ArrayLike, log_w: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The samples, and their weights: zero where the coordinate is not finite."""
    values, log_w = np.asarray(values, np.float64), np.asarray(log_w, np.float64)
    if values.ndim != 1 or values.shape != log_w.shape:
        raise ConfigError(
            f"kernel density: values and log_w must be (n,) each, got {values.shape} and {log_w.shape}"
        )
    known = np.isfinite(values)
    w = relative_weights(np.where(known, log_w, -np.inf))
    if not w.any():
        raise ConfigError("kernel density: no sample has a weight")
    return np.where(known, values, values[np.argmax(w)]), w


def _spread(
    values: np.ndarray,
    w: np.ndarray,
    group: np.ndarray,
    n_groups: int,
    bandwidth: float,
    bounds: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Weights on a fine grid around ``bounds``: points ``(m,)``, weights ``(n_groups, m)``."""
    spacing = bandwidth / _PER_BANDWIDTH
    low, high = bounds[0] - _REACH * bandwidth, bounds[1] + _REACH * bandwidth
    m = math.ceil((high - low) / spacing) + 2
    place = (values - low) / spacing
    near = (place >= 0) & (place < m - 1)
    place, w, group = place[near], w[near], group[near]
    left = place.astype(np.int64)
    share = place - left
    flat = group * m + left
    sums = np.bincount(flat, w * (1 - share), minlength=n_groups * m)
    sums += np.bincount(flat + 1, w * share, minlength=n_groups * m)
    return low + spacing * np.arange(m), sums.reshape(n_groups, m)


def _smooth(weights: np.ndarray, bandwidth: float) -> np.ndarray:
    """Rows convolved with the kernel: a density per unit of the coordinate."""
    n = round(_REACH * _PER_BANDWIDTH)
    kernel = np.exp(-0.5 * (np.arange(-n, n + 1) / _PER_BANDWIDTH) ** 2)
    kernel /= math.sqrt(2 * math.pi) * bandwidth
    return convolve1d(weights, kernel, axis=-1, mode="constant")


def _interpolate(grid: np.ndarray, points: np.ndarray, log_p: np.ndarray) -> np.ndarray:
    """ln p at ``grid``; -inf where either neighbour is."""
    lowest = -1e6  # np.interp makes NaN of infinities
    found = np.interp(grid, points, np.maximum(log_p, lowest))
    return np.where(found < -1e3, -np.inf, found)
