"""Figures in the layout of papers: every system a row, every training a panel with its curves."""

import numpy as np
import pytest

from jbg import plotting
from jbg.plotting import style

X = np.linspace(-1.0, 1.0, 30)
PROFILE = {
    "centers": X,
    "reference": X**2,
    "reweighted": X**2 + 0.1,
    "stderr": np.full(30, 0.05),
    "generated": 0.5 * X**2,
}


@pytest.fixture
def drawn(monkeypatch):
    """The grids of axes of the figures made in the test."""
    grids, original = [], style.Figure.subplots

    def subplots(self, *args, **kwargs):
        grids.append(original(self, *args, **kwargs))
        return grids[-1]

    monkeypatch.setattr(style.Figure, "subplots", subplots)
    return grids


def row(title: str) -> dict:
    rng = np.random.default_rng(0)
    return {
        "title": title,
        "x_data": rng.normal(size=(50, 2)),
        "z_data": rng.normal(size=(50, 2)),
        "state_data": np.arange(50) % 2,
        "state_names": ["a", "b"],
        "x_generated": rng.normal(size=(40, 2)),
        "contour": (X, X, X[:, None] ** 2 + X**2),
        "profiles": [PROFILE, PROFILE],
        "label": "s",
        "bounds": (-0.5, 0.5),
    }


def test_each_system_has_a_row_with_its_profiles(drawn, tmp_path):
    path = tmp_path / "plane.png"
    plotting.plane_systems([row("one"), row("two")], path, profile_titles=("without", "with"))
    (grid,) = drawn
    assert grid.shape == (2, 4)
    assert [ax.get_title() for ax in grid[0]] == ["", "latent space", "without", "with"]
    assert [axes[0].get_ylabel().split("\n")[0] for axes in grid] == ["one", "two"]
    for ax in grid[:, 2:].flat:
        curves = {line.get_label(): line for line in ax.lines}
        assert {"reference", "generated", "reweighted"} <= curves.keys()
        lowest = PROFILE["reference"].min()
        np.testing.assert_allclose(curves["reweighted"].get_ydata(), X**2 + 0.1 - lowest)
        bounds = [line.get_xdata()[0] for name, line in curves.items() if name.startswith("_")]
        assert bounds == [-0.5, 0.5]
    assert path.stat().st_size > 10_000


def test_the_grid_of_profiles_names_systems_and_trainings(drawn, tmp_path):
    rows = {"one": {"ML": PROFILE, "KL": PROFILE}, "two": {"ML": PROFILE, "KL": PROFILE}}
    plotting.profile_grid(rows, tmp_path / "grid.png", labels=("x", "y"))
    (grid,) = drawn
    assert [ax.get_title() for ax in grid[0]] == ["ML", "KL"]
    assert [axes[0].get_ylabel().split("\n")[0] for axes in grid] == ["one", "two"]
    assert [axes[0].get_xlabel() for axes in grid] == ["x", "y"]
    assert (tmp_path / "grid.png").stat().st_size > 10_000


def test_profiles_without_a_number_are_drawn_empty(drawn, tmp_path):
    nan = {name: np.full(30, np.nan) for name in PROFILE} | {"centers": X}
    plotting.profile_grid({"one": {"ML": nan}}, tmp_path / "nan.png", labels=("x",))
    assert len(drawn) == 1
    assert (tmp_path / "nan.png").exists()


def test_a_point_without_neighbours_is_drawn(tmp_path):
    y = np.where(np.isin(np.arange(30), (4, 10, 11)), 1.0, np.nan)
    with style.figure_file(tmp_path / "band.png", 3.0, 3.0) as figure:
        ax = figure.subplots()
        style.band(ax, X, y, np.full(30, 0.1), "black", "curve")
        (_, points) = ax.lines
        np.testing.assert_array_equal(points.get_xdata(), X[[4]])
