"""The error of a profile and its barrier, on curves whose numbers are known."""

import numpy as np
import pytest

from jbg.analysis import barrier, profile_error, weighted_profile
from jbg.interfaces import ConfigError

X = np.linspace(-2.0, 2.0, 41)
EXACT = 4.0 * (X**2 - 1.0) ** 2 - X  # minima near -1 and 1, the right one lower; top near 0
SMALL = np.full(X.size, 0.01)


def test_the_largest_error_is_found_between_the_bounds_only():
    f = EXACT.copy()
    f[0] += 9.0  # outside
    f[25] -= 0.3
    f[12] += 0.1
    found = profile_error(X, f, SMALL, EXACT, (-1.5, 1.5))
    assert found.largest == pytest.approx(0.3)
    assert found.at == pytest.approx(X[25])
    assert found.rms == pytest.approx(np.sqrt((0.3**2 + 0.1**2) / 31))
    assert found.rms_stderr == pytest.approx(0.01)
    assert found.n_missing == 0


def test_bins_without_value_are_counted_and_no_offset_is_fitted():
    f = EXACT + 0.2
    f[18:22] = np.nan
    found = profile_error(X, f, SMALL, EXACT, (-1.5, 1.5))
    assert found.n_missing == 4
    assert found.largest == pytest.approx(0.2)
    empty = profile_error(X, np.full(X.size, np.nan), SMALL, EXACT, (-1.5, 1.5))
    assert np.isnan(empty.largest)
    assert empty.n_missing == 31


def test_errors_of_a_histogram_are_as_large_as_its_standard_errors():
    """Uniform samples: F = ln 1 = 0; the squared errors over the squared standard errors average one."""
    rng = np.random.default_rng(3)
    edges = np.linspace(0.0, 1.0, 41)
    p = weighted_profile(rng.random(40_000), np.zeros(40_000), edges, seed=0)
    centres = 0.5 * (edges[1:] + edges[:-1])
    found = profile_error(centres, p.free_energy, p.stderr, np.zeros(40), (0.0, 1.0))
    # the ratio of variances of 40 bins has relative error sqrt(2 / 40) = 0.22; four of these
    assert (found.rms / found.rms_stderr) ** 2 == pytest.approx(1.0, abs=0.9)
    assert found.rms_stderr == pytest.approx(np.sqrt(40 / 40_000), rel=0.1)


def test_the_barrier_is_between_the_two_lowest_minima():
    f = EXACT + 0.05 * (np.abs(X) < 0.3)
    found = barrier(f, SMALL, EXACT)
    top, lowest = EXACT[np.abs(X) < 0.5].max(), EXACT.min()
    assert found.reference == pytest.approx(top - lowest)
    assert found.value == pytest.approx(found.reference + 0.05)
    assert found.stderr == pytest.approx(0.01 * np.sqrt(2))


def test_what_cannot_be_asked_is_one_line():
    with pytest.raises(ConfigError, match="no bin lies between"):
        profile_error(X, EXACT, SMALL, EXACT, (5.0, 6.0))
    with pytest.raises(ConfigError, match="two minima"):
        barrier(X**2, SMALL, X**2)
