"""Two-dimensional maps of an ensemble: principal and time-lagged independent components of its torsions.

Host code, float64, batch first. A projection is fitted to the simulation and applied to both ensembles, so that
their maps share the axes (`map_overlap` compares them).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jbg.analysis.leave_one_out import chain_labels
from jbg.interfaces import ConfigError

KEPT = 1e-6  # of the largest variance, below which a direction is left out of TICA


class Projection(NamedTuple):
    """(features - mean) @ components. ``values`` are the variances of PCA, or the autocorrelations of TICA."""

    mean: np.ndarray  # (features,)
    components: np.ndarray  # (features, n)
    values: np.ndarray  # (n,)

    def of(self, features: ArrayLike) -> np.ndarray:
        """Features ``(n, features)`` on the map ``(n, components)``."""
        return (np.asarray(features, np.float64) - self.mean) @ self.components


def torsion_features(angles: ArrayLike) -> np.ndarray:
    """Cosines and then sines ``(n, 2 m)`` of torsions ``(n, m)`` in radians."""
    angles = np.asarray(angles, np.float64)
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)


def fit_pca(features: ArrayLike, *, n: int = 2) -> Projection:
    """The ``n`` directions of largest variance of features ``(frames, features)``, widest first.

    Each with its largest entry positive; variances are divided by frames - 1.

    Raises:
        ConfigError: fewer than two frames, or fewer features than ``n``.
    """
    x = _checked(features, n, "fit_pca")
    mean = x.mean(0)
    values, vectors = np.linalg.eigh(np.cov(x.T).reshape(x.shape[1], -1))
    return Projection(mean, _signed(vectors[:, ::-1][:, :n]), values[::-1][:n])


def fit_tica(features: ArrayLike, chain: ArrayLike, lag: int, *, n: int = 2) -> Projection:
    """The ``n`` slowest directions of features ``(frames, features)`` by time-lagged independent components.

    Solves C_lag v = lambda C_0 v with the reversible estimator over pairs of frames ``lag`` apart in one chain,

        C_0 = (X^T X + Y^T Y) / 2N,    C_lag = (X^T Y + Y^T X) / 2N,

    X the earlier and Y the later frames less their common mean (Perez-Hernandez et al. 2013,
    doi:10.1063/1.4811489). Directions of less than 1e-6 of the largest variance are left out. The
    projected data have variance 1. `implied_timescales` gives the relaxation time of each component, which grows
    with ``lag`` until that is long enough.

    Args:
        features: in order of time within each chain.
        chain: label of each frame's chain ``(frames,)``.
        lag: in frames.
        n: components.

    Raises:
        ConfigError: no pair of frames ``lag`` apart, or fewer directions than ``n``.
    """
    x = _checked(features, n, "fit_tica")
    label = chain_labels(chain, len(x))
    parts = [x[label == k] for k in range(label.max() + 1)]
    parts = [(part[:-lag], part[lag:]) for part in parts if 0 < lag < len(part)]
    if not parts:
        raise ConfigError(f"fit_tica: expected a chain of more than lag = {lag} frames (1 or more)")
    early, late = (np.concatenate(side) for side in zip(*parts, strict=True))
    mean = (early.mean(0) + late.mean(0)) / 2
    early, late = early - mean, late - mean
    variances, vectors = np.linalg.eigh((early.T @ early + late.T @ late) / (2 * len(early)))
    kept = variances > KEPT * variances[-1]
    if kept.sum() < n:
        raise ConfigError(f"fit_tica: expected {n} directions that vary, got {kept.sum()}")
    whiten = vectors[:, kept] / np.sqrt(variances[kept])
    lagged = (early @ whiten).T @ (late @ whiten) / len(early)
    values, turned = np.linalg.eigh((lagged + lagged.T) / 2)
    return Projection(mean, _signed(whiten @ turned[:, ::-1][:, :n]), values[::-1][:n])


def implied_timescales(projection: Projection, lag: int) -> np.ndarray:
    """-lag / ln lambda of each component of TICA ``(n,)``, in frames; NaN where lambda is not in (0, 1)."""
    values = np.where((projection.values > 0) & (projection.values < 1), projection.values, np.nan)
    return -lag / np.log(values)


def _checked(features: ArrayLike, n: int, what: str) -> np.ndarray:
    x = np.asarray(features, np.float64)
    if x.ndim != 2 or len(x) < 2 or x.shape[1] < n:
        raise ConfigError(f"{what}: expected features (frames, {n} or more), got {x.shape}")
    return x


def _signed(vectors: np.ndarray) -> np.ndarray:
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(0)[None], 0)
    return vectors * np.where(largest < 0, -1.0, 1.0)
