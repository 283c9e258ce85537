"""The figures of a run, from plain arrays to PNG files; the only home of matplotlib.

Every function takes numpy arrays and the path to write, and leaves out what is not finite. The
colours are Okabe and Ito's, distinct for colour-blind readers, and mean the same in every figure.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from jbg import storage
from jbg.reweighting import relative_weights

REFERENCE, GENERATED, REWEIGHTED, ACCENT = "#222222", "#E69F00", "#0072B2", "#009E73"
LARGEST_ERROR = 0.5  # kT, of a point of a profile worth drawing
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
CURVES = {  # panels of the training figure: axis label, and which metrics are drawn in it
    "$-$ln q / nat": lambda name: "nll" in name.split("_") or name == "forward_kl",
    "reverse KL / nat": lambda name: name == "kl",
    "log-variance": lambda name: name == "log_variance",
    "ESS fraction": lambda name: "ess" in name.split("_"),
}


@contextlib.contextmanager
def _figure(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A styled figure, inches, that is written to ``path`` when the block ends."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        storage.write_atomic(path, lambda file: figure.savefig(file, format="png", dpi=150))


def training_curves(records: Sequence[Mapping[str, Any]], path: Path) -> bool:
    """Metrics against the step counted through all stages; dotted lines where a stage ends.

    Args:
        records: of ``metrics.jsonl``: ``stage``, ``step`` and the metrics that ``CURVES`` picks.
        path: the PNG to write.

    Returns:
        Whether there was anything to draw.
    """
    names = dict.fromkeys(name for r in records for name, value in r.items() if value is not None)
    panels = {label: [name for name in names if picks(name)] for label, picks in CURVES.items()}
    panels = {label: group for label, group in panels.items() if group}
    drawn = {name for group in panels.values() for name in group}
    records = [r for r in records if drawn & r.keys()]
    if not panels:
        return False
    offsets, total = {}, 0
    for stage in dict.fromkeys(r["stage"] for r in records):
        offsets[stage] = total
        total += max(r["step"] for r in records if r["stage"] == stage) + 1
    with _figure(path, 8.0, 0.6 + 1.75 * len(panels)) as figure:
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for ax, (label, group) in zip(axes, panels.items(), strict=True):
            for name, colour in zip(group, STATE_COLOURS, strict=False):
                _curve(ax, records, name, offsets, colour)
            ax.set_ylabel(label)
            _curve_axis(ax, label)
            if len(group) > 1:
                ax.legend(loc="lower right" if label == "ESS fraction" else "upper right", ncols=2)
            for start in list(offsets.values())[1:]:
                ax.axvline(start, color="#888888", linewidth=0.9, linestyle=":")
        for stage, start in offsets.items():
            at = start + 0.004 * total
            axes[0].annotate(
                stage, (at, 1.02), xycoords=("data", "axes fraction"), color="#666666", fontsize=8.5
            )
        axes[-1].set_xlabel("training step")
        axes[-1].set_xlim(0, total)
        figure.align_ylabels(axes)
    return True


def _curve(ax: Axes, records: Sequence[Mapping], name: str, offsets: Mapping, colour: str) -> None:
    points = [
        (offsets[r["stage"]] + r["step"], r[name]) for r in records if r.get(name) is not None
    ]
    step, value = np.array(points, float).T
    label = name.replace("_", " ")
    window = max(1, len(value) // 60)
    if window < 4:
        ax.plot(step, value, color=colour, label=label)
        return
    ax.plot(step, value, color=colour, alpha=0.25, linewidth=0.7)
    padded = np.pad(value, (window // 2, window - 1 - window // 2), mode="edge")
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(padded, window), axis=-1)
    ax.plot(step, smooth, color=colour, label=label)


def _curve_axis(ax: Axes, label: str) -> None:
    """Limits that a few wild steps cannot spoil; a logarithm where values span decades."""
    values = np.concatenate([line.get_ydata() for line in ax.lines])
    if label == "ESS fraction":
        ax.set_ylim(0, 1)
        return
    low, high = values.min(), values.max()
    if low > 0 and high > 30 * low:
        ax.set_yscale("log")
        return
    body = np.quantile(values, 0.97)
    if high - low > 3 * (body - low) > 0:
        ax.set_ylim(low - 0.05 * (body - low), low + 1.3 * (body - low))


def free_energy_profile(
    profile: Mapping[str, ArrayLike], path: Path, *, label: str, unit: str = ""
) -> None:
    """-ln p along one coordinate beside its reference, and their difference below.

    Args:
        profile: ``centers`` and any of ``reference``, ``reference_stderr``, ``generated``,
            ``reweighted``, ``stderr`` (of the reweighted one); all ``(n_bins,)``, in kT, NaN where
            unknown. Bands are 95 %; bins with an error above ``LARGEST_ERROR`` are left out.
        path: the PNG to write.
        label: what the coordinate is.
        unit: of the centers; radians are shown in degrees.
    """
    p = {name: np.asarray(values, float) for name, values in profile.items()}
    x, known = p["centers"], [p[n] for n in ("reference", "reweighted", "generated") if n in p]
    if unit in ("rad", "radian", "radians"):
        x, unit = np.degrees(x), "degrees"
    offset = np.nanmin(known[0]) if known and np.isfinite(known[0]).any() else 0.0
    if "reweighted" in p and "stderr" in p:
        p["reweighted"] = np.where(p["stderr"] > LARGEST_ERROR, np.nan, p["reweighted"])
    compare = "reference" in p and "reweighted" in p
    with _figure(path, 5.6, 4.6 if compare else 3.6) as figure:
        ratio = {"height_ratios": (3, 1)} if compare else {}
        axes = figure.subplots(2 if compare else 1, 1, sharex=True, squeeze=False, **ratio)[:, 0]
        if "reference" in p:
            _band(
                axes[0],
                x,
                p["reference"] - offset,
                p.get("reference_stderr"),
                REFERENCE,
                "reference",
            )
        if "generated" in p:
            style = dict(color=GENERATED, linestyle="--", label="generated")
            axes[0].plot(x, p["generated"] - offset, **style)
        if "reweighted" in p:
            _band(axes[0], x, p["reweighted"] - offset, p.get("stderr"), REWEIGHTED, "reweighted")
        axes[0].set_ylabel("free energy / kT")
        axes[0].legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        if compare:
            both = p["reweighted"] - p["reference"]
            axes[1].axhline(0.0, color=REFERENCE, linewidth=0.9)
            error = _combined(p.get("stderr"), p.get("reference_stderr"))
            _band(axes[1], x, both, error, REWEIGHTED, "difference")
            axes[1].set_ylabel("difference / kT")
            _difference_limits(axes[1], both)
        axes[-1].set_xlabel(f"{label} / {unit}" if unit else label)
        if unit == "degrees":
            axes[-1].set_xlim(-180, 180)
            axes[-1].set_xticks(range(-180, 181, 60))


def _band(ax: Axes, x: np.ndarray, y: np.ndarray, stderr: Any, colour: str, label: str) -> None:
    if stderr is not None:
        half = 1.96 * np.asarray(stderr, float)
        ax.fill_between(x, y - half, y + half, color=colour, alpha=0.2, linewidth=0)
    ax.plot(x, y, color=colour, label=label)


def _combined(*errors: Any) -> np.ndarray | None:
    given = [np.asarray(error, float) for error in errors if error is not None]
    return np.sqrt(sum(error**2 for error in given)) if given else None


def _difference_limits(ax: Axes, values: np.ndarray) -> None:
    finite = np.abs(values[np.isfinite(values)])
    half = max(0.2, 1.5 * float(np.quantile(finite, 0.9))) if finite.size else 1.0
    ax.set_ylim(-half, half)


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
    with _figure(path, 3.1 * len(free) + 0.8, 3.4) as figure:
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
    body = u["data"] if "data" in u else u["generated"]
    body = body[np.isfinite(body)]
    if not body.size:
        return
    low, high = np.quantile(body, (0.0005, 0.9995))
    low, high = low - 0.15 * (high - low), high + 0.5 * (high - low)
    edges = np.linspace(low, max(high, low + 1e-6), 91)
    colours = {"data": REFERENCE, "generated": GENERATED}
    with _figure(path, 5.6, 4.4) as figure:
        ax = figure.subplots()
        for name, values in u.items():
            _histogram(ax, values, edges, colours.get(name, ACCENT), name)
        if log_weights is not None and "generated" in u:
            w = relative_weights(log_weights)
            _histogram(ax, u["generated"], edges, REWEIGHTED, "reweighted", weights=w)
        if "generated" in u:
            beyond = np.mean(~(u["generated"] <= edges[-1]))
            text = f"{beyond:.2%} of the generated samples lie beyond the right edge"
            ax.set_title(text, loc="right", fontsize=8.5, color="#666666")
        ax.set(xlabel="reduced energy u / kT", ylabel="density / kT$^{-1}$", xlim=(low, edges[-1]))
        ax.legend()


def _histogram(ax: Axes, values, edges, colour: str, label: str, weights=None) -> None:
    """A density over all values, so that what falls outside is missing from the area."""
    keep = np.isfinite(values)
    w = np.ones(len(values)) if weights is None else weights
    counts, _ = np.histogram(values[keep], edges, weights=w[keep])
    density = counts / (max(w.sum(), 1e-300) * np.diff(edges))
    ax.stairs(density, edges, color=colour, linewidth=1.4, label=label)
    ax.stairs(density, edges, color=colour, alpha=0.08, fill=True)


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
    with _figure(path, 5.6, 4.6) as figure:
        ax = figure.subplots()
        if contour is not None:
            x, y, u = (np.asarray(part, float) for part in contour)
            levels = np.nanmin(u) + np.arange(0.0, 17.0, 1.0)
            ax.contour(x, y, u, levels, colors="#9a9a9a", linewidths=0.6, linestyles="solid")
        if x_generated is not None:
            some = _some(x_generated)
            ax.scatter(
                *some[:, :2].T, s=4, color=GENERATED, alpha=0.5, linewidth=0, label="generated"
            )
        if x_data is not None:
            _by_state(ax, x_data, state_data, state_names)
        ax.set(xlabel="x", ylabel="y")
        ax.grid(visible=False)
        _dots_legend(ax)


def latent(
    path: Path,
    *,
    z_data: ArrayLike,
    state_data: ArrayLike | None = None,
    state_names: Sequence[str] = (),
) -> None:
    """Data by state in latent space (the first two variables), over circles of radius 1, 2, 3."""
    with _figure(path, 5.0, 4.6) as figure:
        ax = figure.subplots()
        turn = np.linspace(0, 2 * np.pi, 200)
        for radius in (1, 2, 3):
            ax.plot(
                radius * np.cos(turn),
                radius * np.sin(turn),
                color="#666666",
                linewidth=0.7,
                zorder=3,
            )
        _by_state(ax, z_data, state_data, state_names)
        ax.set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal")
        ax.grid(visible=False)
        _dots_legend(ax)


def _some(points: ArrayLike, n: int = 4000) -> np.ndarray:
    """At most n of the rows, evenly spread: more only paint the same area twice."""
    points = np.asarray(points)
    return points[:: max(1, -(-len(points) // n))]


def _by_state(ax: Axes, points: ArrayLike, states: ArrayLike | None, names: Sequence[str]) -> None:
    points = np.asarray(points, float)
    states = np.zeros(len(points), int) if states is None else np.asarray(states)
    names = dict(enumerate(names))
    for k, state in enumerate(np.unique(states)):
        chosen = _some(points[states == state], 2000)
        colour = STATE_COLOURS[k % len(STATE_COLOURS)]
        label = f"data, {names.get(int(state), f'state {state}')}"
        ax.scatter(*chosen[:, :2].T, s=4, color=colour, alpha=0.5, linewidth=0, label=label)


def _dots_legend(ax: Axes) -> None:
    if ax.get_legend_handles_labels()[0]:
        legend = ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, markerscale=3)
        for handle in legend.legend_handles:
            handle.set_alpha(1.0)


def weight_diagnostics(log_weights: ArrayLike, path: Path) -> None:
    """The spread of ln w about ln of the mean weight, and how much the heaviest samples hold."""
    w = relative_weights(log_weights)
    if not w.any():
        return
    w = w[w > 0] / w.mean()
    with _figure(path, 8.0, 3.3) as figure:
        left, right = figure.subplots(1, 2)
        log_w = np.log(w)
        low, high = np.quantile(log_w, 0.002), log_w.max()
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
