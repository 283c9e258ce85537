"""Reverse KL: its floor, its temperatures, and samples that have no energy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg import flows
from jbg.generator import Generator, pull_back
from jbg.interfaces import Bijector, Target
from jbg.losses import make_kl_loss
from jbg.systems import double_well
from jbg.targets import make_target
from tests.losses.affine import (
    AWAY,
    MEAN,
    OPTIMUM,
    WIDTH,
    base_of,
    even_points,
    gaussian,
    generator,
)

H_BASE = 1 + np.log(2 * np.pi)  # entropy of the two-dimensional standard normal


def exact(params, tau):
    """E[u(F(z))/tau] - ln det of the affine flow, by hand."""
    a, b = np.asarray(params["a"], float), np.asarray(params["b"], float)
    square = np.exp(2 * a) * tau + (b - MEAN) ** 2
    return np.sum(square / (2 * WIDTH**2 * tau)) - a.sum()


def test_reaches_its_floor_at_the_optimum(key):
    loss = make_kl_loss(generator(base_of(even_points(1000))), gaussian(), n_samples=1000)
    value, aux = jax.jit(loss)(OPTIMUM, None, key)
    np.testing.assert_allclose(value, H_BASE - gaussian().log_z(), atol=1e-4)
    assert aux["outside"] == 0
    gradient = jax.grad(lambda p: loss(p, None, key)[0])(OPTIMUM)
    for leaf in jax.tree.leaves(gradient):
        np.testing.assert_allclose(leaf, 0, atol=1e-5)


@pytest.mark.parametrize("taus", [(1.0,), (0.5,), (0.5, 1.0, 4.0)])
def test_every_temperature_counts_equally(taus, key):
    n = 500 * len(taus)
    loss = make_kl_loss(generator(base_of(even_points(500))), gaussian(), n_samples=n, taus=taus)
    value, _ = loss(AWAY, None, key)
    np.testing.assert_allclose(value, np.mean([exact(AWAY, tau) for tau in taus]), rtol=1e-5)


def test_random_flows_stay_above_the_floor_of_the_double_well(key):
    target = make_target(double_well())
    flow = flows.realnvp(2, n_blocks=2, hidden=(8,))
    full = Generator(base=flows.normal(2), bijector=flow)
    loss = jax.jit(make_kl_loss(full, target, n_samples=20_000))
    floor = H_BASE - target.log_z(1.0)
    for seed in range(8):
        params = flow.init(jax.random.key(seed))
        params = jax.tree.map(lambda p: p + 0.1, params)
        values = [float(loss(params, None, jax.random.fold_in(key, i))[0]) for i in range(4)]
        assert np.mean(values) > floor - 4 * np.std(values)
        assert np.isfinite(values).all()


def test_gradient_is_the_derivative_of_the_expectation(key):
    loss = make_kl_loss(generator(base_of(even_points(1000))), gaussian(), n_samples=1000)
    gradient = jax.grad(lambda p: loss(p, None, key)[0])(AWAY)
    step = 1e-4
    for name in ("a", "b"):
        for i in range(2):
            shifted = [
                AWAY | {name: np.asarray(AWAY[name], float) + s * step * np.eye(2)[i]}
                for s in (1, -1)
            ]
            slope = (exact(shifted[0], 1.0) - exact(shifted[1], 1.0)) / (2 * step)
            np.testing.assert_allclose(gradient[name][i], slope, atol=2e-3)


def test_samples_without_an_energy_are_left_out_and_counted(key):
    points = even_points(1000)
    wall = Target(
        dim=2,
        reduced_energy=lambda x: jnp.where(x[0] > 1.0, jnp.inf, gaussian().reduced_energy(x)),
    )
    loss = make_kl_loss(generator(base_of(points)), wall, n_samples=1000)
    (value, aux), gradient = jax.value_and_grad(loss, has_aux=True)(OPTIMUM, None, key)
    beyond = np.mean(points[0] * WIDTH[0] + MEAN[0] > 1.0)
    np.testing.assert_allclose(aux["outside"], beyond, atol=2e-3)
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


def test_pulled_back_target_has_the_same_normaliser(x64):
    """u_v of x = exp(v) is integrated over v: the volume element enters with its sign."""
    coords = Bijector(
        dim_in=1,
        dim_out=1,
        init=lambda key: (),
        forward=lambda params, v: (jnp.exp(v), v.sum(0)),
        inverse=lambda params, x: (jnp.log(x), -jnp.log(x).sum(0)),
    )
    target = Target(dim=1, reduced_energy=lambda x: 2 * x[0], log_z=lambda tau: np.log(0.5))
    v = np.linspace(-30, 6, 20001)
    density = np.exp(-np.asarray(pull_back(target, coords).reduced_energy(jnp.asarray(v[None]))))
    np.testing.assert_allclose(np.trapezoid(density, v), 0.5, atol=1e-8)


def test_samples_must_share_out_among_the_temperatures():
    with pytest.raises(ValueError, match="multiple of 3 temperatures, got 100"):
        make_kl_loss(generator(), gaussian(), n_samples=100, taus=(1.0, 2.0, 3.0))
