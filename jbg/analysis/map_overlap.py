"""How well a generated ensemble fills the map of a simulated one: overlap, coverage, and what lies beyond.

A picture of two clouds hides shares. On cells of the map (of two PCA or TICA components, or any two numbers):
``overlap`` sees wrong weights, ``covered`` missing states, ``beyond`` structures that the simulation never visits.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jbg.analysis.leave_one_out import halves_of_chains
from jbg.interfaces import ConfigError

ENOUGH = 0.1  # of the data's density, from which on a cell counts as covered


class MapOverlap(NamedTuple):
    """Each number in [0, 1], and the same of one half of the chains against the other, averaged over splits.

    overlap: sum over cells of min(p, q), 1 less the total variation.
    covered: share of the data in cells where the generated density is a tenth of theirs or more.
    beyond: share of the generated frames outside the cells that data visit.
    """

    overlap: float
    covered: float
    beyond: float
    floor_overlap: float
    floor_covered: float
    floor_beyond: float


def map_overlap(
    generated: ArrayLike,
    data: ArrayLike,
    chain: ArrayLike,
    *,
    bins: int = 20,
    repeats: int = 20,
    seed: int = 0,
) -> MapOverlap:
    """Compare two maps ``(n, 2)`` and ``(m, 2)`` on ``bins`` x ``bins`` cells over the range of the data.

    The halves behind the floor hold half of the data each: a perfect model, with as many frames as the data or
    more, does a little better than the floor.

    Args:
        generated: on the map, independent frames; those beyond the range of the data form cells of their own.
        data: on the same map.
        chain: label of each simulated frame's chain ``(m,)``.
        bins: per axis.
        repeats: splits of the chains.
        seed: of the splits.

    Raises:
        ConfigError: maps that are not two-dimensional, or fewer than two chains.
    """
    a, b = np.asarray(generated, np.float64), np.asarray(data, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != 2 or b.shape[1] != 2 or not len(a):
        raise ConfigError(f"map_overlap: expected (n, 2) and (m, 2), got {a.shape} and {b.shape}")
    halves = halves_of_chains(chain, len(b), repeats, seed)
    low, high = b.min(0), b.max(0)
    cells_a, cells_b = (_cells(x, low, high, bins) for x in (a, b))
    n = (bins + 2) ** 2
    found = _compared(cells_a, cells_b, n)
    floors = [
        _compared(cells_b[i], cells_b[j], n)
        for first, second in halves
        for i, j in ((first, second), (second, first))
    ]
    return MapOverlap(*found, *(float(value) for value in np.mean(floors, axis=0)))


def _cells(x: np.ndarray, low: np.ndarray, high: np.ndarray, bins: int) -> np.ndarray:
    """The number of each point's cell ``(n,)``, with a margin of one cell for what lies outside."""
    width = np.where(high > low, high - low, 1.0)
    place = np.floor((x - low) / width * bins)
    place = np.where((place == bins) & (x <= high), bins - 1, place)  # the upper edge itself
    place = np.clip(np.nan_to_num(place, nan=-1.0), -1, bins).astype(int) + 1
    return place[:, 0] * (bins + 2) + place[:, 1]


def _compared(generated: np.ndarray, data: np.ndarray, n: int) -> tuple[float, float, float]:
    q, p = (np.bincount(cells, minlength=n) / len(cells) for cells in (generated, data))
    covered = p[q >= ENOUGH * p].sum()
    return float(np.minimum(p, q).sum()), float(covered), float(q[p == 0].sum())
