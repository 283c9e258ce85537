"""Figures of free energies from two generators and of adaptive exploration, from plain arrays to PNG files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from jbg.plotting.samples import draw_contours
from jbg.plotting.style import ACCENT, GENERATED, REFERENCE, REWEIGHTED, STATE_COLOURS, figure_file

ESTIMATORS = {"bar": REWEIGHTED, "reweighting": ACCENT, "kl losses": GENERATED}
LABELS = {"bar": "BAR", "reweighting": "reweighting", "kl losses": "KL losses"}


def two_generators(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Differences of two states against temperature, and their errors against the number of samples.

    Args:
        rows: ``system``, ``a``, ``b``, ``tau``, ``n``, ``estimator``, ``reference``, ``value``, ``stderr``, one
            for each seed; a value of None is left out. One row of panels for each system and pair: the difference
            from all samples with two standard errors, then at tau = 1 the error from n samples of each
            generator, root mean square over the seeds, beside that of the standard errors (dashed).
        path: the PNG to write.
    """
    pairs = list(dict.fromkeys((r["system"], r["a"], r["b"]) for r in rows))
    with figure_file(path, 9.0, 0.4 + 2.9 * len(pairs)) as figure:
        axes = figure.subplots(len(pairs), 2, squeeze=False)
        for (left, right), pair in zip(axes, pairs, strict=True):
            chosen = [r for r in rows if (r["system"], r["a"], r["b"]) == pair]
            _against_temperature(left, chosen)
            _against_samples(right, [r for r in chosen if r["tau"] == 1.0])
            left.set_title(f"{pair[0]}: F({pair[2]}) $-$ F({pair[1]})", loc="left")
            right.set_title("error over seeds at $\\tau$ = 1", loc="left")
        axes[0, 0].legend()


def _against_temperature(ax: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    most = max(r["n"] for r in rows)
    exact = sorted({(r["tau"], r["reference"]) for r in rows})
    ax.plot(*zip(*exact, strict=True), color=REFERENCE, linewidth=1.0, label="quadrature")
    for k, (name, colour) in enumerate(ESTIMATORS.items()):
        points = [
            (r["tau"] * 1.04 ** (k - 1), r["value"], 2 * r["stderr"])
            for r in rows
            if r["estimator"] == name and r["n"] == most and r["value"] is not None
        ]
        if points:
            tau, value, half = np.array(points).T
            ax.errorbar(
                tau, value, half, fmt="o", ms=3.5, color=colour, capsize=2, label=LABELS[name]
            )
    # a loss of one clash would hide all else
    ax.set_ylim(min(f for _, f in exact) - 2.0, max(f for _, f in exact) + 2.0)
    taus = [tau for tau, _ in exact]
    ax.set(xscale="log", xlabel="relative temperature $\\tau$", ylabel="$\\Delta$F / kT")
    ax.set_xticks(taus, [f"{tau:g}" for tau in taus])
    ax.minorticks_off()


def _against_samples(ax: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    counts = sorted({r["n"] for r in rows})
    for name, colour in ESTIMATORS.items():
        points = []
        for n in counts:
            of_seeds = [
                (r["value"] - r["reference"], r["stderr"])
                for r in rows
                if r["estimator"] == name and r["n"] == n and r["value"] is not None
            ]
            if of_seeds:
                points.append((n, *np.sqrt(np.mean(np.square(of_seeds), axis=0))))
        if points:
            n, error, claimed = np.array(points).T
            ax.plot(n, error, "o-", ms=3.5, color=colour, label=LABELS[name])
            ax.plot(n, claimed, "--", linewidth=1.0, color=colour)
    ax.plot([], [], "--", linewidth=1.0, color=REFERENCE, label="as estimated")
    # a loss of one clash would hide all else
    ax.set_ylim(1e-4, 3.0)
    ax.set(xscale="log", yscale="log")
    ax.set(xlabel="samples of each generator", ylabel="rms error / kT")
    ax.legend()


def exploration(
    path: Path,
    history: Mapping[str, ArrayLike],
    *,
    state_names: Sequence[str],
    snapshots: Sequence[tuple[int, ArrayLike]],
    axis_labels: tuple[str, str],
    contour: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
) -> None:
    """Adaptive exploration in the layout of Noe et al. 2019, Fig. 4: three histories over three snapshots.

    Args:
        path: the PNG to write.
        history: ``n_evaluations``, energies spent after each iteration; ``accepted_local`` and ``step`` of local
            moves in latent space, ``(n,)`` each; ``shares`` of the buffer in each state, ``(n, n_states)``.
        state_names: of the states.
        snapshots: energies spent and two coordinates of the buffer then, ``(m, 2)``, each.
        axis_labels: of the two coordinates.
        contour: x ``(nx,)``, y ``(ny,)`` and the energy ``(ny, nx)``, drawn beneath where given.
    """
    with figure_file(path, 9.0, 5.6) as figure:
        (top, bottom) = figure.subplots(2, 3)
        _histories(top, history, state_names)
        every = np.concatenate([np.asarray(x) for _, x in snapshots])
        low, high = every.min(axis=0), every.max(axis=0)
        pad = 0.05 * (high - low) + 1e-6
        for ax, (n, x) in zip(bottom, snapshots, strict=True):
            if contour is not None:
                draw_contours(ax, *contour)
            ax.scatter(*np.asarray(x)[:2000].T, s=4, color=GENERATED, alpha=0.5, linewidth=0)
            ax.set(xlabel=axis_labels[0], ylabel=axis_labels[1])
            ax.set(
                xlim=(low[0] - pad[0], high[0] + pad[0]), ylim=(low[1] - pad[1], high[1] + pad[1])
            )
            ax.set_title(f"after {n:,} energies", loc="left")
            ax.grid(visible=False)


def _histories(
    axes: Sequence[Axes], history: Mapping[str, ArrayLike], state_names: Sequence[str]
) -> None:
    spent = np.asarray(history["n_evaluations"], float) / 1000
    axes[0].plot(spent, history["accepted_local"], color=REWEIGHTED)
    axes[0].set(ylabel="acceptance of local moves", ylim=(0, 1))
    axes[1].plot(spent, history["step"], color=REWEIGHTED)
    axes[1].set(ylabel="step in z")
    axes[1].set_ylim(bottom=0)
    shares = np.asarray(history["shares"]).T
    for share, name, colour in zip(shares, state_names, STATE_COLOURS, strict=False):
        axes[2].plot(spent, share, color=colour, label=name)
    axes[2].set(ylabel="share of the buffer", yscale="log", ylim=(5e-4, 1.5))
    axes[2].legend()
    for ax in axes:
        ax.set(xlabel="energy evaluations / $10^3$", xlim=(0, spent[-1]))
