"""Samples and their weights: in the plane, in latent space, by energy."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from jbg.plotting.style import (
    ACCENT,
    GENERATED,
    REFERENCE,
    REWEIGHTED,
    figure_file,
    legend_above,
    scatter_by_state,
    thinned,
)
from jbg.reweighting import relative_weights

LOWEST_LOG_WEIGHT = -20.0  # ln(w / mean w); smaller weights do not contribute to any average


def configurations(
    path: Path,
    *,
    x_data: ArrayLike | None = None,
    state_data: ArrayLike | None = None,
    state_names: Sequence[str] = (),
    x_generated: ArrayLike | None = None,
    contour: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
) -> None:
    """Data by state and generated samples in the plane, over contours of the potential.

    Args:
        path: the PNG to write.
        x_data: ``(n, 2)``.
        state_data: the state of each, ``(n,)`` int.
        state_names: by number.
        x_generated: ``(n, 2)``.
        contour: x ``(n_x,)`` and y ``(n_y,)``, u ``(n_y, n_x)`` in kT; or all three as grids.
    """
    with figure_file(path, 5.6, 4.6) as figure:
        ax = figure.subplots()
        if contour is not None:
            draw_contours(ax, *contour)
        if x_data is not None:
            scatter_by_state(ax, x_data, state_data, state_names)
        if x_generated is not None:  # on top: data may hold a state more often than it weighs
            draw_generated(ax, x_generated)
        ax.set(xlabel="x", ylabel="y")
        ax.grid(visible=False)
        legend_above(ax)


def draw_contours(ax: Axes, x: ArrayLike, y: ArrayLike, u: ArrayLike) -> None:
    """Lines each kT up to 16 above the lowest energy.

    Args:
        ax: panel to draw in.
        x: ``(n_x,)``, or a grid of the shape of ``u``.
        y: ``(n_y,)``, or a grid likewise.
        u: energies in kT, ``(n_y, n_x)``.
    """
    levels = np.nanmin(u) + np.arange(0.0, 17.0, 1.0)
    x, y, u = (np.asarray(part, float) for part in (x, y, u))
    ax.contour(x, y, u, levels, colors="#9a9a9a", linewidths=0.6, linestyles="solid")


def draw_generated(ax: Axes, x: ArrayLike) -> None:
    some = thinned(x)
    ax.scatter(*some[:, :2].T, s=4, color=GENERATED, alpha=0.5, linewidth=0, label="generated")


def latent(
    path: Path,
    *,
    z_data: ArrayLike,
    state_data: ArrayLike | None = None,
    state_names: Sequence[str] = (),
) -> None:
    """Data by state in latent space (the first two variables), over circles of radius 1, 2, 3.

    Args:
        path: the PNG to write.
        z_data: ``(n, dim)``.
        state_data: the state of each, ``(n,)`` int; None draws all alike.
        state_names: by number.
    """
    with figure_file(path, 5.0, 4.6) as figure:
        ax = figure.subplots()
        draw_latent(ax, z_data, state_data, state_names)
        legend_above(ax)


def draw_latent(
    ax: Axes, z: ArrayLike, states: ArrayLike | None = None, names: Sequence[str] = ()
) -> None:
    """The panel of `latent`.

    Args:
        ax: panel to draw in.
        z: ``(n, dim)``.
        states: the state of each, ``(n,)`` int; None draws all alike.
        names: of the states, by number.
    """
    turn = np.linspace(0, 2 * np.pi, 200)
    for radius in (1, 2, 3):
        circle = radius * np.cos(turn), radius * np.sin(turn)
        ax.plot(*circle, color="#666666", linewidth=0.7, zorder=3)
    scatter_by_state(ax, z, states, names)
    ax.set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal")
    ax.grid(visible=False)


def energy_histograms(
    energies: Mapping[str, ArrayLike], path: Path, *, log_weights: ArrayLike | None = None
) -> None:
    """Distributions of the reduced energy: ``data``, ``generated``, and generated with its weights.

    Args:
        energies: name -> u in kT, ``(n,)``; ``log_weights`` belong to ``generated``.
        path: the PNG to write.
        log_weights: unnormalised, ``(n,)``; None leaves the reweighted histogram out.
    """
    u = {name: np.asarray(values, float) for name, values in energies.items()}
    simulated = "data" in u
    body = u["data"] if simulated else u["generated"]
    body = body[np.isfinite(body)]
    if not body.size:
        return
    # generated energies have a tail of clashes, which would squeeze everything else into one bar
    low, high = np.quantile(body, (0.0005, 0.9995) if simulated else (0.0005, 0.9))
    low, high = low - 0.15 * (high - low), high + (0.5 if simulated else 1.0) * (high - low)
    edges = np.linspace(low, max(high, low + 1e-6), 91)
    colours = {"data": REFERENCE, "generated": GENERATED}
    with figure_file(path, 5.6, 4.4) as figure:
        ax = figure.subplots()
        for name, values in u.items():
            histogram(ax, values, edges, colours.get(name, ACCENT), name)
        if log_weights is not None and "generated" in u:
            w = relative_weights(log_weights)
            histogram(ax, u["generated"], edges, REWEIGHTED, "reweighted", weights=w)
        if "generated" in u:
            beyond = np.mean(~(u["generated"] <= edges[-1]))
            text = f"{beyond:.2%} of the generated samples lie beyond the right edge"
            ax.set_title(text, loc="right", fontsize=8.5, color="#666666")
        ax.set(xlabel="reduced energy u / kT", ylabel="density / kT$^{-1}$", xlim=(low, edges[-1]))
        ax.legend()


def histogram(ax: Axes, values, edges, colour: str, label: str, weights=None) -> None:
    """A density normalised over all values: those outside the edges are missing from the area.

    Args:
        ax: panel to draw in.
        values: ``(n,)``; those that are not finite are missing from the area too.
        edges: of the bins, ``(n_bins + 1,)``, in the unit of the values.
        colour: of the outline and the area.
        label: for the legend.
        weights: of the values, ``(n,)``, up to a factor; None for equal ones.
    """
    keep = np.isfinite(values)
    w = np.ones(len(values)) if weights is None else weights
    counts, _ = np.histogram(values[keep], edges, weights=w[keep])
    density = counts / (max(w.sum(), 1e-300) * np.diff(edges))
    ax.stairs(density, edges, color=colour, linewidth=1.4, label=label)
    ax.stairs(density, edges, color=colour, alpha=0.08, fill=True)


def weight_diagnostics(log_weights: ArrayLike, path: Path) -> None:
    """Histogram of ln(w / mean w), and the share of the total weight in the heaviest samples.

    Log-weights below the 0.2 % quantile, or below `LOWEST_LOG_WEIGHT`, are counted in the first bar.
    """
    w = relative_weights(log_weights)
    if not w.any():
        return
    w = w[w > 0] / w.mean()
    with figure_file(path, 8.0, 3.3) as figure:
        left, right = figure.subplots(1, 2)
        log_w = np.log(w)
        low, high = max(np.quantile(log_w, 0.002), LOWEST_LOG_WEIGHT), log_w.max()
        left.hist(np.clip(log_w, low, high), 80, color=REWEIGHTED, alpha=0.8)
        left.axvline(0.0, color=REFERENCE, linewidth=0.9, linestyle="--")
        left.set(xlabel="ln(w / mean w)", ylabel="samples")
        share = np.cumsum(np.sort(w)[::-1]) / w.sum()
        count = np.unique(np.geomspace(1, w.size, 300).astype(int))
        fraction = count / np.size(log_weights)
        right.plot(fraction, share[count - 1], color=REWEIGHTED, label="these weights")
        right.plot(
            fraction,
            fraction,
            color=REFERENCE,
            linestyle="--",
            linewidth=0.9,
            label="equal weights",
        )
        right.set(
            xscale="log",
            ylim=(0, 1),
            xlabel="heaviest fraction of samples",
            ylabel="share of the total weight",
        )
        right.legend()
