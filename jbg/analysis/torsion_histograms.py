"""Torsions of an ensemble, one by one and by pairs, against those of a simulation: total variation and its floor.

Host code. Angles are in radians ``(n, m)``, from `torsions`: phi and psi of each residue, and its chis. Total
variation is that of histograms, which differ by chance as well: the floor beside it is what two finite ensembles
of one density show, with the correlation that the chains of the simulation have (`ramachandran_noise_floor`).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jbg.analysis.ramachandran import (
    ramachandran_histogram,
    ramachandran_noise_floor,
    total_variation,
)
from jbg.interfaces import ConfigError


class TorsionDistance(NamedTuple):
    """Total variation, in [0, 1], and its sampling floor of each torsion or pair of torsions ``(m,)``."""

    total_variation: np.ndarray
    floor: np.ndarray


def torsion_distance(
    generated: ArrayLike,
    data: ArrayLike,
    chain: ArrayLike,
    *,
    log_w: ArrayLike | None = None,
    bins: int = 36,
    folds: ArrayLike | None = None,
) -> TorsionDistance:
    """Total variation between generated and simulated histograms of each torsion.

    Args:
        generated: radians ``(n, m)``.
        data: radians ``(k, m)``, in order of time within each chain.
        chain: label of each simulated frame's chain ``(k,)``.
        log_w: log-weights of the generated frames ``(n,)``; None for equal weights.
        bins: per turn.
        folds: symmetry number of each torsion ``(m,)``: 2 for chi2 of Phe and Tyr, whose halves of a turn are the
            same; None for 1.

    Raises:
        ConfigError: shapes that do not fit each other.
    """
    generated, data = _checked(generated, data, chain, 2)
    fold = np.ones(data.shape[1]) if folds is None else np.asarray(folds)
    pairs = [
        (np.stack([a * f, np.zeros(len(a))], 1), np.stack([b * f, np.zeros(len(b))], 1))
        for a, b, f in zip(generated.T, data.T, fold, strict=True)
    ]
    return _distances(pairs, chain, log_w, bins)


def ramachandran_distance(
    generated: ArrayLike,
    data: ArrayLike,
    chain: ArrayLike,
    *,
    log_w: ArrayLike | None = None,
    bins: int = 36,
) -> TorsionDistance:
    """The same of (phi, psi) maps, ``(n, residues, 2)`` and ``(k, residues, 2)``, of ``bins`` x ``bins`` cells.

    Args:
        generated, data, chain, log_w, bins: as for `torsion_distance`.
    """
    generated, data = _checked(generated, data, chain, 3)
    pairs = list(zip(np.moveaxis(generated, 1, 0), np.moveaxis(data, 1, 0), strict=True))
    return _distances(pairs, chain, log_w, bins)


def _checked(
    generated: ArrayLike, data: ArrayLike, chain: ArrayLike, ndim: int
) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(generated, np.float64), np.asarray(data, np.float64)
    if a.ndim != ndim or a.shape[1:] != b.shape[1:] or np.shape(chain) != (len(b),):
        raise ConfigError(
            "torsions: expected the same angles of generated and simulated frames and a chain for each of these, "
            f"got {a.shape}, {b.shape} and {np.shape(chain)}"
        )
    return a, b


def _distances(
    pairs: list[tuple[np.ndarray, np.ndarray]], chain: ArrayLike, log_w: ArrayLike | None, bins: int
) -> TorsionDistance:
    """Of pairs of generated and simulated angles ``(n, 2)`` and ``(k, 2)``."""
    found = []
    for a, b in pairs:
        own, known = (a[:, 0], a[:, 1], log_w), (b[:, 0], b[:, 1])
        maps = (ramachandran_histogram(*own, bins=bins), ramachandran_histogram(*known, bins=bins))
        floor = ramachandran_noise_floor(*known, chain, samples=own, bins=bins)
        found.append((total_variation(*maps), floor))
    distances, floors = np.array(found).reshape(-1, 2).T
    return TorsionDistance(distances, floors)
