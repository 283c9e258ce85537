"""The dimer in its bath, in the layout of Noe et al. 2019, Fig. 3."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from jbg.plotting.samples import histogram
from jbg.plotting.style import (
    ACCENT,
    GENERATED,
    REFERENCE,
    REWEIGHTED,
    STATE_COLOURS,
    band,
    figure_file,
    open_circles,
)

DISC = 1.1  # diameter drawn: sigma of the repulsion
BOX = 3.0
LARGEST_ERROR = 2.0  # kT; points of a profile with a larger error are not drawn
Points = tuple[ArrayLike, ArrayLike, ArrayLike | None]  # tau, value, standard error
# series of differences -> marker, colour, filled
MARKS = {
    "umbrella sampling": ("-", REFERENCE, True),
    "BAR through the flow": ("o", REWEIGHTED, True),
    "reweighting": ("s", ACCENT, True),
    "published BG": ("D", GENERATED, False),
    "published umbrella (figure)": ("^", "#888888", False),
    "published umbrella (stored)": ("v", "#888888", False),
}


def dimer(
    path: Path,
    *,
    snapshots: Mapping[str, ArrayLike],
    profiles: Mapping[float, Mapping[str, ArrayLike]],
    energies: Mapping[str, Mapping[str, ArrayLike]],
    differences: Mapping[str, Points],
    paths: Mapping[str, ArrayLike],
) -> None:
    """Configurations; profiles along d at each temperature; energies, differences and latent paths.

    Args:
        path: the PNG to write.
        snapshots: title -> configuration ``(dim,)``, the dimer first.
        profiles: tau -> ``centers``, ``reweighted``, ``stderr`` in bins of our samples, and
            ``reference_centers``, ``reference``, ``reference_stderr``; in kT at that temperature, NaN where
            unknown. Points with a standard error above ``LARGEST_ERROR`` are left out, those without one
            are open; bars are 95 %.
        energies: state -> ``data`` and ``generated`` reduced energies in kT, ``(n,)`` each.
        differences: series of `MARKS` -> tau, F(open) - F(closed) in kT and standard errors or None.
        paths: ``all_u (n_pairs, n_points)``, and ``u (n_points,)`` of the best latent path.
    """
    columns = np.lcm(len(profiles), 12)
    with figure_file(path, 11.0, 10.0) as figure:
        grid = figure.add_gridspec(3, columns, height_ratios=(1.05, 1.0, 1.0))

        def row(i: int, n: int) -> list[Axes]:
            width = columns // n
            return [figure.add_subplot(grid[i, k * width : (k + 1) * width]) for k in range(n)]

        for ax, (title, x) in zip(row(0, len(snapshots)), snapshots.items(), strict=True):
            draw_configuration(ax, x)
            ax.set_title(title)
        _profiles(figure, row(1, len(profiles)), profiles)
        bottom = row(2, 4)
        _energies(bottom[:2], energies)
        _differences(bottom[2], differences)
        _paths(bottom[3], paths)


def draw_configuration(ax: Axes, x: ArrayLike) -> None:
    """Discs in their box, the dimer's two in colour and joined."""
    points = np.asarray(x, float).reshape(-1, 2)
    colours = [STATE_COLOURS[1]] * 2 + ["#c9d3dc"] * (len(points) - 2)
    size = np.full(len(points), DISC)
    discs = EllipseCollection(
        size, size, 0 * size, units="xy", offsets=points, offset_transform=ax.transData,
        facecolors=colours, edgecolors="#5b6670", linewidths=0.7,
    )  # fmt: skip
    ax.add_collection(discs)
    ax.plot(*points[:2].T, color="#5b2a00", linewidth=2.0)
    edge = BOX * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]])
    ax.plot(*edge.T, color="#888888", linewidth=0.8, linestyle=":")
    span = 1.25 * BOX
    ax.set(xlim=(-span, span), ylim=(-span, span), aspect="equal", xlabel="x", ylabel="y")
    ax.set_xticks((-3, 0, 3))
    ax.set_yticks((-3, 0, 3))
    ax.grid(visible=False)


def _profiles(figure: Figure, axes: Sequence[Axes], profiles: Mapping) -> None:
    tops = []
    for ax, (tau, p) in zip(axes, profiles.items(), strict=True):
        reference = np.asarray(p["reference"], float)
        offset = np.nanmin(reference) if np.isfinite(reference).any() else 0.0
        error = p["reference_stderr"]
        band(ax, p["reference_centers"], reference - offset, error, REFERENCE, "umbrella sampling")
        half = 1.96 * np.asarray(p["stderr"], float)
        value = np.asarray(p["reweighted"], float) - offset
        style: dict[str, Any] = dict(
            fmt="o", ms=3.5, color=REWEIGHTED, ecolor=REWEIGHTED, elinewidth=1.0
        )
        known = np.isfinite(value) & (half <= 1.96 * LARGEST_ERROR)
        x = np.asarray(p["centers"], float)
        ax.errorbar(x[known], value[known], half[known], label="reweighted samples", **style)
        open_circles(ax, x, value, p["stderr"], REWEIGHTED)
        ax.set_title(rf"$\tau$ = {tau:g}")
        ax.set_xlabel("dimer distance d")
        tops.append(np.nanmax(reference - offset) if np.isfinite(reference).any() else 1.0)
    for ax, top in zip(axes, tops, strict=True):
        ax.set_ylim(-0.08 * top, 1.12 * top)
    axes[0].set_ylabel("free energy / kT")
    axes[0].legend(loc="lower center", fontsize=8.5)


def _energies(axes: Sequence[Axes], energies: Mapping[str, Mapping[str, ArrayLike]]) -> None:
    everything = [np.asarray(u["data"], float) for u in energies.values()]
    low, high = np.quantile(np.concatenate(everything), (0.0005, 0.9995))
    edges = np.linspace(low - 0.15 * (high - low), high + 0.6 * (high - low), 71)
    for ax, (name, u) in zip(axes, energies.items(), strict=True):
        histogram(ax, np.asarray(u["data"], float), edges, REFERENCE, "simulated")
        generated = np.asarray(u["generated"], float)
        histogram(ax, generated, edges, GENERATED, "generated")
        if generated.size:
            beyond = np.mean(~(generated <= edges[-1]))
            text = f"{beyond:.0%} of the\ngenerated\nlie beyond"
            style: dict[str, Any] = dict(ha="right", va="top", fontsize=8.5, color="#666666")
            ax.text(0.98, 0.78, text, transform=ax.transAxes, **style)
        ax.set(title=name, xlabel="energy u / kT")
    axes[0].set_ylabel("density / kT$^{-1}$")
    axes[0].legend(fontsize=8.5, loc="upper right")


def _differences(ax: Axes, differences: Mapping[str, Points]) -> None:
    ticks = set()
    for k, (name, (tau, value, stderr)) in enumerate(differences.items()):
        mark, colour, filled = MARKS[name]
        tau, value = np.asarray(tau, float), np.asarray(value, float)
        if not tau.size:
            continue
        half = np.full(tau.shape, np.nan) if stderr is None else 1.96 * np.asarray(stderr, float)
        if mark == "-":
            ax.plot(tau, value, color=colour, linewidth=1.0, label=name)
            ticks |= set(tau)
            continue
        style: dict[str, Any] = dict(
            fmt=mark, ms=4.5, capsize=2, elinewidth=1.0, color=colour, label=name
        )
        style |= {} if filled else {"markerfacecolor": "white"}
        at, known = tau * 1.05 ** (k - 3), np.isfinite(half)
        if known.any():
            ax.errorbar(at[known], value[known], half[known], **style)
        if not known.all():  # open, since a filled mark without a bar looks exact
            style |= {"markerfacecolor": "white", "label": None if known.any() else name}
            ax.errorbar(at[~known], value[~known], **style)
    ax.set(
        xscale="log",
        xlabel=r"relative temperature $\tau$",
        ylabel=r"$\Delta$F(open $-$ closed) / kT",
    )
    if ticks:
        ax.set_xticks(sorted(ticks), [f"{tau:g}" for tau in sorted(ticks)])
        ax.set_xlim(min(ticks) / 1.35, max(ticks) * 1.35)
        ax.minorticks_off()
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.55 * (high - low))  # room for the legend
    ax.legend(fontsize=7.5, loc="upper right")


def _paths(ax: Axes, paths: Mapping[str, Any]) -> None:
    all_u, u = np.asarray(paths["all_u"], float), np.asarray(paths["u"], float)
    t = np.linspace(0.0, 1.0, len(u))
    low, middle, high = np.quantile(all_u, (0.1, 0.5, 0.9), axis=0)
    ax.fill_between(t, low, high, color=ACCENT, alpha=0.2, linewidth=0, label="80 % of the pairs")
    ax.plot(t, middle, color=ACCENT, linewidth=1.0, label=f"median of {len(all_u)} pairs")
    ax.plot(t, u, color=REWEIGHTED, label="best pair")
    ax.set(xlabel="place on the latent path", ylabel="energy u / kT")
    ends = np.concatenate([all_u[:, 0], all_u[:, -1], u])
    if np.nanmax(high) > 4 * max(np.nanmax(ends), 1.0) and np.nanmin(all_u) > 0:
        ax.set_yscale("log")
    ax.legend(fontsize=8, loc="upper left")
