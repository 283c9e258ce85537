"""Which torsions of an ensemble lost rotamers that a simulation visits: shares of the simulation, and their floor.

A flow that learns from energies may leave out whole rotamers (mode collapse) and have right energies in all
others. Its weights look no worse for that, since they know only where it samples; frames of a simulation show it.
Host code in numpy; angles are in radians, batch first.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jbg.analysis.leave_one_out import chain_labels
from jbg.interfaces import ConfigError

BINS = 12  # of 30 degrees: a rotamer is about two wide
LITTLE = 0.2  # of its share in the reference, below which the samples have lost a bin
EXPECTED = 10.0  # samples in a bin; with fewer, next to none may be chance
LEAST = 0.05  # of the reference; smaller losses of a torsion are no alarm


class LostRotamers(NamedTuple):
    """What is lost of each torsion ``(m,)``.

    share: of the reference, its chains pooled, in bins that the samples have lost, in [0, 1].
    floor: the mean share of itself that a chain loses to the others, pooled, in [0, 1].
    chains: number of chains that lose more than 5 % of themselves to the samples, and more than to the others.
    lost: bool, whether `share` is above 5 % and `chains` more than half of all.
    """

    share: np.ndarray
    floor: np.ndarray
    chains: np.ndarray
    lost: np.ndarray


def lost_rotamers(
    generated: ArrayLike, reference: ArrayLike, chain: ArrayLike, *, bins: int = BINS
) -> LostRotamers:
    """The share of a reference in parts of each torsion that samples hardly ever visit.

    With shares p of the reference and q of the samples in the bins b of a torsion, the loss is

        loss(p, q) = sum of p(b) over all b with q(b) < p(b) / 5 and p(b) n >= 10

    for n samples: bins where a right density would give fewer than ten are left out. It is computed on two grids,
    half a bin apart, of which the smaller counts, so that a narrow rotamer at the edge of a bin which is off by a
    few degrees is not lost.

    Chains are correlated, and one that stays in a rare rotamer loses it to right samples too. So each chain c is
    compared with the samples, loss(p_c, q), and with the other chains pooled, loss(p_c, p_rest). A torsion has
    lost rotamers where loss(p_c, q) exceeds both 5 % and loss(p_c, p_rest) in more than half of the chains, and
    the chains pooled lose more than 5 %. Few chains may agree by chance: give all, those that training learnt from
    included, of which right samples lose as little as of others. That all of them are wrong together is for R-hat
    to tell.

    Args:
        generated: torsions of independent samples ``(n, m)``; those that are not finite are left out.
        reference: the same torsions of simulated frames ``(k, m)``, in the same labelling of exchangeable atoms;
            frames that are not finite are left out.
        chain: label of each simulated frame's chain ``(k,)``.
        bins: per turn.

    Returns:
        Arrays ``(m,)``, empty without torsions.

    Raises:
        ConfigError: shapes that do not fit each other, no finite samples, or fewer than two chains.
    """
    samples, known = (np.asarray(each, np.float64) for each in (generated, reference))
    if samples.ndim != 2 or known.ndim != 2 or samples.shape[1] != known.shape[1]:
        raise ConfigError(
            "lost_rotamers: expected the same torsions of samples (n, m) and reference (k, m), got "
            f"{samples.shape} and {known.shape}"
        )
    label = chain_labels(chain, len(known))
    finite = np.isfinite(known).all(1)
    samples, known, label = samples[np.isfinite(samples).all(1)], known[finite], label[finite]
    chains = np.unique(label)
    if not len(samples) or len(chains) < 2:
        raise ConfigError(
            "lost_rotamers: expected finite samples, and two chains or more to compare with each other, got "
            f"{len(samples)} samples and {len(chains)} chains"
        )
    counts = np.stack([_counts(known[label == c], bins) for c in chains])
    total, least = counts.sum(0), EXPECTED / len(samples)
    q, p = _shares(_counts(samples, bins)), _shares(counts)
    to_others = _loss(p, _shares(total - counts), least)
    share = _loss(_shares(total), q, least)
    losing = (_loss(p, q, least) > np.maximum(to_others, LEAST)).sum(0)
    lost = (share > LEAST) & (2 * losing > len(chains))
    return LostRotamers(share, to_others.mean(0), losing, lost)


def _counts(angles: np.ndarray, bins: int) -> np.ndarray:
    """Frames in the bins of both grids ``(2, m, bins)``, of angles ``(n, m)``."""
    m, halves = angles.shape[1], 2 * bins
    turn = angles / (2 * np.pi) + 0.5
    cell = np.floor((turn - np.floor(turn)) * halves).astype(int) % halves
    place = np.arange(m) * halves + cell
    fine = np.bincount(place.ravel(), minlength=m * halves).reshape(m, halves)
    return np.stack([(fine + np.roll(fine, -1, 1))[:, first::2] for first in (0, 1)])


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts / counts.sum(-1, keepdims=True)


def _loss(p: np.ndarray, q: np.ndarray, least: float) -> np.ndarray:
    """Shares ``(..., m)`` of p ``(..., 2, m, bins)`` in bins where q has little, on the grid that loses less."""
    lost = (q < LITTLE * p) & (p >= least)
    return np.where(lost, p, 0.0).sum(-1).min(-2)
