"""Many-well: modes, and a normaliser that factorises."""

import numpy as np
import pytest

from jbg.interfaces import ConfigError
from jbg.systems import many_well
from jbg.targets import find_bounds, log_z_quadrature, make_target


@pytest.mark.parametrize("tau", [0.5, 1.0, 3.0])
def test_log_z_of_one_pair_is_that_of_a_grid(tau):
    system = many_well(dim=2)
    bounds = find_bounds(system.potential, system.start, tau=tau)
    expected = log_z_quadrature(system.potential, bounds, tau=tau)
    np.testing.assert_allclose(system.log_z(tau), expected, rtol=1e-10)
    np.testing.assert_allclose(make_target(many_well()).log_z(tau), 16 * expected, rtol=1e-10)


def test_published_log_z_of_32_dimensions():
    """FAB's code gives 164.6957 for 32 dimensions."""
    np.testing.assert_allclose(many_well(dim=32).log_z(1.0), 164.6957, atol=1e-3)


def test_pairs_add_up():
    x = np.random.default_rng(0).normal(size=(6, 5))
    pairs = [many_well(dim=2).potential(x[2 * i : 2 * i + 2]) for i in range(3)]
    np.testing.assert_allclose(many_well(dim=6).potential(x), sum(pairs))


@pytest.mark.parametrize("dim", [0, 1, 7])
def test_odd_dimensions_are_refused(dim):
    with pytest.raises(ConfigError, match="even and at least 2"):
        many_well(dim=dim)
