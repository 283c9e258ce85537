"""Differences and profiles from the weights of `mbar`, with errors over independent replicas."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from jbg.analysis.free_energy import FreeEnergyDifference, Profile
from jbg.analysis.mbar import MbarWeights, solve_windows
from jbg.interfaces import ConfigError


def mbar_difference(weights: MbarWeights, in_a: ArrayLike, in_b: ArrayLike) -> FreeEnergyDifference:
    """F(B) - F(A) = -ln(weight in B / weight in A) in kT at tau, with an error over replicas.

    Args:
        weights: of the samples.
        in_a: whether each sample lies in A, ``(n, W, R)`` bool.
        in_b: the same for B.

    Returns:
        The difference; its standard error is that of the mean over replicas, its interval
        Student's. None with a reason where a replica has no sample in a state.
    """
    in_a, in_b = np.asarray(in_a, bool), np.asarray(in_b, bool)
    for name, state in (("first", in_a), ("second", in_b)):
        n_missing = int(np.count_nonzero(~state.any(axis=(0, 1))))
        if n_missing:
            return FreeEnergyDifference(
                None, None, None, f"{n_missing} replicas have no sample in the {name} state"
            )
    value = float(_log_share(weights.log_w, in_a) - _log_share(weights.log_w, in_b))
    of_replicas = replica_differences(weights, in_a, in_b)
    n = len(of_replicas)
    stderr = float(of_replicas.std(ddof=1) / math.sqrt(n))
    half = float(stats.t.ppf(0.975, n - 1)) * stderr
    return FreeEnergyDifference(value, stderr, (value - half, value + half))


def replica_differences(weights: MbarWeights, in_a: ArrayLike, in_b: ArrayLike) -> np.ndarray:
    """F(B) - F(A) of each replica by itself, ``(R,)``; infinite where it has no sample in a state."""
    log_w = weights.log_w_by_replica
    return np.array(
        [
            _log_share(log_w[..., r], np.asarray(in_a)[..., r])
            - _log_share(log_w[..., r], np.asarray(in_b)[..., r])
            for r in range(log_w.shape[-1])
        ]
    )


def _log_share(log_w: np.ndarray, inside: np.ndarray) -> float:
    return float(np.logaddexp.reduce(log_w[inside])) if inside.any() else -math.inf


def mbar_profile(weights: MbarWeights, values: ArrayLike, edges: ArrayLike) -> Profile:
    """Free energy along r by bin, F_i = -ln(P_i / width_i) in kT at tau, P_i the share of bin i.

    P is normalised over all samples, as in :func:`weighted_profile`. F is NaN in a bin without a
    sample; its error, of the mean over replicas, is NaN where a replica has none.
    """
    values, edges = np.asarray(values, np.float64), np.asarray(edges, np.float64)
    if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise ConfigError("mbar: edges of a profile must rise")

    def free_energy(values: np.ndarray, log_w: np.ndarray) -> np.ndarray:
        counts, _ = np.histogram(values, edges, weights=np.exp(log_w - log_w.max()))
        log_total = np.logaddexp.reduce(log_w.ravel()) - log_w.max()
        with np.errstate(divide="ignore"):
            f = log_total + np.log(np.diff(edges)) - np.log(counts)
        return np.where(counts > 0, f, np.nan)

    replicas = np.stack(
        [
            free_energy(values[..., r], weights.log_w_by_replica[..., r])
            for r in range(values.shape[-1])
        ]
    )
    stderr = replicas.std(axis=0, ddof=1) / math.sqrt(len(replicas))
    return Profile(edges, free_energy(values, weights.log_w), stderr)


def umbrella_drift(
    values: ArrayLike,
    in_a: ArrayLike,
    in_b: ArrayLike,
    centres: ArrayLike,
    force_constant: float,
    *,
    tau: float,
) -> float:
    """F(B) - F(A) of the second half of the samples minus that of the first, replicas pooled, kT.

    Its standard error is twice that of the difference from all samples.

    Args:
        values: of the collective variable, ``(n, W, R)``, in order of time.
        in_a: whether each sample lies in A, ``(n, W, R)`` bool.
        in_b: the same for B.
        centres, force_constant, tau: as for `mbar.umbrella_weights`.
    """
    values = np.asarray(values, np.float64)
    half = len(values) // 2
    found = []
    for part in (slice(0, half), slice(half, 2 * half)):
        by_window = values[part].transpose(1, 2, 0).reshape(values.shape[1], -1)
        log_w = solve_windows(by_window, np.asarray(centres, np.float64), force_constant, tau)[1]
        states = [np.asarray(s, bool)[part].transpose(1, 2, 0).ravel() for s in (in_a, in_b)]
        found.append(_log_share(log_w, states[0]) - _log_share(log_w, states[1]))
    return found[1] - found[0]
