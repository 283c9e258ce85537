"""Standard errors of whatever is computed from frames, by leaving out one independent chain after the other."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from jbg.interfaces import ConfigError

BLOCKS = 20  # of frames that are drawn independently, which then stand for chains


def chain_labels(chain: ArrayLike | None, n: int) -> np.ndarray:
    """Which chain each of ``n`` frames belongs to ``(n,)``, numbered from 0.

    ``chain`` are labels ``(n,)`` of any kind. None stands for frames drawn independently: they form blocks, up to
    twenty, frame after frame in turn.

    Raises:
        ConfigError: not one label for each frame.
    """
    if chain is None:
        return np.arange(n) % min(BLOCKS, max(n, 1))
    if np.shape(chain) != (n,):
        raise ConfigError(
            f"chain: expected one label for each of {n} frames, got {np.shape(chain)}"
        )
    return np.unique(np.asarray(chain), return_inverse=True)[1].reshape(n)


def jackknife_error(of: Callable[[np.ndarray], ArrayLike], chain: np.ndarray) -> np.ndarray:
    """Standard error of ``of(which frames, (n,) bool)``, leaving out one chain after the other.

    sqrt((K - 1) / K sum_k (f_k - mean f)^2) with f_k without chain k of K (Efron & Stein 1981,
    doi:10.1214/aos/1176345462), whatever the correlation within chains. NaN for a single chain, and where a value
    is not finite.

    Args:
        of: gives a number or an array.
        chain: of each frame, from `chain_labels`.
    """
    n = int(chain.max()) + 1
    found = np.array([of(chain != k) for k in range(n)], np.float64) if n > 1 else None
    if found is None:
        return np.full(np.shape(of(chain >= 0)), np.nan)
    with np.errstate(invalid="ignore"):
        off = found - found.mean(0)
        return np.sqrt((n - 1) / n * np.sum(off**2, axis=0))


def halves_of_chains(
    chain: ArrayLike, n: int, repeats: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of frame numbers, those of one random half of the chains and of the other, ``repeats`` times.

    Args:
        chain: labels ``(n,)``.
        n: number of frames.
        repeats: splits.
        seed: of the splits.

    Raises:
        ConfigError: fewer than two chains.
    """
    label = chain_labels(chain, n)
    n_chains = int(label.max(initial=0)) + 1
    if n_chains < 2:
        raise ConfigError(f"chain: expected two independent chains or more, got {n_chains}")
    rng, found = np.random.default_rng(seed), []
    for _ in range(repeats):
        first = np.isin(label, rng.permutation(n_chains)[: n_chains // 2])
        found.append((np.flatnonzero(first), np.flatnonzero(~first)))
    return found
