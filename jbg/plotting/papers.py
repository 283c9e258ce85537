"""Figures in the layout of published ones: systems of the plane, and profiles side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from jbg.plotting.profiles import draw_profile
from jbg.plotting.samples import draw_contours, draw_generated, draw_latent
from jbg.plotting.style import figure_file, legend_above, scatter_by_state, thinned

Profile = Mapping[str, ArrayLike]


def plane_systems(
    rows: Sequence[Mapping], path: Path, *, profile_titles: Sequence[str], depth: float = 16.0
) -> None:
    """One row for each system: configurations over the potential, latent space, profiles of several trainings.

    Args:
        rows: mappings with ``title``; ``x_data`` and ``z_data`` ``(n, 2)``, ``state_data`` ``(n,)`` and
            ``state_names``; ``x_generated`` ``(n, 2)``; ``contour`` x, y, u as in `configurations`; ``profiles``,
            one for each of ``profile_titles`` as in `free_energy_profile`; ``label`` of their coordinate and
            ``bounds`` of it, or None.
        path: the PNG to write.
        profile_titles: of the columns of profiles.
        depth: of the profiles' axis, kT.
    """
    n_columns = 2 + len(profile_titles)
    with figure_file(path, 3.3 * n_columns, 0.4 + 3.2 * len(rows)) as figure:
        grid = figure.subplots(len(rows), n_columns, squeeze=False)
        for axes, row in zip(grid, rows, strict=True):
            _configurations_panel(axes[0], row)
            draw_latent(axes[1], thinned(row["z_data"], 2000), thinned(row["state_data"], 2000),
                        row["state_names"])  # fmt: skip
            for ax, profile in zip(axes[2:], row["profiles"], strict=True):
                _profile_panel(ax, profile, row["bounds"], depth)
                ax.set_xlabel(row["label"])
            axes[2].set_ylabel("free energy / kT")
            legend_above(axes[0], ncols=2)
        for ax, title in zip(grid[0], ("", "latent space", *profile_titles), strict=True):
            ax.set_title(title)
        _shared_legend(figure, grid[:, 2:])


def _configurations_panel(ax: Axes, row: Mapping) -> None:
    draw_contours(ax, *row["contour"])
    draw_generated(ax, row["x_generated"])
    scatter_by_state(ax, row["x_data"], row["state_data"], row["state_names"])
    x, y, _ = row["contour"]
    ax.set(xlabel="x", ylabel=f"{row['title']}\ny", xlim=_range(x), ylim=_range(y))
    ax.grid(visible=False)


def _profile_panel(ax: Axes, profile: Profile, bounds: tuple | None, depth: float) -> None:
    draw_profile(ax, profile)
    if "reference" in profile:  # broad and pale: seen under a curve that agrees with it
        ax.lines[0].set(linewidth=4.0, alpha=0.3)
    if bounds is not None:
        for bound in bounds:
            ax.axvline(bound, color="#888888", linewidth=0.9, linestyle=":")
    ax.set_ylim(-0.05 * depth, depth)
    ax.set_xlim(*_range(profile["centers"]))


def profile_grid(
    rows: Mapping[str, Mapping[str, Profile]],
    path: Path,
    *,
    labels: Sequence[str],
    depth: float = 16.0,
) -> None:
    """Profiles of every system (rows) under every training (columns), each beside the exact one.

    Args:
        rows: system -> training -> profile as in `free_energy_profile`; all systems have the same trainings.
        path: the PNG to write.
        labels: of the coordinate of each system.
        depth: of the axes, kT.
    """
    n_columns = max(len(row) for row in rows.values())
    with figure_file(path, 0.5 + 2.7 * n_columns, 0.5 + 2.7 * len(rows)) as figure:
        grid = figure.subplots(len(rows), n_columns, squeeze=False, sharey=True, sharex="row")
        for axes, (name, row), label in zip(grid, rows.items(), labels, strict=True):
            for ax, profile in zip(axes, row.values(), strict=True):
                _profile_panel(ax, profile, None, depth)
                ax.set_xlabel(label)
            axes[0].set_ylabel(f"{name}\nfree energy / kT")
        for ax, training in zip(grid[0], next(iter(rows.values())), strict=True):
            ax.set_title(training)
        _shared_legend(figure, grid)


def _shared_legend(figure, panels: np.ndarray) -> None:
    """The names in all panels once, below the whole figure."""
    found = {}
    for ax in panels.flat:
        handles, names = ax.get_legend_handles_labels()
        found = dict(zip(names, handles, strict=True)) | found
    ncols = min(len(found), int(figure.get_figwidth() / 1.7))
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=ncols)


def _range(values: ArrayLike) -> tuple[float, float]:
    values = np.asarray(values, float)
    return float(values.min()), float(values.max())
