"""Torsions of positions and their two-dimensional histograms: numpy, batch first, radians."""

import numpy as np
from numpy.typing import ArrayLike

from jbg.reweighting import relative_weights

SPLITS = 100  # random halves, and quarters, of which the noise floor is the mean


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
    everything = _histograms(phi, psi, log_w, np.zeros(np.size(phi), int), 1, bins)[0]
    total = everything.sum()
    return everything.reshape(bins, bins) / (total if total > 0 else 1.0)


def _histograms(
    phi: ArrayLike,
    psi: ArrayLike,
    log_w: ArrayLike | None,
    group: np.ndarray,
    n_groups: int,
    bins: int,
) -> np.ndarray:
    """Weights ``(n_groups, bins^2)`` in the cells of the torus, of the points of each ``group (n,)``."""
    phi, psi = np.asarray(phi, np.float64), np.asarray(psi, np.float64)
    w = np.ones(phi.size) if log_w is None else relative_weights(log_w)
    keep = np.isfinite(phi) & np.isfinite(psi)
    turn = np.stack([phi[keep], psi[keep]]) / (2 * np.pi) + 0.5
    cell = np.floor((turn - np.floor(turn)) * bins).astype(int) % bins
    place = (group[keep] * bins + cell[0]) * bins + cell[1]
    return np.bincount(place, w[keep], minlength=n_groups * bins**2).reshape(n_groups, -1)


def total_variation(first: ArrayLike, second: ArrayLike) -> float:
    """Half the sum of |p - q| over the cells of two histograms of probabilities, in [0, 1]."""
    return float(0.5 * np.sum(np.abs(np.asarray(first) - np.asarray(second))))


def ramachandran_noise_floor(
    phi: ArrayLike,
    psi: ArrayLike,
    chain: ArrayLike,
    *,
    samples: tuple[ArrayLike, ArrayLike, ArrayLike | None] | None = None,
    bins: int = 100,
    seed: int = 0,
) -> float:
    """Total variation that a reference simulation shows against the very density it samples.

    With ``samples``, between two finite ensembles of one density, the reference and these: a total variation
    from `ramachandran_histogram` that is no larger is noise.

    Halves of the chains, drawn at random, differ by T1, and quarters by T2. Were all cells well filled, T2 would
    be sqrt(2) T1, and all chains together would differ from the density by T1 / 2. In cells of less than
    one visit distances fall more slowly: what the exponent between quarters and halves lacks is carried on,

        floor = (T1 / 2) 2^(1.2 d),    d = 1/2 - log2(T2 / T1)

    (with the true shares, where the chains do not divide by four). For frames that come independently, or five
    alike in a row, it is within 4 % of the expected total variation, while that is below 0.5.

    Args:
        phi: radians ``(n,)`` in the order of simulation.
        psi: the same.
        chain: index of the independent chain of each frame, ``(n,)``; of fewer than four, each is cut
            into parts of equal length.
        samples: phi, psi and log-weights of independent samples ``(m,)`` each, or None for equal weights.
        bins: per torsion.
        seed: of the halves that are drawn.
    """
    part, n = _independent_parts(np.asarray(chain))
    ensembles = [_histograms(phi, psi, None, part, n, bins)]
    if samples is not None:
        ensembles.append(_histograms(*samples, np.arange(np.size(samples[0])) % n, n, bins))
    rng = np.random.default_rng(seed)
    many, few = n // 2, n // 4
    far, near = (_mean_distance(ensembles, k, rng) for k in (few, many))
    if near == 0.0:
        return 0.0
    short = max(0.0, 0.5 - np.log(max(1.0, far / near)) / np.log(many / few))
    return float(min(1.0, near * np.sqrt(many / (2 * n)) * 2 ** (1.2 * short)))


def _independent_parts(chain: np.ndarray) -> tuple[np.ndarray, int]:
    """A number for each frame, and how many there are, at least four: its chain, or its chain's part in time."""
    chains, rank = np.unique(chain, return_inverse=True)
    n_parts = -(-4 // len(chains)) if len(chains) < 4 else 1
    group = np.empty(len(rank), int)
    for k in range(len(chains)):
        frames = np.flatnonzero(rank == k)
        group[frames] = k * n_parts + np.arange(len(frames)) * n_parts // len(frames)
    return group, n_parts * len(chains)


def _mean_distance(ensembles: list[np.ndarray], k: int, rng: np.random.Generator) -> float:
    """Mean total variation between two disjoint random subsets of k rows of an ensemble.

    Of two ensembles, between what the first has more than the second in the one subset and in the other.
    """
    found = []
    for _ in range(SPLITS):
        difference = 0.0
        for sign, rows in zip((1, -1), ensembles, strict=False):
            order = rng.permutation(len(rows))
            first, second = rows[order[:k]].sum(0), rows[order[k : 2 * k]].sum(0)
            difference = difference + sign * (_normalised(first) - _normalised(second))
        found.append(0.5 * np.abs(difference).sum())
    return float(np.mean(found))


def _normalised(histogram: np.ndarray) -> np.ndarray:
    total = histogram.sum()
    return histogram / total if total > 0 else histogram
