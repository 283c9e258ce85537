"""The value of the 2-Wasserstein loss that data give against data: what every value is to be read beside.

Two batches of one density have different means and covariances by chance, so W2^2 between them is not 0, and the
less so the smaller they are. Host code, float64. The loss itself is `losses.Wasserstein`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jbg.analysis.distances import frame_distances
from jbg.analysis.leave_one_out import halves_of_chains
from jbg.interfaces import ConfigError


class WassersteinFloor(NamedTuple):
    """W2^2 between two batches of data, nm^2: mean and standard deviation over ``repeats`` pairs of batches."""

    mean: float
    std: float
    batch: int
    repeats: int


def gaussian_w2(first: ArrayLike, second: ArrayLike) -> float:
    """W2^2 between the Gaussian fits of samples ``(n, D)`` and ``(m, D)``; Kim et al. 2023, Eqs. 6-8.

    |mu - nu|^2 + tr S + tr P - 2 tr (S P)^(1/2) with covariances divided by n - 1, which are not formed: the last
    trace is the sum of the singular values of the product of the centred samples. In the unit of the samples
    squared.

    Raises:
        ConfigError: fewer than two samples, or different features.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ConfigError(
            f"gaussian_w2: expected (n, D) and (m, D) with two rows or more each, got {a.shape} and {b.shape}"
        )
    mean_a, mean_b = a.mean(0), b.mean(0)
    a, b = (a - mean_a) / np.sqrt(len(a) - 1), (b - mean_b) / np.sqrt(len(b) - 1)
    value = np.sum((mean_a - mean_b) ** 2) + np.sum(a**2) + np.sum(b**2)
    a, b = (np.asarray(np.linalg.qr(x, mode="r")) if len(x) > x.shape[1] else x for x in (a, b))
    value -= 2 * np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float(max(value, 0.0))


def wasserstein_floor(
    frames: ArrayLike,
    atoms: ArrayLike,
    batch: int,
    *,
    chain: ArrayLike | None = None,
    repeats: int = 10,
    seed: int = 0,
) -> WassersteinFloor:
    """W2^2 of backbone distances between two disjoint batches of the same data.

    Args:
        frames: ``(n, atoms, 3)``, nm.
        atoms: numbers of the backbone atoms.
        batch: frames of each of the two, as in training.
        chain: label of each frame's chain ``(n,)``: the two batches then come from different chains, halved at
            random each time, and the floor holds what chains differ by. None: any frames, as training draws them.
        repeats: pairs of batches.
        seed: of the draws.

    Raises:
        ConfigError: too few frames, or a single chain.
    """
    frames = np.asarray(frames)
    n = len(frames)
    rng = np.random.default_rng(seed)
    if chain is None:
        parts = [np.array_split(rng.permutation(n), 2) for _ in range(repeats)]
    else:
        parts = halves_of_chains(chain, n, repeats, seed)
    if batch < 2 or min(len(part) for pair in parts for part in pair) < batch:
        raise ConfigError(
            f"wasserstein_floor: expected two disjoint batches of {batch} (2 or more) of the {n} frames: use a "
            "smaller batch"
        )
    found = [
        gaussian_w2(
            *(frame_distances(frames[rng.permutation(part)[:batch]], atoms) for part in pair)
        )
        for pair in parts
    ]
    std = float(np.std(found, ddof=1)) if repeats > 1 else float("nan")
    return WassersteinFloor(float(np.mean(found)), std, batch, repeats)
