"""Path gradients of the reverse KL: unbiased at every temperature, and without noise at the optimum."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg import flows
from jbg.generator import Generator
from jbg.interfaces import ConfigError, Target
from jbg.losses import ReverseKL, make_kl_loss
from jbg.losses.reverse_kl import bounded
from jbg.systems import double_well
from jbg.targets import make_target, soften
from tests.losses.affine import AWAY, MEAN, OPTIMUM, WIDTH, gaussian, generator

SMALL = Generator(base=flows.normal(2), bijector=flows.realnvp(2, n_blocks=2, hidden=(4,)))


@functools.partial(jax.jit, static_argnums=1)
def small_params(key, dtype=jnp.float32):
    return jax.tree.map(lambda p: p.astype(dtype) + 0.2, SMALL.init(key))


def batch_gradients(loss, params, key, n_batches):
    """Gradient of each of n_batches batches, flattened: ``(n_batches, n_params)``."""

    def flat(key):
        gradient = jax.grad(lambda p: loss(p, None, key)[0])(params)
        return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(gradient)])

    return np.asarray(jax.jit(jax.vmap(flat))(jax.random.split(key, n_batches)), float)


def kl_gradient(params, tau):
    """d/d(a, b) of E[u(F(z))/tau] - ln det of the affine flow, by hand."""
    a, b = np.asarray(params["a"], float), np.asarray(params["b"], float)
    return np.concatenate([np.exp(2 * a) / WIDTH**2 - 1, (b - MEAN) / (tau * WIDTH**2)])


@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_gradient_is_that_of_the_expectation(tau, key):
    loss = make_kl_loss(generator(), gaussian(), n_samples=200, taus=(tau,), path_gradient=True)
    found = batch_gradients(loss, AWAY, key, 400)
    z = (found.mean(0) - kl_gradient(AWAY, tau)) / (found.std(0) / np.sqrt(len(found)) + 1e-5)
    assert np.abs(z).max() < 4.5  # four numbers; p = 3e-5
    assert (np.abs(kl_gradient(AWAY, tau)) / found.std(0)).min() * np.sqrt(len(found)) > 20


def test_mean_over_batches_is_that_of_the_ordinary_estimator(key):
    """On the double well, through a softened energy that half of the samples exceed."""
    target = soften(make_target(double_well()), e_high=-2.0, e_max=1e20)
    make = functools.partial(make_kl_loss, SMALL, target, n_samples=120, taus=(0.5, 1.0, 2.0))
    params, keys = small_params(key), jax.random.split(key)
    ordinary = batch_gradients(make(), params, keys[0], 600)
    path = batch_gradients(make(path_gradient=True), params, keys[1], 600)
    error = np.sqrt((ordinary.var(0) + path.var(0)) / 600)
    z = (path.mean(0) - ordinary.mean(0)) / np.where(error > 0, error, 1.0)
    assert np.abs(z).max() < 5  # some hundred numbers; p = 6e-7 each
    signal = np.abs(ordinary.mean(0)) / np.where(error > 0, error, 1.0)
    assert np.median(signal) > 5  # so that a missing term would show


def test_every_sample_s_gradient_vanishes_at_the_optimum(key):
    """Batches of one sample at each temperature."""
    taus = (0.5, 1.0, 3.0)
    make = functools.partial(make_kl_loss, generator(), gaussian(), n_samples=3, taus=taus)
    path = batch_gradients(make(path_gradient=True), OPTIMUM, key, 100)
    np.testing.assert_allclose(path, 0, atol=2e-5)
    assert batch_gradients(make(), OPTIMUM, key, 100).std(0).min() > 0.3


def test_every_sample_s_gradient_vanishes_where_a_network_is_its_own_target(key, x64):
    params = small_params(key, jnp.float64)
    itself = Target(dim=2, reduced_energy=lambda x: -SMALL.log_prob(params, x))
    make = functools.partial(
        make_kl_loss, SMALL, soften(itself, e_high=1e3, e_max=1e20), n_samples=1
    )
    path = batch_gradients(make(path_gradient=True), params, key, 50)
    np.testing.assert_allclose(path, 0, atol=1e-10)
    assert np.median(batch_gradients(make(), params, key, 50).std(0)) > 1e-2


def test_loss_is_the_ordinary_one(key):
    make = functools.partial(make_kl_loss, generator(), gaussian(), n_samples=90, taus=(0.5, 2.0))
    (a, aux_a), (b, aux_b) = (
        jax.jit(make(path_gradient=on))(AWAY, None, key) for on in (False, True)
    )
    np.testing.assert_allclose(a, b, rtol=1e-6)
    assert aux_a.keys() == aux_b.keys()
    np.testing.assert_allclose(aux_a["kl"], aux_b["kl"], rtol=1e-6)


def test_samples_without_an_energy_are_left_out(key):
    wall = Target(
        dim=2,
        reduced_energy=lambda x: jnp.where(x[0] > 1.0, jnp.inf, gaussian().reduced_energy(x)),
    )
    loss = make_kl_loss(generator(), wall, n_samples=1000, path_gradient=True)
    both = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, aux), gradient = both(OPTIMUM, None, key)
    assert 0.1 < aux["outside"] < 0.9
    assert np.isfinite(value)
    for leaf in jax.tree.leaves(gradient):
        np.testing.assert_allclose(leaf, 0, atol=1e-5)  # each of those inside has none


def test_a_sample_s_gradient_is_bounded_by_that_of_the_others():
    weights = jnp.array([[3.0, 0.0, 0.0, 300.0, jnp.inf, 0.0], [4.0, 5.0, 5.0, 400.0, 1.0, 0.0]])
    x = jnp.ones((2, 6))
    of = lambda x: jnp.sum(weights * bounded(x, 10.0))
    found = jax.grad(of)(x)
    np.testing.assert_allclose(found[:, :3], weights[:, :3])
    np.testing.assert_allclose(found[:, 3], [30, 40])  # ten medians of 5, the same direction
    np.testing.assert_allclose(found[:, 4:], 0)
    np.testing.assert_array_equal(bounded(x, 10.0), x)
    assert not np.asarray(jax.grad(lambda x: 0 * jnp.sum(bounded(x, 1.0)))(x)).any()


def test_a_bound_that_no_sample_meets_changes_nothing(key):
    make = functools.partial(
        make_kl_loss, generator(), gaussian(), n_samples=50, path_gradient=True
    )
    plain, far, near = (
        batch_gradients(make(bound=bound), AWAY, key, 3) for bound in (0.0, 1e3, 0.5)
    )
    np.testing.assert_allclose(far, plain, rtol=1e-5)
    assert np.abs(near - plain).max() > 1e-2


def test_a_bound_is_of_path_gradients():
    with pytest.raises(ConfigError, match="bound needs path_gradient"):
        ReverseKL(1.0, bound=3.0)
