"""Latent paths in closed form: an affine flow draws straight lines, a quadratic one parabolas."""

import jax.numpy as jnp
import numpy as np
import pytest

from jbg import flows
from jbg.analysis import interpolation
from jbg.analysis.interpolation import latent_paths
from jbg.generator import Generator
from jbg.interfaces import Bijector, ConfigError, Target
from jbg.systems import double_well
from jbg.targets import make_target
from tests.losses.affine import AWAY, MEAN, OPTIMUM, WIDTH, gaussian, generator

FLOW = generator()


def bent() -> Bijector:
    """x = (z0, z1 + c z0^2): volume preserving, lines become parabolas."""

    def forward(c, z):
        return jnp.stack([z[0], z[1] + c * z[0] ** 2]), jnp.zeros(z.shape[1:])

    def inverse(c, x):
        return jnp.stack([x[0], x[1] - c * x[0] ** 2]), jnp.zeros(x.shape[1:])

    return Bijector(dim_in=2, dim_out=2, init=lambda key: 0.5, forward=forward, inverse=inverse)


def test_an_affine_flow_gives_straight_lines_and_their_energies():
    rng = np.random.default_rng(0)
    a, b = rng.normal(-2, 0.3, (4, 2)), rng.normal(2, 0.3, (3, 2))
    found = latent_paths(FLOW, AWAY, gaussian(), a, b, n_points=21)
    t = np.linspace(0, 1, 21)[:, None]
    lines = np.array([(1 - t) * p + t * q for p in a for q in b])
    u = np.sum(0.5 * ((lines - MEAN) / WIDTH) ** 2, axis=-1)
    np.testing.assert_array_equal(found.pairs, [(i, j) for i in range(4) for j in range(3)])
    np.testing.assert_allclose(found.highest, u.max(axis=1), rtol=1e-4)
    assert found.best == np.argmin(u.max(axis=1))
    np.testing.assert_allclose(found.path, lines[found.best], atol=1e-4)
    np.testing.assert_allclose(found.u, u[found.best], rtol=1e-4, atol=1e-4)
    assert found.all_u is None


def test_the_energies_of_all_paths_come_in_the_order_of_the_pairs(monkeypatch):
    monkeypatch.setattr(interpolation, "CHUNK", 25)  # five paths of five points at a time, of six
    rng = np.random.default_rng(3)
    a, b = rng.normal(-2, 0.3, (2, 2)), rng.normal(2, 0.3, (3, 2))
    found = latent_paths(FLOW, AWAY, gaussian(), a, b, n_points=5, keep_all=True)
    t = np.linspace(0, 1, 5)[:, None]
    lines = np.array([(1 - t) * a[i] + t * b[j] for i, j in found.pairs])
    u = np.sum(0.5 * ((lines - MEAN) / WIDTH) ** 2, axis=-1)
    np.testing.assert_allclose(found.all_u, u, rtol=1e-4, atol=1e-4)


def test_a_bent_flow_leads_round_the_barrier():
    """u = (x1 - x0^2 / 2)^2 has a parabola for a floor: the path stays on it, a straight line in x does not."""
    target = Target(dim=2, reduced_energy=lambda x: 10 * (x[1] - 0.5 * x[0] ** 2) ** 2)
    flow = Generator(base=flows.normal(2), bijector=bent())
    ends = np.array([[-2.0, 2.0]]), np.array([[2.0, 2.0]])
    found = latent_paths(flow, 0.5, target, *ends, n_points=9)
    np.testing.assert_allclose(found.path[:, 1], 0.5 * np.linspace(-2, 2, 9) ** 2, atol=1e-5)
    assert found.highest[0] < 1e-6
    straight = latent_paths(flow, 0.0, target, *ends, n_points=9)
    np.testing.assert_allclose(straight.highest[0], 40.0, rtol=1e-5)


def test_the_double_well_is_crossed_over_its_barrier():
    """Along y = 0 the highest point of a straight path is the barrier, and y costs y^2 / 2 on top of it."""
    system = double_well()
    left, right = system.start
    high = np.array([0.0, 3.0])
    found = latent_paths(
        FLOW,
        OPTIMUM,
        make_target(system),
        np.stack([left + high, left]),
        np.stack([right + high, right]),
        n_points=1001,
    )
    x = np.linspace(left[0], right[0], 100_001)
    barrier = np.max(x**4 - 6 * x**2 + x)
    assert found.best == 3
    np.testing.assert_allclose(found.highest[[0, 3]], [barrier + 4.5, barrier], atol=1e-3)
    np.testing.assert_allclose(found.path[[0, -1]], [left, right], atol=1e-5)


def test_chunks_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(5, 2)), rng.normal(size=(7, 2))
    whole = latent_paths(FLOW, AWAY, gaussian(), a, b, n_points=8)
    monkeypatch.setattr(interpolation, "CHUNK", 3 * 8)
    parts = latent_paths(FLOW, AWAY, gaussian(), a, b, n_points=8)
    np.testing.assert_allclose(parts.highest, whole.highest, rtol=1e-5)
    assert parts.best == whole.best
    assert parts.highest.shape == (35,)


def test_undefined_energies_are_the_highest():
    target = Target(dim=2, reduced_energy=lambda x: jnp.log(x[0]))
    found = latent_paths(FLOW, OPTIMUM, target, [[1.0, 0.0]], [[-1.0, 0.0], [2.0, 0.0]])
    assert found.highest[0] == np.inf
    np.testing.assert_allclose(found.highest[1], np.log(2.0), rtol=1e-5)
    assert found.best == 1


@pytest.mark.parametrize(
    ("a", "settings", "what"),
    [
        (np.zeros((3, 3)), {}, r"must be \(n, 2\)"),
        (np.zeros((0, 2)), {}, "n >= 1"),
        (np.full((3, 2), np.nan), {}, "3 of 3 configurations have no latent image"),
        (np.zeros((3, 2)), {"n_points": 1}, "n_points must be at least 2"),
    ],
)
def test_bad_settings_are_named(a, settings, what):
    with pytest.raises(ConfigError, match=what):
        latent_paths(FLOW, OPTIMUM, gaussian(), a, np.ones((2, 2)), **settings)


def test_another_call_does_not_compile_again():
    traced = []

    def reduced_energy(x):
        traced.append(x.shape)
        return gaussian().reduced_energy(x)

    target = Target(dim=2, reduced_energy=reduced_energy)
    rng = np.random.default_rng(0)
    for params in (OPTIMUM, AWAY):
        latent_paths(FLOW, params, target, rng.normal(size=(4, 2)), rng.normal(size=(5, 2)))
        assert len(traced) == 2  # all pairs, and the best of them
