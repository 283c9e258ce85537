"""Metrics of training against the step."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jbg.plotting.style import STATE_COLOURS, figure_file

CURVES = {  # panels of the training figure: axis label, and which metrics are drawn in it
    "$-$ln q / nat": lambda name: "nll" in name.split("_") or name == "forward_kl",
    "reverse KL + const. / nat": lambda name: name == "kl",
    "log-variance": lambda name: name == "log_variance",
    "ESS fraction": lambda name: "ess" in name.split("_"),
}

LETTER = 0.0105  # mean width of a letter of a stage's name, in widths of the panel


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
    with figure_file(path, 8.0, 0.6 + 1.75 * len(panels)) as figure:
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for ax, (label, group) in zip(axes, panels.items(), strict=True):
            for name, colour in zip(group, STATE_COLOURS, strict=False):
                _curve(ax, records, name, offsets, colour)
            ax.set_ylabel(label)
            _curve_axis(ax, label)
            if len(group) > 1:
                ax.legend(
                    loc="lower right" if label == "ESS fraction" else "best",
                    ncols=2,
                    frameon=True,
                    framealpha=0.85,
                    edgecolor="none",
                )
            for start in list(offsets.values())[1:]:
                ax.axvline(start, color="#888888", linewidth=0.9, linestyle=":")
        _stage_names(axes[0], offsets, total)
        axes[-1].set_xlabel("training step")
        axes[-1].set_xlim(0, total)
        figure.align_ylabels(axes)
    return True


def _stage_names(ax: Axes, offsets: Mapping[str, int], total: int) -> None:
    """Write the names above the panel where each stage begins, in as many lines as avoid overlaps."""
    ends: list[float] = []  # of the last name in each line, from the bottom
    for stage, start in offsets.items():
        at = start / total + 0.004
        line = next((i for i, end in enumerate(ends) if end < at), len(ends))
        ends[line : line + 1] = [at + LETTER * (len(stage) + 1)]
        ax.annotate(
            stage,
            (at, 1.0),
            xycoords="axes fraction",
            xytext=(0, 3 + 13 * line),
            textcoords="offset points",
            color="#666666",
            fontsize=8.5,
        )


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
    """Set limits that ignore a few outlying steps; a logarithmic axis where values span decades."""
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
