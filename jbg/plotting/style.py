"""What all figures share: colours, style, the file that a figure becomes, marks drawn in many of them."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from jbg.runs import storage

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

REFERENCE, GENERATED, REWEIGHTED, ACCENT = "#222222", "#E69F00", "#0072B2", "#009E73"
UNKNOWN, NO_ERROR = "#ededed", "error unknown"
STATE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
STYLE: dict["RcKeyType", Any] = {
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


def firm(y: ArrayLike, stderr: Any, largest: float = np.inf) -> np.ndarray:
    """Which values are known with an error of at most ``largest``; None as errors: exact values."""
    known = np.isfinite(y)
    if stderr is None:
        return known
    error = np.asarray(stderr, float)
    return known & np.isfinite(error) & (error <= largest)


def band(
    ax: Axes,
    x: np.ndarray,
    y: np.ndarray,
    stderr: Any,
    colour: str,
    label: str,
    *,
    largest: float = np.inf,
) -> None:
    """A line with its 95 % band where the error is known and not too large.

    A point without neighbours is a dot with a bar. Values without an error are open circles, on no line;
    those with too large an error are left out.

    Args:
        ax: panel to draw in.
        x: ``(n,)``.
        y: ``(n,)``; values that are not finite are left out.
        stderr: standard errors of y, ``(n,)``, not finite where unknown; None where all values are exact.
        colour: of line and band.
        label: of the line in the legend.
        largest: error up to which values are drawn, in the unit of y.
    """
    drawn = firm(y, stderr, largest)
    half = np.zeros_like(y) if stderr is None else 1.96 * np.asarray(stderr, float)
    line = np.where(drawn, y, np.nan)
    around = np.concatenate([[False], drawn, [False]])
    alone = drawn & ~around[:-2] & ~around[2:]
    ax.fill_between(x, line - half, line + half, color=colour, alpha=0.2, linewidth=0)
    ax.plot(x, line, color=colour, label=label)
    if alone.any():
        ax.errorbar(x[alone], y[alone], half[alone], fmt=".", ms=4, elinewidth=1.0, color=colour)
    open_circles(ax, x, y, stderr, colour)


def open_circles(ax: Axes, x: np.ndarray, y: np.ndarray, stderr: Any, colour: str) -> None:
    """The values whose error is unknown; named once in the legend of a panel.

    Args:
        ax, x, y, colour: as for `band`.
        stderr: as for `band`; None draws nothing.
    """
    if stderr is None:
        return
    unknown = np.isfinite(y) & ~np.isfinite(np.asarray(stderr, float))
    if unknown.any():
        style: dict[str, Any] = dict(
            marker="o", ms=3.5, mew=0.8, mfc="white", alpha=0.8, linestyle="none"
        )
        named = NO_ERROR in ax.get_legend_handles_labels()[1]
        ax.plot(x[unknown], y[unknown], color=colour, label=None if named else NO_ERROR, **style)


def shade_unknown(ax: Axes, x: np.ndarray, known: np.ndarray, label: str | None) -> None:
    """Grey behind bins whose values are not known.

    Args:
        ax: panel to draw in.
        x: centres of the bins, rising, ``(n,)``.
        known: which bins are known, ``(n,)`` bool.
        label: for the legend; None or empty for no entry.
    """
    if known.all() or x.size < 2:
        return
    middle = 0.5 * (x[1:] + x[:-1])
    edges = np.concatenate([[2 * x[0] - middle[0]], middle, [2 * x[-1] - middle[-1]]])
    change = np.flatnonzero(np.diff(np.concatenate([[True], known, [True]]).astype(int)))
    for first, last in edges[change].reshape(-1, 2).tolist():
        ax.axvspan(first, last, color=UNKNOWN, linewidth=0, zorder=0, label=label)
        label = None


def combined_error(error: ArrayLike, *others: ArrayLike | None) -> np.ndarray:
    """The root of the sum of squares of those that are given."""
    given = [np.asarray(other, float) for other in others if other is not None]
    return np.sqrt(sum((other**2 for other in given), np.asarray(error, float) ** 2))


def thinned(points: ArrayLike, n: int = 4000) -> np.ndarray:
    """At most n of the rows, evenly spread: more only paint the same area twice."""
    points = np.asarray(points)
    return points[:: max(1, -(-len(points) // n))]


def scatter_by_state(
    ax: Axes, points: ArrayLike, states: ArrayLike | None, names: Sequence[str]
) -> None:
    """Points in the colour of their state, at most 2000 of each.

    Args:
        ax: panel to draw in.
        points: ``(n, dim)``, of which the first two columns are drawn.
        states: the state of each, ``(n,)`` int; None counts all as state 0.
        names: of the states, by number; others are named by their number.
    """
    points = np.asarray(points, float)
    states = np.zeros(len(points), int) if states is None else np.asarray(states)
    named = dict(enumerate(names))
    for k, state in enumerate(np.unique(states)):
        chosen = thinned(points[states == state], 2000)
        colour = STATE_COLOURS[k % len(STATE_COLOURS)]
        label = f"data, {named.get(int(state), f'state {state}')}"
        ax.scatter(*chosen[:, :2].T, s=4, color=colour, alpha=0.5, linewidth=0, label=label)


def legend_above(ax: Axes, ncols: int = 3) -> None:
    """A legend over the panel, its dots large and opaque."""
    if ax.get_legend_handles_labels()[0]:
        legend = ax.legend(
            loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=ncols, markerscale=3
        )
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set_alpha(1.0)
