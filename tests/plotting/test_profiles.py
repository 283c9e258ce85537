"""Profiles: what has no error is never a firm line, and what is not known looks so."""

import numpy as np
import pytest

from jbg import plotting
from jbg.plotting import profiles, style

X = np.linspace(-1.0, 1.0, 21)
ERROR_UNKNOWN, TOO_LARGE, EMPTY = [3, 10, 11], [15], [5, 6]


def profile():
    stderr = np.full(21, 0.05)
    stderr[ERROR_UNKNOWN + EMPTY] = np.nan
    stderr[TOO_LARGE] = 0.51
    reweighted = X**2 + 0.1
    reweighted[EMPTY] = np.nan
    return {"centers": X, "reference": X**2, "reweighted": reweighted, "stderr": stderr}


@pytest.fixture
def axes(tmp_path):
    with style.figure_file(tmp_path / "figure.png", 3.0, 3.0) as figure:
        yield figure.subplots()


def curves(ax):
    return {line.get_label(): line for line in ax.lines}


def spans(ax):
    """Ranges of the grey shading."""
    return [(p.get_x(), p.get_x() + p.get_width()) for p in ax.patches]


def test_only_bins_with_an_error_are_on_the_line(axes):
    profiles.draw_profile(axes, profile())
    line = curves(axes)["reweighted"]
    known = np.isfinite(line.get_ydata())
    assert set(np.flatnonzero(~known)) == {*ERROR_UNKNOWN, *TOO_LARGE, *EMPTY}
    np.testing.assert_allclose(line.get_ydata()[known], (X**2 + 0.1)[known])


def test_values_without_an_error_are_open_and_alone(axes):
    profiles.draw_profile(axes, profile())
    circles = curves(axes)["error unknown"]
    np.testing.assert_array_equal(circles.get_xdata(), X[ERROR_UNKNOWN])
    assert circles.get_linestyle() == "None"
    assert circles.get_markerfacecolor() == "white"


def test_what_is_not_known_is_grey_and_named_once(axes):
    profiles.draw_profile(axes, profile())
    half = 0.05
    expected = [(X[a] - half, X[b] + half) for a, b in [(3, 3), (5, 6), (10, 11), (15, 15)]]
    np.testing.assert_allclose(spans(axes), expected, atol=1e-12)
    assert axes.get_legend_handles_labels()[1].count("not known to 0.5 kT") == 1


def test_all_known_leaves_no_grey(axes):
    profiles.draw_profile(axes, profile() | {"reweighted": X**2, "stderr": np.full(21, 0.1)})
    assert spans(axes) == []
    assert "error unknown" not in curves(axes)


def test_without_any_errors_no_line_is_drawn(axes):
    whole = {"centers": X, "reweighted": X**2}
    profiles.draw_profile(axes, whole)
    assert np.isnan(curves(axes)["reweighted"].get_ydata()).all()
    assert len(curves(axes)["error unknown"].get_xdata()) == 21


def test_a_simulated_reference_without_error_is_open_an_exact_one_firm(axes):
    known = np.where(X < 0, 0.1, np.nan)
    style.band(axes, X, X**2, known, "black", "simulated")
    style.band(axes, X, X**2, None, "black", "exact")
    assert np.isfinite(curves(axes)["simulated"].get_ydata()).sum() == np.isfinite(known).sum()
    np.testing.assert_array_equal(curves(axes)["error unknown"].get_xdata(), X[X >= 0])
    assert np.isfinite(curves(axes)["exact"].get_ydata()).all()


def test_differences_are_of_bins_that_both_know(axes):
    reference_stderr = np.where(np.arange(21) == 18, np.nan, 0.02)
    profiles.draw_difference(axes, profile() | {"reference_stderr": reference_stderr})
    drawn = np.isfinite(curves(axes)["difference"].get_ydata())
    assert set(np.flatnonzero(~drawn)) == {*ERROR_UNKNOWN, *TOO_LARGE, *EMPTY, 18}
    assert "error unknown" not in curves(axes)


def test_the_figure_holds_all_of_it(tmp_path):
    plotting.free_energy_profile(profile(), tmp_path / "p.png", label="x")
    assert (tmp_path / "p.png").stat().st_size > 10_000
