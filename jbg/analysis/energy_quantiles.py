"""Energies of generated frames by quantiles, with the share that clashes: robust where means are not.

A handful of overlapping atoms makes a mean of 1e10, so Kim et al. 2023 (Table 1) first drop every sample above the
median, which hides how many clash. Both are here. Energies are reduced, in kT. Frames without a finite energy
count as infinitely high.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jbg.analysis.leave_one_out import chain_labels, jackknife_error
from jbg.interfaces import ConfigError

QUANTILES = (0.025, 0.25, 0.5, 0.75, 0.975)
CLASH = 50.0  # kT above the 97.5 % quantile of the reference, from which on a frame clashes


class EnergyQuantiles(NamedTuple):
    """Quantiles 2.5, 25, 50, 75 and 97.5 %, and the paper's statistic, kT; infinite where frames have no energy.

    ``lower_mean`` and ``lower_std`` are of the frames at or below the median alone.
    """

    quantiles: np.ndarray  # (5,)
    quantiles_stderr: np.ndarray
    lower_mean: float
    lower_mean_stderr: float
    lower_std: float
    lower_std_stderr: float
    n: int
    n_non_finite: int


class EnergyShares(NamedTuple):
    """Shares of the frames against a reference: ``clashing`` above ``limit`` (kT), ``usual`` in its central 95 %.

    Standard errors behind each share.
    """

    clashing: float
    clashing_stderr: float
    usual: float
    usual_stderr: float
    limit: float


def energy_quantiles(u: ArrayLike, *, chain: ArrayLike | None = None) -> EnergyQuantiles:
    """Quantiles of energies ``(n,)`` with the mean and standard deviation below the median (Kim et al. 2023).

    Each quantile q is the smallest energy that a share q of the frames does not exceed. Errors are the jackknife's
    over ``chain`` labels ``(n,)``, or over twenty blocks of independent frames for None.

    Raises:
        ConfigError: no energies.
    """
    u, n_non_finite = _ordered(u)
    label = chain_labels(chain, len(u))
    error = jackknife_error(lambda keep: _statistics(u[keep]), label)
    found = _statistics(u)
    mean, std = (float(value) for value in found[5:])
    return EnergyQuantiles(
        found[:5], error[:5], mean, float(error[5]), std, float(error[6]), len(u), n_non_finite
    )


def energy_shares(
    u: ArrayLike, reference: ArrayLike, *, chain: ArrayLike | None = None, above: float = CLASH
) -> EnergyShares:
    """How many frames clash, and how many have an energy as the reference has, where 95 % would be perfect.

    A frame clashes if u exceeds the 97.5 % quantile of the reference by more than ``above``, or is not finite.

    Args:
        u: energies of the frames ``(n,)``, kT.
        reference: energies of the ensemble that the model aims at ``(m,)``: of rebuilt simulated frames for a
            likelihood, of the density in the model's own coordinates for a training by energy.
        chain: as for `energy_quantiles`.
        above: margin in kT.

    Raises:
        ConfigError: no energies.
    """
    (u, _), (reference, _) = _ordered(u), _ordered(reference)
    low, high = (_quantile(np.sort(reference), q) for q in (QUANTILES[0], QUANTILES[-1]))
    limit = high + above
    known = np.stack([u > limit, (u >= low) & (u <= high) & np.isfinite(u)]).astype(float)
    values = known.mean(1)
    error = jackknife_error(lambda keep: known[:, keep].mean(1), chain_labels(chain, len(u)))
    clashing, usual = ((float(v), float(e)) for v, e in zip(values, error, strict=True))
    return EnergyShares(*clashing, *usual, float(limit))


def _ordered(u: ArrayLike) -> tuple[np.ndarray, int]:
    """Energies in float64, infinite where they are not finite, and how many are not."""
    u = np.asarray(u, np.float64)
    if u.ndim != 1 or not len(u):
        raise ConfigError(f"energies: expected one for each frame (n,), got {u.shape}")
    finite = np.isfinite(u)
    return np.where(finite, u, np.inf), int(np.sum(~finite))


def _quantile(ordered: np.ndarray, q: float) -> float:
    return ordered[max(0, int(np.ceil(q * len(ordered) - 1e-9)) - 1)]


def _statistics(u: np.ndarray) -> np.ndarray:
    """The five quantiles, and mean and standard deviation of what does not exceed the median."""
    ordered = np.sort(u)
    quantiles = [_quantile(ordered, q) for q in QUANTILES]
    lower = ordered[ordered <= quantiles[2]]
    with np.errstate(invalid="ignore"):
        return np.array([*quantiles, lower.mean(), lower.std()])
