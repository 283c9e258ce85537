"""The double well against published constants, minimisation and autodiff."""

import jax
import numpy as np
import pytest
from scipy.optimize import minimize

from jbg.interfaces import ConfigError
from jbg.systems import double_well, minima_and_barrier


def test_extrema_and_energies_are_those_of_the_published_code():
    # Noé et al. 2019, code form: minima -1.7723 and 1.6888, barrier 0.08353
    left, barrier, right = minima_and_barrier(a4=1.0, a2=6.0, a1=1.0)
    np.testing.assert_allclose([left, barrier, right], [-1.7723, 0.08353, 1.6888], atol=5e-5)
    energies = double_well().potential(np.array([[left, barrier, right], [0.0, 0.0, 0.0]]))
    np.testing.assert_allclose(energies, [-10.7524, 0.0417, -7.2893], atol=5e-5)


def test_the_supplement_s_coefficients_give_its_extrema():
    left, barrier, right = minima_and_barrier(a4=0.25, a2=3.0, a1=1.0)
    np.testing.assert_allclose([left, barrier, right], [-2.529, 0.1674, 2.361], atol=5e-4)


@pytest.mark.parametrize("coefficients", [{}, {"a4": 0.25, "a2": 1.5, "a1": -0.2, "k": 3.0}])
def test_start_holds_the_minima(coefficients):
    system = double_well(**coefficients)
    for start in system.start:
        found = minimize(system.potential, start + 0.05, tol=1e-12).x
        np.testing.assert_allclose(found, start, atol=1e-5)


def test_start_lies_in_the_states_and_the_states_share_the_plane():
    system = double_well()
    left, right = system.states
    assert [s.name for s in system.states] == ["left", "right"]
    np.testing.assert_array_equal(left.contains(system.start.T), [True, False])
    np.testing.assert_array_equal(right.contains(system.start.T), [False, True])
    x = np.random.default_rng(0).normal(size=(2, 1000))
    np.testing.assert_array_equal(left.contains(x), ~right.contains(x))


def test_spring_along_y_has_the_factor_one_half(x64):
    force = -jax.grad(double_well(k=3.0).potential)(np.array([0.0, 2.0]))
    np.testing.assert_allclose(force, [-1.0, -6.0])


@pytest.mark.parametrize(
    ("coefficients", "what"),
    [
        ({"a4": 0.0}, "a4 must be > 0"),
        ({"a2": -1.0}, "a2 must be > 0"),
        ({"a1": 9.0}, "two minima"),
        ({"a1": -9.0}, "two minima"),
        ({"k": 0.0}, "k must be > 0"),
        ({"k": float("nan")}, "k must be > 0"),
        ({"a2": float("inf")}, "finite"),
    ],
)
def test_bad_coefficients_are_named(coefficients, what):
    with pytest.raises(ConfigError, match=what):
        double_well(**coefficients)


def test_the_limit_of_the_tilt_is_the_one_where_a_well_vanishes():
    limit = np.sqrt(8 * 6.0**3 / 27)
    assert len(set(minima_and_barrier(a4=1.0, a2=6.0, a1=0.999 * limit))) == 3
    with pytest.raises(ConfigError):
        minima_and_barrier(a4=1.0, a2=6.0, a1=1.001 * limit)
