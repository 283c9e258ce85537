"""How far a free-energy profile is from the exact one: everywhere between two bounds, and at the barrier."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jbg.interfaces import ConfigError


class ProfileError(NamedTuple):
    """Of the bins between the bounds, in kT; the numbers are NaN where no bin has a value."""

    largest: float  # |F - exact|
    at: float  # the coordinate where it is
    stderr: float  # of F there
    rms: float  # of F - exact
    rms_stderr: float  # root mean square of the standard errors
    n_missing: int  # bins between the bounds without a value


class Barrier(NamedTuple):
    """F(top) - F(minimum) along a profile, in kT."""

    value: float
    stderr: float
    reference: float


def profile_error(
    centres: ArrayLike,
    free_energy: ArrayLike,
    stderr: ArrayLike,
    exact: ArrayLike,
    bounds: tuple[float, float],
) -> ProfileError:
    """The error of a profile over the bins whose centres lie between ``bounds``.

    Nothing is fitted: both profiles are -ln of probabilities, with no free offset. A bin without value is no
    error but counted; a profile is known between its bounds only where none is missing.

    Args:
        centres, free_energy, stderr, exact: ``(n_bins,)``; energies in kT, NaN where unknown.
        bounds: low, high.

    Raises:
        ConfigError: no bin between the bounds.
    """
    centres, f, s, e = (np.asarray(a, np.float64) for a in (centres, free_energy, stderr, exact))
    inside = (centres >= bounds[0]) & (centres <= bounds[1])
    if not inside.any():
        raise ConfigError(f"profile_error: no bin lies between {bounds[0]} and {bounds[1]}")
    known = inside & np.isfinite(f)
    n_missing = int(inside.sum() - known.sum())
    if not known.any():
        return ProfileError(np.nan, np.nan, np.nan, np.nan, np.nan, n_missing)
    off = np.where(known, f - e, 0.0)
    worst = int(np.argmax(np.abs(off)))
    return ProfileError(
        largest=float(abs(off[worst])),
        at=float(centres[worst]),
        stderr=float(s[worst]),
        rms=float(np.sqrt(np.mean(off[known] ** 2))),
        rms_stderr=float(np.sqrt(np.nanmean(s[known] ** 2)))
        if np.isfinite(s[known]).any()
        else np.nan,
        n_missing=n_missing,
    )


def barrier(free_energy: ArrayLike, stderr: ArrayLike, exact: ArrayLike) -> Barrier:
    """Height of the barrier between the two lowest minima of the exact profile, from the lowest.

    The bins of minimum and top are those of ``exact``: noise cannot choose them.

    Args:
        free_energy, stderr, exact: ``(n_bins,)``, in kT.

    Raises:
        ConfigError: ``exact`` has fewer than two minima.
    """
    f, s, e = (np.asarray(a, np.float64) for a in (free_energy, stderr, exact))
    minima = 1 + np.flatnonzero((e[1:-1] < e[:-2]) & (e[1:-1] < e[2:]))
    if len(minima) < 2:
        raise ConfigError("barrier: the exact profile must have two minima; widen its range")
    lowest, second = minima[np.argsort(e[minima])[:2]]
    low, high = sorted((lowest, second))
    top = low + int(np.argmax(e[low : high + 1]))
    return Barrier(
        value=float(f[top] - f[lowest]),
        stderr=float(np.hypot(s[top], s[lowest])),
        reference=float(e[top] - e[lowest]),
    )
