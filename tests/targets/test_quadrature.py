"""Grids against adaptive quadrature (scipy) and Gaussian integrals."""

import numpy as np
import pytest
from scipy.integrate import quad

from jbg.interfaces import ConfigError
from jbg.systems import double_well
from jbg.targets import (
    find_bounds,
    free_energy_difference_quadrature,
    log_z_quadrature,
    make_target,
    profile_quadrature,
)

BARRIER = 0.0835275866967
TAUS = (0.5, 1.0, 4.0)


def integral_along_x(low, high, tau):
    """Adaptive quadrature of the x part of the double well; the y part is a Gaussian."""
    density = lambda x: np.exp(-(x**4 - 6 * x**2 + x) / tau)
    points = [p for p in (-1.7723, BARRIER, 1.6888) if low < p < high]
    return quad(density, low, high, epsabs=0, epsrel=1e-11, limit=500, points=points)[0]


@pytest.mark.parametrize("tau", TAUS)
def test_log_z_of_the_double_well(tau):
    expected = np.log(integral_along_x(-8, 8, tau)) + 0.5 * np.log(2 * np.pi * tau / 2.0)
    assert make_target(double_well(k=2.0)).log_z(tau) == pytest.approx(expected, abs=1e-9)


def test_log_z_of_a_stiff_and_a_soft_gaussian():
    scale = np.array([1e3, 1e-3])
    potential = lambda x: 0.5 * (x[0] / scale[0]) ** 2 + 0.5 * (x[1] / scale[1]) ** 2
    bounds = find_bounds(potential, np.zeros((1, 2)), tau=2.0)
    exact = np.log(2 * np.pi * 2.0) + np.log(scale).sum()
    assert log_z_quadrature(potential, bounds, tau=2.0) == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("tau", TAUS)
def test_difference_between_the_wells(tau):
    system = double_well()
    left, right = (state.contains for state in system.states)
    bounds = find_bounds(system.potential, system.start, tau=tau)
    value = free_energy_difference_quadrature(system.potential, bounds, left, right, tau=tau)
    exact = np.log(integral_along_x(-8, BARRIER, tau) / integral_along_x(BARRIER, 8, tau))
    assert value == pytest.approx(exact, abs=5e-4)  # half a cell of the density at the barrier
    if tau == 1.0:
        assert value == pytest.approx(3.38, abs=0.005)  # the right well is the higher one


def test_profile_is_the_density_averaged_over_bins():
    system = double_well()
    bounds = find_bounds(system.potential, system.start, tau=1.0)
    edges = np.linspace(-2.5, 2.5, 26)
    z = integral_along_x(-8, 8, 1.0)
    exact = [
        -np.log(integral_along_x(a, b, 1.0) / z / (b - a))
        for a, b in zip(edges[:-1], edges[1:], strict=True)
    ]
    np.testing.assert_allclose(
        profile_quadrature(system.potential, bounds, edges), exact, atol=1e-8
    )


def test_a_potential_that_does_not_confine_is_refused():
    with pytest.raises(ConfigError, match="does not confine"):
        find_bounds(lambda x: x[0] ** 2 + 0 * x[1], np.zeros((1, 2)))
