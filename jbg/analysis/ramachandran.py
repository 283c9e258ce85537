"""Torsions of positions and their two-dimensional histograms: numpy, batch first, radians."""

import numpy as np
from numpy.typing import ArrayLike

from jbg.reweighting import relative_weights


def torsions(positions: ArrayLike, quadruples: ArrayLike) -> np.ndarray:
    """Torsions in (-pi, pi], positive clockwise along the middle bond (IUPAC).

    Args:
        positions: ``(n, atoms, 3)``, any unit of length.
        quadruples: atom indices ``(m, 4)``.

    Returns:
        ``(n, m)``.
    """
    quadruples = np.asarray(quadruples, int)
    p = np.asarray(positions, np.float64)[:, quadruples]  # (n, m, 4, 3)
    b1, b2, b3 = np.moveaxis(np.diff(p, axis=2), 2, 0)
    n1, n2 = np.cross(b1, b2), np.cross(b2, b3)
    sine = np.linalg.norm(b2, axis=-1) * np.sum(b1 * n2, axis=-1)
    return np.arctan2(sine, np.sum(n1 * n2, axis=-1))


def ramachandran_histogram(
    phi: ArrayLike, psi: ArrayLike, log_w: ArrayLike | None = None, *, bins: int = 100
) -> np.ndarray:
    """Probabilities ``(bins, bins)`` of phi (rows) and psi (columns) over the torus; sum 1.

    Args:
        phi: radians ``(n,)``, wrapped into [-pi, pi).
        psi: the same.
        log_w: log-weights ``(n,)``; None for equal weights.
        bins: per torsion.
    """
    phi, psi = np.asarray(phi, np.float64), np.asarray(psi, np.float64)
    w = np.ones(phi.size) if log_w is None else relative_weights(log_w)
    keep = np.isfinite(phi) & np.isfinite(psi)
    phi, psi, w = phi[keep], psi[keep], w[keep]
    turn = np.stack([phi, psi]) / (2 * np.pi) + 0.5
    cell = np.floor((turn - np.floor(turn)) * bins).astype(int) % bins
    histogram = np.bincount(cell[0] * bins + cell[1], w, minlength=bins**2).reshape(bins, bins)
    total = histogram.sum()
    return histogram / total if total > 0 else histogram


def total_variation(first: ArrayLike, second: ArrayLike) -> float:
    """Half the sum of |p - q| over the cells of two histograms of probabilities, in [0, 1]."""
    return float(0.5 * np.sum(np.abs(np.asarray(first) - np.asarray(second))))


def ramachandran_noise_floor(
    phi: ArrayLike, psi: ArrayLike, chain: ArrayLike, *, bins: int = 100
) -> float:
    """Total variation between two halves of a reference simulation, even and odd chains.

    A total variation against the reference that is no larger than this is noise. A single chain is
    halved in time.

    Args:
        phi: radians ``(n,)`` in the order of simulation.
        psi: the same.
        chain: index of the independent chain of each frame, ``(n,)``.
        bins: per torsion.
    """
    phi, psi = np.asarray(phi, np.float64), np.asarray(psi, np.float64)
    chains, rank = np.unique(np.asarray(chain), return_inverse=True)
    if len(chains) > 1:
        half = rank % 2 == 0
    else:
        half = np.arange(phi.size) < phi.size // 2
    return total_variation(
        ramachandran_histogram(phi[half], psi[half], bins=bins),
        ramachandran_histogram(phi[~half], psi[~half], bins=bins),
    )
