"""Mueller-Brown against published stationary points and quadrature of its basins."""

import jax
import numpy as np
import pytest

from jbg.interfaces import ConfigError
from jbg.systems import mueller_brown
from jbg.systems.mueller_brown import stationary_points
from jbg.targets import find_bounds, free_energy_difference_quadrature


def test_stationary_points_and_energies_are_the_published_ones():
    # textbook values, energies times 0.1
    expected = {
        "A": (-0.55822, 1.44173, -14.6700),
        "I": (-0.05001, 0.46669, -8.0768),
        "B": (0.62350, 0.02804, -10.8167),
        "A-I": (-0.82200, 0.62431, -4.0665),
        "I-B": (0.21249, 0.29299, -7.2249),
    }
    points, potential = stationary_points(), mueller_brown().potential
    assert points.keys() == expected.keys()
    for name, (x, y, energy) in expected.items():
        np.testing.assert_allclose(points[name], (x, y), atol=1e-5)
        np.testing.assert_allclose(potential(points[name]), energy, atol=1e-4)


def test_minima_are_minima_and_saddles_saddles(x64):
    hessian = jax.hessian(mueller_brown().potential)
    for name, point in stationary_points().items():
        below = np.linalg.eigvalsh(hessian(jax.numpy.asarray(point))) < 0
        assert below.sum() == ("-" in name)


def test_states_divide_the_plane_at_the_saddles():
    system = mueller_brown()
    a, b, again, rest = system.states
    assert [s.name for s in system.states] == ["A", "B", "A", "I+B"]
    assert (again.name, again.definition) == (a.name, a.definition)
    np.testing.assert_array_equal(a.contains(system.start.T), [True, False, False])
    np.testing.assert_array_equal(b.contains(system.start.T), [False, False, True])
    np.testing.assert_array_equal(rest.contains(system.start.T), [False, True, True])
    x = np.random.default_rng(0).uniform(-2, 2, (2, 1000))
    np.testing.assert_array_equal(a.contains(x), ~rest.contains(x))
    assert not np.any(a.contains(x) & b.contains(x))


@pytest.mark.parametrize(("tau", "published"), [(0.5, 7.65), (1.0, 3.77), (2.0, 1.87)])
def test_basin_differences_agree_with_the_published_figure(tau, published):
    """Noé et al. 2019, Fig. S3a, read off to 0.03 kT; B against A without the middle basin."""
    system = mueller_brown()
    a, b, _, _ = system.states
    bounds = find_bounds(system.potential, system.start, tau=tau)
    found = free_energy_difference_quadrature(
        system.potential, bounds, a.contains, b.contains, tau=tau
    )
    np.testing.assert_allclose(found, published, atol=0.08)


def test_scale_and_its_errors():
    point = np.array([0.3, 0.4])
    np.testing.assert_allclose(
        mueller_brown(scale=1.0).potential(point), 10 * mueller_brown().potential(point)
    )
    for scale in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="scale must be > 0"):
            mueller_brown(scale=scale)
