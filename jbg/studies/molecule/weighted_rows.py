"""Rows of weighted frames: what training takes of a biased simulation."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Taken(NamedTuple):
    """Numbers of the frames that training takes ``rows (n,)``, repeated ones included, and of each how many times
    as often as in the ensemble ``copies (n,)``."""

    rows: np.ndarray
    copies: np.ndarray


def resampled(weight: np.ndarray, n: int, seed: int) -> np.ndarray:
    """n numbers of frames in order, each as often as its weight says (systematic resampling).

    Args:
        weight: ``(m,)``, not negative.
        n: how many.
        seed: of the one random number.
    """
    share = np.cumsum(weight, dtype=np.float64)
    at = (np.arange(n) + np.random.default_rng(seed).random()) / n
    return np.minimum(np.searchsorted(share / share[-1], at), len(weight) - 1)


def taken(
    weight: np.ndarray,
    x: np.ndarray,
    copies_of: Callable[[np.ndarray], np.ndarray] | None,
    seed: int,
) -> Taken:
    """As many frames as there are, by weight times the copies that training takes of each.

    Frames of a biased simulation that are many and of little weight are those of rare states; taken by both at
    once, these keep as many frames as `balance` asks for.

    Args:
        weight: of the frames ``(n,)``.
        x: the frames ``(n, dim)``.
        copies_of: how many copies training takes of each; None for one.
        seed: of the resampling.
    """
    copies = np.ones(len(x)) if copies_of is None else np.asarray(copies_of(x), np.float64)
    rows = resampled(weight * copies, len(x), seed)
    return Taken(rows, copies[rows])
