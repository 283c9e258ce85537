"""The low-energy fraction of Noe et al. 2019, Fig. S1: how much of what a flow makes could be data."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from jbg.interfaces import ConfigError

QUANTILE = 0.99


class LowEnergyFraction(NamedTuple):
    """Share of samples, with its standard error, below an energy in kT."""

    value: float
    stderr: float
    threshold: float


def low_energy_fraction(
    u_generated: ArrayLike, u_data: ArrayLike, *, quantile: float = QUANTILE
) -> LowEnergyFraction:
    """Share of the generated energies at or below a quantile of those of the training data.

    A perfect generator has ``quantile`` itself, one that narrows the target has more. An energy that is
    not finite is not low. It says nothing of states that are missing.

    Args:
        u_generated: true reduced energies of independent generated samples, ``(n,)``.
        u_data: reduced energies of the data, ``(n_data,)``, finite.
        quantile: in (0, 1).

    Returns:
        The share; its error is binomial, with that of the quantile (data taken as independent) added.

    Raises:
        ConfigError: no samples or no finite data, or a quantile outside (0, 1).
    """
    u, data = np.asarray(u_generated, np.float64), np.asarray(u_data, np.float64)
    _check("low_energy_fraction", u, quantile)
    if data.ndim != 1 or data.size == 0 or not np.isfinite(data).all():
        raise ConfigError(
            "low_energy_fraction: u_data must be (n_data,) finite energies; drop the rest"
        )
    rank_error = math.sqrt(quantile * (1 - quantile) / data.size)
    around = np.clip(quantile + rank_error * np.array([-1.0, 1.0]), 0.0, 1.0)
    threshold, low, high = np.quantile(data, [quantile, *around])
    found = _share_below(u, float(threshold))
    from_quantile = (np.mean(u <= high) - np.mean(u <= low)) / 2
    return found._replace(stderr=math.hypot(found.stderr, float(from_quantile)))


def latent_low_energy_fraction(
    z: ArrayLike, *, tau: float = 1.0, quantile: float = QUANTILE
) -> LowEnergyFraction:
    """Share of encoded data whose latent energy |z|^2 / (2 tau) is at or below that quantile of the base.

    The base is normal with variance tau in d dimensions, and twice its energy in kT is chi-square with d
    degrees of freedom.

    Args:
        z: data mapped to the latent space, batch first ``(n, d)``; variables with a normal base only.
        tau: variance of the base, the relative temperature.
        quantile: in (0, 1).

    Returns:
        The share with its binomial error (data taken as independent); the threshold is exact.

    Raises:
        ConfigError: z is not ``(n, d)``, tau <= 0, or a quantile outside (0, 1).
    """
    z = np.asarray(z, np.float64)
    if z.ndim != 2 or z.shape[1] == 0 or not tau > 0:
        raise ConfigError(
            f"latent_low_energy_fraction: needs z (n, d) and tau > 0, got {z.shape} and tau={tau}"
        )
    energy = 0.5 * np.sum(z**2, axis=1) / tau
    _check("latent_low_energy_fraction", energy, quantile)
    return _share_below(energy, float(0.5 * stats.chi2.ppf(quantile, z.shape[1])))


def _check(name: str, u: np.ndarray, quantile: float) -> None:
    if u.ndim != 1 or u.size == 0 or not 0 < quantile < 1:
        raise ConfigError(
            f"{name}: needs samples (n,) and a quantile in (0, 1), got {u.shape} and {quantile}"
        )


def _share_below(u: np.ndarray, threshold: float) -> LowEnergyFraction:
    share = float(np.mean(np.isfinite(u) & (u <= threshold)))
    # Agresti and Coull's count: no share, not even 0 or 1, is known without error
    padded = (share * u.size + 2) / (u.size + 4)
    return LowEnergyFraction(share, math.sqrt(padded * (1 - padded) / (u.size + 4)), threshold)
