"""What a section of the report is."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jbg.runs import Run


class Drawn(NamedTuple):
    """One figure of the report."""

    path: Path
    title: str
    caption: str


class Left(NamedTuple):
    """What a run left for its figures."""

    run: Run
    results: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]  # of evaluation.npz


Section = Callable[[Left], list[Drawn]]
"""Draws its figures under ``figures/``; none where the run has nothing for them."""
