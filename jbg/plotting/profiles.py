"""Free energies along one coordinate, and over two torsions."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from jbg.plotting.style import (
    GENERATED,
    REFERENCE,
    REWEIGHTED,
    band,
    combined_error,
    figure_file,
    firm,
    shade_unknown,
)

LARGEST_ERROR = 0.5  # kT; points of a profile with a larger error are not drawn


def free_energy_profile(
    profile: Mapping[str, ArrayLike], path: Path, *, label: str, unit: str = ""
) -> None:
    """-ln p along one coordinate beside its reference, and their difference below.

    Args:
        profile: ``centers`` and any of ``reference``, ``reference_stderr``, ``generated``,
            ``reweighted``, ``stderr`` (of the reweighted one); all ``(n_bins,)``, in kT, NaN where
            unknown. Bands are 95 %. A reference without errors is exact. Reweighted bins are drawn as a line
            where their error is at most ``LARGEST_ERROR``; where it is unknown they are open circles, and
            all bins but those of the line are grey.
        path: the PNG to write.
        label: name of the coordinate.
        unit: of the coordinate; radians are shown in degrees.
    """
    p = {name: np.asarray(values, float) for name, values in profile.items()}
    if unit in ("rad", "radian", "radians"):
        p["centers"], unit = np.degrees(p["centers"]), "degrees"
    width = p["centers"][1] - p["centers"][0] if len(p["centers"]) > 1 else 0.0
    compare = "reference" in p and "reweighted" in p
    with figure_file(path, 5.6, 4.6 if compare else 3.6) as figure:
        ratios = (3, 1) if compare else (1,)
        axes = figure.subplots(len(ratios), 1, sharex=True, squeeze=False, height_ratios=ratios)[
            :, 0
        ]
        draw_profile(axes[0], p)
        axes[0].set_ylabel("free energy / kT")
        axes[0].legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        if compare:
            draw_difference(axes[1], p)
            axes[1].set_ylabel("difference / kT")
        axes[-1].set_xlabel(f"{label} / {unit}" if unit else label)
        if unit == "degrees" and np.isclose(len(p["centers"]) * width, 360):
            first = round(p["centers"][0] - width / 2)
            axes[-1].set_xlim(first, first + 360)
            axes[-1].set_xticks(range(first, first + 361, 60))


def draw_profile(ax: Axes, profile: Mapping[str, ArrayLike]) -> None:
    """The curves of one panel; ``profile`` as in `free_energy_profile`, the lowest reference at 0."""
    p = {name: np.asarray(values, float) for name, values in profile.items()}
    x, known = p["centers"], [p[n] for n in ("reference", "reweighted", "generated") if n in p]
    offset = np.nanmin(known[0]) if known and np.isfinite(known[0]).any() else 0.0
    if "reference" in p:
        error = p.get("reference_stderr")
        band(ax, x, p["reference"] - offset, error, REFERENCE, "reference")
    if "generated" in p:
        generated = p["generated"] - offset
        ax.plot(x, generated, color=GENERATED, linestyle="--", label="generated")
    if "reweighted" in p:
        value, error = p["reweighted"] - offset, _error(p)
        band(ax, x, value, error, REWEIGHTED, "reweighted", largest=LARGEST_ERROR)
        shade_unknown(
            ax, x, firm(value, error, LARGEST_ERROR), f"not known to {LARGEST_ERROR:g} kT"
        )


def draw_difference(ax: Axes, profile: Mapping[str, ArrayLike]) -> None:
    """Reweighted minus reference where both are known, with the errors of both."""
    p = {name: np.asarray(values, float) for name, values in profile.items()}
    known = firm(p["reweighted"], _error(p), LARGEST_ERROR)
    known &= firm(p["reference"], p.get("reference_stderr"))
    both = np.where(known, p["reweighted"] - p["reference"], np.nan)
    ax.axhline(0.0, color=REFERENCE, linewidth=0.9)
    error = np.where(known, combined_error(_error(p), p.get("reference_stderr")), 0.0)
    band(ax, p["centers"], both, error, REWEIGHTED, "difference")
    shade_unknown(ax, p["centers"], known, "")
    finite = np.abs(both[known])
    half = max(0.2, 1.5 * float(np.quantile(finite, 0.9))) if finite.size else 1.0
    ax.set_ylim(-half, half)


def _error(p: Mapping[str, np.ndarray]) -> np.ndarray:
    """Standard error of the reweighted profile; NaN where none is given."""
    return p.get("stderr", np.full_like(p["centers"], np.nan))


def ramachandran(maps: Mapping[str, ArrayLike], path: Path, *, deepest: float = 10.0) -> None:
    """Free energies -ln p over phi and psi, side by side under one colour bar.

    Args:
        maps: title -> probabilities ``(bins, bins)``, phi along rows, both from -pi to pi.
        path: the PNG to write.
        deepest: the colour scale ends this many kT above the lowest cell, or at the highest cell.
    """
    with np.errstate(divide="ignore"):
        free = {title: -np.log(np.asarray(p, float)) for title, p in maps.items()}
    finite = np.concatenate([f[np.isfinite(f)] for f in free.values()] or [np.zeros(1)])
    lowest = finite.min() if finite.size else 0.0
    top = min(deepest, float(finite.max() - lowest)) if finite.size else deepest
    with figure_file(path, 3.1 * len(free) + 0.8, 3.4) as figure:
        axes = figure.subplots(1, len(free), sharey=True, squeeze=False)[0]
        for ax, (title, f) in zip(axes, free.items(), strict=True):
            shown = np.ma.masked_invalid(f - lowest).T
            scale = dict(vmin=0.0, vmax=max(top, 1.0), cmap="viridis", interpolation="nearest")
            image = ax.imshow(shown, origin="lower", extent=(-180, 180, -180, 180), **scale)
            ax.set(title=title, xlabel=r"$\phi$ / degrees")
            ax.set_xticks((-180, -90, 0, 90, 180))
            ax.set_yticks((-180, -90, 0, 90, 180))
            ax.grid(visible=False)
        axes[0].set_ylabel(r"$\psi$ / degrees")
        bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.015, extend="max")
        bar.set_label("$-$ln p / kT, above the minimum")
