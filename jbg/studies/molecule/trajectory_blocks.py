"""Trajectories of any lengths as blocks in time of one length, which are the chains of a data set.

Training, its watching and estimates each need frames that are independent of the others', and errors need several
parts that are as good as independent. Many trajectories are such parts by themselves; few are cut into BLOCKS
blocks altogether. A block that is shorter than the slowest motions differs from the others by more than its frames
vary within, which is what `analysis.equilibration` asks of chains.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jbg.interfaces import ConfigError
from jbg.studies.dataset import ASIDE, LEARN, WATCH

BLOCKS = 24
MIN_LENGTH = 10  # frames of a block
KEPT = 0.9  # of the frames that could be kept; longer blocks may leave out so many more


class Blocks(NamedTuple):
    """Rows of frames that are used, in order, with the number of the block ``chain (n,)`` of each, and how many
    blocks each trajectory gave ``of_file (files,)``."""

    rows: np.ndarray
    chain: np.ndarray
    of_file: np.ndarray

    @property
    def n(self) -> int:
        return int(self.of_file.sum())


def cut_into_blocks(lengths: Sequence[int], where: str) -> Blocks:
    """Blocks of one length; what does not fill one is left out at the beginning of its trajectory.

    Args:
        lengths: frames of each trajectory, those of the first one first.
        where: the source, for messages.

    Raises:
        ConfigError: too few frames.
    """
    n = np.asarray(lengths, int)
    length = _length(n)
    if length < MIN_LENGTH:
        raise ConfigError(
            f"{where}: {n.sum()} usable frames, need {BLOCKS * MIN_LENGTH} or more: give longer trajectories"
        )
    of_file = n // length
    starts = np.cumsum(n) - of_file * length
    rows = [np.arange(s, s + k * length) for s, k in zip(starts, of_file, strict=True)]
    chain = np.repeat(np.arange(of_file.sum()), length)
    return Blocks(np.concatenate(rows), chain, of_file)


def _length(n: np.ndarray) -> int:
    """The longest length that keeps about as many frames as any, in BLOCKS blocks or more."""
    most = int(n.sum()) // BLOCKS
    choices = sorted({min(most, int(k)) for k in n if k} | {most}, reverse=True)
    kept = [int(np.sum(n // length * length)) if length else 0 for length in choices]
    return next(l for l, k in zip(choices, kept, strict=True) if k >= KEPT * max(kept))


def roles(n_blocks: int, *, weighted: bool) -> np.ndarray:
    """The role of each block ``(n_blocks,)``: half of them are set aside, one in six of the rest watches.

    Set aside by the Thue-Morse sequence: each role sees all parts of a trajectory, and all kinds of trajectories
    that start by turns in several states. Of a biased simulation nothing is set aside: estimates take frames for
    those of the ensemble.
    """
    found = np.full(n_blocks, LEARN)
    if not weighted:
        found[[i.bit_count() % 2 == 1 for i in range(n_blocks)]] = ASIDE
    others = np.flatnonzero(found == LEARN)
    found[others[3::6]] = WATCH
    return found
