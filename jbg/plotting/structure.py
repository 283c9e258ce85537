"""Figures of a protein's ensemble: how much each residue moves, mean distances, energies."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import ArrayLike

from jbg.plotting.style import GENERATED, REFERENCE, STATE_COLOURS, figure_file, legend_above

MOST_POWERS = 6  # labels


def fluctuations(
    path: Path, *, residue: ArrayLike, generated: ArrayLike, reference: ArrayLike, half: ArrayLike
) -> None:
    """RMSF of the CA atoms by residue, generated and reference with a 95 % band (Kim et al. 2023, Fig. 3a).

    Args:
        path: the PNG to write.
        residue: numbers ``(n,)``.
        generated: Angstrom ``(n,)``.
        reference: the same of the reference.
        half: half of its 95 % intervals ``(n,)``.
    """
    residue, generated, reference, half = (
        np.asarray(a, float) for a in (residue, generated, reference, half)
    )
    with figure_file(path, 5.6, 3.8) as figure:
        ax = figure.subplots()
        ax.fill_between(
            residue,
            reference - half,
            reference + half,
            color=REFERENCE,
            alpha=0.15,
            linewidth=0,
        )
        ax.plot(residue, reference, color=REFERENCE, marker="o", markersize=3, label="reference")
        ax.plot(residue, generated, color=GENERATED, marker="o", markersize=3, label="generated")
        ax.set(xlabel="residue", ylabel="RMSF of CA / \N{ANGSTROM SIGN}", ylim=(0, None))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend_above(ax)


def distance_maps(
    path: Path, *, residue: ArrayLike, generated: ArrayLike, reference: ArrayLike
) -> None:
    """Mean distances of CA atoms of the reference (upper triangle) and generated (lower), and their difference.

    Args:
        path: the PNG to write.
        residue: numbers ``(n,)``, one after the other.
        generated: ``(n, n)``, Angstrom.
        reference: the same of the reference.
    """
    generated, reference = np.asarray(generated, float), np.asarray(reference, float)
    both = np.triu(reference) + np.tril(generated, -1)
    change = generated - reference
    largest = max(float(np.nanmax(np.abs(change))), 1e-3)
    first = float(np.asarray(residue, float)[0]) - 0.5
    last = first + len(both)
    extent = (first, last, last, first)
    with figure_file(path, 8.6, 3.9) as figure:
        left, right = figure.subplots(1, 2)
        panels = (
            (left, both, {"cmap": "viridis_r"}, "mean distance / \N{ANGSTROM SIGN}"),
            (
                right,
                change,
                {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest},
                "generated \N{MINUS SIGN} reference / \N{ANGSTROM SIGN}",
            ),
        )
        for ax, values, colours, label in panels:
            image = ax.imshow(values, extent=extent, **colours)
            ax.set(xlabel="residue", ylabel="residue")
            ax.grid(visible=False)
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_major_locator(MaxNLocator(integer=True))
            figure.colorbar(image, ax=ax, label=label, shrink=0.85)


def geometry_distances(path: Path, *, kinds: Mapping[str, np.ndarray], reach: float = 1.0) -> None:
    """Distance of the distribution of each bond, angle or torsion from the reference's, sorted, beside that of
    chains from each other (Noe et al. 2019, Fig. 5, in one number each).

    Args:
        path: the PNG to write.
        kinds: by name, a panel each: distances and floors ``(2, n)``.
        reach: largest value of the axis.
    """
    with figure_file(path, 2.9 * len(kinds), 3.4) as figure:
        panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
        for ax, (name, values) in zip(panels, kinds.items(), strict=True):
            distance, floor = (np.sort(np.asarray(each, float)) for each in values)
            share = (np.arange(len(distance)) + 1) / len(distance)
            ax.plot(floor, share, color=REFERENCE, label="chains among themselves")
            ax.plot(distance, share, color=GENERATED, label="generated")
            largest = max(distance[-1], floor[-1])
            ax.set(xlabel="distance from the reference", title=f"{len(distance)} {name}")
            ax.set(xlim=(0, min(reach, 1.05 * largest)), ylim=(0, 1.02))
        panels[0].set_ylabel("share below")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)


def few_powers(ax: Axes) -> None:
    """Labels of powers of ten far enough apart to be read, on a symmetrical logarithmic axis of energies."""
    low, high = ax.get_xlim()
    first, last = 3, int(np.floor(np.log10(max(high, 1e4))))
    step = max(1, -(-(last - first + 1) // MOST_POWERS))
    negative = [] if low > -(10**first) else [-(10.0**first)]
    ax.set_xticks([*negative, 0.0, *(10.0**k for k in range(first, last + 1, step))])
    ax.xaxis.set_minor_locator(NullLocator())


def energy_quantile_curves(path: Path, *, generated: ArrayLike, reference: ArrayLike) -> None:
    """Share of frames below an energy, on an axis that is linear near the reference and logarithmic far above.

    Args:
        path: the PNG to write.
        generated: reduced energies ``(n,)``; those that are not finite count as infinitely high.
        reference: the same of the reference.
    """
    energies_by_stage(path, stages={"generated": generated}, reference=reference)


def energies_by_stage(path: Path, *, stages: Mapping[str, ArrayLike], reference: ArrayLike) -> None:
    """The same of several flows, such as one at the end of each stage of its training (Noe et al. 2019, Fig. 5).

    Args:
        path: the PNG to write.
        stages: by name, reduced energies ``(n,)``; the last is the final flow's.
        reference: reduced energies ``(k,)``.
    """
    reference = np.asarray(reference, float)
    n = len(stages) - 1
    shades = matplotlib.colormaps["viridis_r"](np.linspace(0.1, 1.0, n))
    earlier = STATE_COLOURS[:n] if n <= len(STATE_COLOURS) else [to_hex(shade) for shade in shades]
    with figure_file(path, 5.6, 3.8 + 0.2 * max(0, n // 3 - 2)) as figure:
        ax = figure.subplots()
        low, middle, high = np.quantile(reference, (0.0, 0.5, 0.975))
        curves = [("reference", reference, REFERENCE)]
        for (name, u), colour in zip(stages.items(), (*earlier, GENERATED), strict=True):
            curves.append((name, np.asarray(u, float), colour))
        for label, u, colour in curves:
            u = np.sort(np.where(np.isfinite(u), u, np.inf)) - middle
            shown = np.isfinite(u)
            ax.plot(u[shown], (np.arange(len(u)) + 1)[shown] / len(u), color=colour, label=label)
        ax.axvline(high - middle + 50, color="#666666", linewidth=0.8, linestyle="--")
        # linear up to where frames clash, then by powers of ten
        linear = float(max(100.0, 2 * (high - low)))
        ax.set_xscale("symlog", linthresh=linear, linscale=2.0)
        few_powers(ax)
        ax.set(
            xlabel="energy above the median of the reference / kT",
            ylabel="share of frames below",
            xlim=(1.5 * (low - middle), None),
            ylim=(0, 1.02),
        )
        legend_above(ax, ncols=min(3, len(curves)))
