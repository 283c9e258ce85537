"""The figure of the dimer: every panel holds what it was given."""

import importlib

import numpy as np
import pytest
from matplotlib.collections import EllipseCollection

from jbg import plotting
from jbg.plotting import style
from jbg.systems import lj_dimer

CLOSED, OPEN = lj_dimer(relax=False).start
CENTERS = np.linspace(0.8, 2.2, 15)


@pytest.fixture
def figures(monkeypatch):
    made, original = [], style.Figure.savefig
    keep = lambda self, *args, **kwargs: made.append(self) or original(self, *args, **kwargs)
    monkeypatch.setattr(style.Figure, "savefig", keep)
    return made


def profile(depth: float) -> dict:
    f = depth * (1 - ((CENTERS - 1.5) / 0.7) ** 2) + 3.0
    stderr = np.where(np.arange(15) == 7, 9.0, 0.3)
    shared = {"centers": CENTERS, "reweighted": f + 0.5, "stderr": stderr}
    return shared | {"reference_centers": CENTERS, "reference": f, "reference_stderr": 0.1 + 0 * f}


def test_every_panel_is_there(figures, tmp_path):
    rng = np.random.default_rng(0)
    energies = {
        name: {"data": rng.normal(50, 5, 300), "generated": rng.normal(60, 9, 300)} for name in "ab"
    }
    all_u = rng.uniform(30, 60, (9, 20))
    plotting.dimer(
        tmp_path / "a.png",
        snapshots={"closed": CLOSED, "open": OPEN},
        profiles={0.5: profile(20.0), 1.0: profile(10.0)},
        energies=energies,
        differences={
            "umbrella sampling": ([0.5, 1.0], [13.0, 6.7], None),
            "BAR through the flow": ([0.5, 1.0], [13.1, 6.8], [0.1, 0.1]),
            "reweighting": ([], [], []),
            "published BG": ([0.5, 1.0], [13.64, 7.51], None),
        },
        paths={"all_u": all_u, "u": all_u[0]},
    )
    (figure,) = figures
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[:2] == ["closed", "open"]
    discs = [c for c in figure.axes[0].collections if isinstance(c, EllipseCollection)]
    np.testing.assert_allclose(discs[0].get_offsets(), CLOSED.reshape(-1, 2))
    colours = discs[0].get_facecolors()
    assert not np.allclose(colours[1], colours[2])  # the dimer stands out from its bath
    np.testing.assert_allclose(colours[2:], colours[[2]] * np.ones((36, 1)))
    at = {ax.get_title(): ax for ax in figure.axes}
    for tau, depth in ((0.5, 20.0), (1.0, 10.0)):
        ax = at[rf"$\tau$ = {tau:g}"]
        p = profile(depth)
        points = next(
            line for line in ax.lines if len(line.get_xdata()) == 14
        )  # one error is too large
        lowest = p["reference"].min()
        np.testing.assert_allclose(points.get_ydata(), np.delete(p["reweighted"] - lowest, 7))
    assert all(ax.get_xlabel() for ax in figure.axes)
    legends = [ax.get_legend() for ax in figure.axes if ax.get_legend()]
    named = {text.get_text() for legend in legends for text in legend.get_texts()}
    assert {"BAR through the flow", "published BG", "best pair", "simulated"} <= named
    assert "reweighting" not in named  # it has no number to show
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_every_series_has_a_mark_of_its_own():
    marks = importlib.import_module("jbg.plotting.dimer").MARKS
    assert len({(mark, colour) for mark, colour, _ in marks.values()}) == len(marks)


def test_marks_without_an_error_are_open(tmp_path):
    with style.figure_file(tmp_path / "d.png", 3.0, 3.0) as figure:
        ax = figure.subplots()
        points = ([0.5, 1.0, 2.0], [3.0, 2.0, 1.0], [0.1, np.nan, 0.1])
        importlib.import_module("jbg.plotting.dimer")._differences(
            ax, {"BAR through the flow": points}
        )
        (known, _, (bars,)), (unknown, *_) = ax.containers
        assert len(known.get_xdata()) == len(bars.get_segments()) == 2
        np.testing.assert_array_equal(unknown.get_ydata(), [2.0])
        assert unknown.get_markerfacecolor() == "white"
        assert known.get_markerfacecolor() != "white"
