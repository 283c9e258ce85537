"""What all figures share: colours, style, the file that a figure becomes, marks drawn in many of them."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from jbg import storage

REFERENCE, GENERATED, REWEIGHTED, ACCENT = "#222222", "#E69F00", "#0072B2", "#009E73"
STATE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
STYLE = {
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "grid.color": "#e8e8e8",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "mathtext.default": "regular",
}


@contextlib.contextmanager
def figure_file(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A styled figure, inches, that is written to ``path`` when the block ends."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        storage.write_atomic(path, lambda file: figure.savefig(file, format="png", dpi=150))


def band(ax: Axes, x: np.ndarray, y: np.ndarray, stderr: Any, colour: str, label: str) -> None:
    """A line with its 95 % band; a point without neighbours is a dot with a bar."""
    known = np.isfinite(np.concatenate([[np.nan], y, [np.nan]]))
    alone = known[1:-1] & ~known[:-2] & ~known[2:]
    half = np.zeros_like(y) if stderr is None else 1.96 * np.asarray(stderr, float)
    ax.fill_between(x, y - half, y + half, color=colour, alpha=0.2, linewidth=0)
    ax.plot(x, y, color=colour, label=label)
    if alone.any():
        ax.errorbar(x[alone], y[alone], half[alone], fmt=".", ms=4, elinewidth=1.0, color=colour)


def combined_error(*errors: Any) -> np.ndarray | None:
    """The root of the sum of squares of those that are given."""
    given = [np.asarray(error, float) for error in errors if error is not None]
    return np.sqrt(sum(error**2 for error in given)) if given else None


def thinned(points: ArrayLike, n: int = 4000) -> np.ndarray:
    """At most n of the rows, evenly spread: more only paint the same area twice."""
    points = np.asarray(points)
    return points[:: max(1, -(-len(points) // n))]


def scatter_by_state(
    ax: Axes, points: ArrayLike, states: ArrayLike | None, names: Sequence[str]
) -> None:
    """Points ``(n, 2)`` in the colour of their state."""
    points = np.asarray(points, float)
    states = np.zeros(len(points), int) if states is None else np.asarray(states)
    names = dict(enumerate(names))
    for k, state in enumerate(np.unique(states)):
        chosen = thinned(points[states == state], 2000)
        colour = STATE_COLOURS[k % len(STATE_COLOURS)]
        label = f"data, {names.get(int(state), f'state {state}')}"
        ax.scatter(*chosen[:, :2].T, s=4, color=colour, alpha=0.5, linewidth=0, label=label)


def legend_above(ax: Axes, ncols: int = 3) -> None:
    """A legend over the panel, its dots large and opaque."""
    if ax.get_legend_handles_labels()[0]:
        legend = ax.legend(
            loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=ncols, markerscale=3
        )
        for handle in legend.legend_handles:
            handle.set_alpha(1.0)
