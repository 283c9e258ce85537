"""Free energy, energy, entropy and heat capacity at other temperatures, by reweighting samples of one.

Samples of a known density q with reduced energies u (kT at the temperature of the run) have at tau = T / T_run the
weights w = exp(-u / tau) / q. In kT of the run,

    U(tau) = <u>,   C(tau) = (<u^2> - <u>^2) / tau^2 in k_B,   F(tau) = tau (U(1) - ln Z(tau) / Z(1)),
    tau S(tau) = U(tau) - F(tau):

the entropy is counted from that of the run's temperature, since a classical molecule has no absolute one, and all
numbers are those of the configurations alone: the momenta add 3 N / 2 to C. Between two states A and B differences
need no such zero: F_B - F_A = -tau ln(sum of w in B / sum of w in A).

Each mean has the interval of `weighted_mean`. Sums of several have the error of their joint spread, times the
largest factor by which heavy weights that were not drawn widen the error of a part of them.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jbg.analysis.free_energy import (
    NORMAL_95,
    FreeEnergyDifference,
    free_energy_difference,
)
from jbg.analysis.weighted_mean import WeightedMean, weighted_mean
from jbg.interfaces import ConfigError
from jbg.reweighting import drop_non_finite, effective_samples, relative_weights

Estimate = FreeEnergyDifference  # value, stderr and interval95, or None with a reason


class Thermodynamics(NamedTuple):
    """Numbers of all configurations at tau, in kT of the run; the heat capacity is in k_B."""

    n_effective: float
    free_energy: Estimate
    energy: Estimate
    entropy_term: Estimate
    heat_capacity: Estimate


class StateDifference(NamedTuple):
    """Numbers of state B less those of A at tau, in kT of the run."""

    n_effective: tuple[float, float]
    free_energy: Estimate
    energy: Estimate
    entropy_term: Estimate


def at_temperature(log_w: ArrayLike, u: ArrayLike, tau: float, *, seed: int = 0) -> Thermodynamics:
    """All configurations at tau.

    Args:
        log_w: log-weights at tau = 1, ``(n,)``, not finite = weight zero.
        u: reduced energies ``(n,)``.
        tau: temperature over that of the run.
        seed: of the intervals.

    Raises:
        ConfigError: arrays that do not fit, or a temperature that is not positive.
    """
    own, there, u = _weights(log_w, u, tau)
    energy, energy_own = (weighted_mean(u, each, seed=seed) for each in (there, own))
    if energy.value is None or energy_own.value is None:
        reason = energy.reason or f"at the temperature of the run: {energy_own.reason}"
        return Thermodynamics(energy.n_effective, *(Estimate(None, None, None, reason),) * 4)
    squares = weighted_mean((u - energy.value) ** 2, there, seed=seed)
    middle, power = energy_own.value, 1 / tau - 1
    shares = [relative_weights(each) for each in (own, there)]
    shares = [w / w.sum() for w in shares]
    factor = np.exp(np.where(shares[0] > 0, -power * (u - middle), -np.inf))
    ratio = weighted_mean(factor, own, seed=seed)
    if ratio.value is None:
        free, heat = Estimate(None, None, None, ratio.reason), _scaled(squares, tau**-2)
        return Thermodynamics(energy.n_effective, free, _estimate(energy), free, heat)
    log_z = math.log(ratio.value) - power * middle
    spread_own = shares[0] * (u - energy_own.value)
    spread_z = shares[0] * (factor / ratio.value - 1)
    spread_u = shares[1] * (u - energy.value)
    parts = ((energy_own, spread_own), (energy, spread_u), (ratio, ratio.value * spread_z))
    widened = _widened(parts)
    spread_free = tau * (spread_own - spread_z)
    free = tau * (energy_own.value - log_z)
    return Thermodynamics(
        n_effective=energy.n_effective,
        free_energy=_joint(free, spread_free, widened),
        energy=_estimate(energy),
        entropy_term=_joint(energy.value - free, spread_u - spread_free, widened),
        heat_capacity=_scaled(squares, tau**-2),
    )


def difference_at_temperature(
    log_w: ArrayLike,
    u: ArrayLike,
    states: tuple[np.ndarray, np.ndarray],
    tau: float,
    *,
    seed: int = 0,
) -> StateDifference:
    """State B less state A at tau.

    Args:
        log_w, u, tau, seed: as for `at_temperature`.
        states: which samples lie in A, and which in B, ``(n,)`` bool each.

    Raises:
        ConfigError: arrays that do not fit, or a temperature that is not positive.
    """
    _, there, u = _weights(log_w, u, tau)
    n_effective = tuple(effective_samples(there[inside]) for inside in states)
    free = free_energy_difference(there, *states, seed=seed)
    means = [
        weighted_mean(u[inside], there[inside], seed=seed) for inside in states if inside.any()
    ]
    reason = free.reason or next((m.reason for m in means if m.reason), None)
    if reason or free.value is None or free.stderr is None:
        missing = Estimate(None, None, None, reason)
        return StateDifference(
            (n_effective[0], n_effective[1]), _scaled(free, tau), missing, missing
        )
    spreads, joint = [], np.zeros(u.size)
    spread_free = np.zeros(u.size)
    for sign, inside, mean in zip((-1, 1), states, means, strict=True):
        w = relative_weights(there[inside])
        w, centre = w / w.sum(), float(mean.value or 0.0)
        spreads.append((mean, w * (u[inside] - centre)))
        joint[inside] += sign * w * (u[inside] - centre)
        spread_free[inside] -= sign * w
    energy = float(means[1].value or 0.0) - float(means[0].value or 0.0)
    widened = max(_widened(spreads), float(free.stderr) / _root(spread_free), 1.0)
    return StateDifference(
        n_effective=(n_effective[0], n_effective[1]),
        free_energy=_scaled(free, tau),
        energy=_joint(energy, joint, _widened(spreads)),
        entropy_term=_joint(energy - tau * free.value, joint - tau * spread_free, widened),
    )


def _weights(
    log_w: ArrayLike, u: ArrayLike, tau: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-weights at tau = 1 and at tau, and energies, zero where there is no weight."""
    log_w, u = np.asarray(log_w, np.float64), np.asarray(u, np.float64)
    if log_w.ndim != 1 or log_w.shape != u.shape:
        raise ConfigError(
            f"temperatures: log_w and u must both be (n,), got {log_w.shape} and {u.shape}"
        )
    if not (math.isfinite(tau) and tau > 0):
        raise ConfigError(f"temperatures: tau must be positive, got {tau}")
    own, _ = drop_non_finite(log_w)
    u = np.where(np.isfinite(own), u, 0.0)
    return own, own + u * (1 - 1 / tau), u


def _estimate(mean: WeightedMean) -> Estimate:
    return Estimate(mean.value, mean.stderr, mean.interval95, mean.reason)


def _scaled(found: WeightedMean | Estimate, factor: float) -> Estimate:
    if found.value is None or found.stderr is None or found.interval95 is None:
        return Estimate(None, None, None, found.reason)
    low, high = (factor * end for end in found.interval95)
    return Estimate(float(factor * found.value), float(factor * found.stderr), (low, high))


def _joint(value: float, spread: np.ndarray, widened: float) -> Estimate:
    stderr = widened * _root(spread)
    half = NORMAL_95 * stderr
    return Estimate(float(value), stderr, (float(value - half), float(value + half)))


def _root(spread: np.ndarray) -> float:
    return float(np.sqrt(np.sum(spread**2)))


def _widened(parts) -> float:
    """The largest ratio of a mean's error to that by the spread of its samples alone; at least 1."""
    ratios = [mean.stderr / _root(spread) for mean, spread in parts if _root(spread) > 0]
    return float(max([1.0, *ratios]))
