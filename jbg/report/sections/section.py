"""The protocol of a section of the report."""

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
    """The files of a run that figures are drawn from."""

    run: Run
    results: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]  # of evaluation.npz


Section = Callable[[Left], list[Drawn]]
"""Draws its figures under ``figures/``; none where the run has nothing for them."""
