"""Jeffreys' divergence on own samples: closed forms, no noise at the optimum, one pass for both directions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg import flows
from jbg.generator import Generator
from jbg.interfaces import ConfigError, Target
from jbg.losses import make_jeffreys_loss, make_kl_loss, truncated_weights
from tests.losses.affine import MEAN, OPTIMUM, WIDTH, gaussian, generator
from tests.losses.test_path_gradient import batch_gradients, kl_gradient

# wider than the target, so that its weights are bounded: at most 3 of mean 1, never truncated
WIDER = {"a": jnp.log(WIDTH * np.float32(1.4)), "b": jnp.asarray(MEAN + np.float32([0.3, -0.2]))}


def exact(params, tau):
    """KL(q||p) + KL(p||q) of two diagonal normals whose variances are multiplied by tau."""
    a, b = np.asarray(params["a"], float), np.asarray(params["b"], float)
    ratio, shift = np.exp(2 * a) / WIDTH**2, (b - MEAN) ** 2 / tau
    return 0.5 * np.sum(ratio + 1 / ratio - 2 + shift * (1 / WIDTH**2 + np.exp(-2 * a)))


def exact_gradient(params, tau):
    a, b = np.asarray(params["a"], float), np.asarray(params["b"], float)
    forward_a = 1 - (WIDTH**2 + (MEAN - b) ** 2 / tau) * np.exp(-2 * a)
    forward_b = (b - MEAN) * np.exp(-2 * a) / tau
    return kl_gradient(params, tau) + np.concatenate([forward_a, forward_b])


@pytest.mark.parametrize("taus", [(1.0,), (0.5, 2.0)])
def test_value_and_gradient_are_those_of_two_normals(taus, key):
    n = 4000 * len(taus)
    loss = make_jeffreys_loss(generator(), gaussian(), n_samples=n, taus=taus)
    keys = jax.random.split(key, 100)
    values = np.asarray(jax.jit(jax.vmap(lambda k: loss(WIDER, None, k)[0]))(keys), float)
    expected = np.mean([exact(WIDER, tau) for tau in taus])
    # self-normalised weights bias both by O(1/n): 2/4000 at most of the value, added to the error
    error = values.std() / 10 + 2 * expected / 4000
    assert abs(values.mean() - expected) < 4.5 * error
    assert error < 0.02 * expected
    found = batch_gradients(loss, WIDER, key, 100)
    expected = np.mean([exact_gradient(WIDER, tau) for tau in taus], axis=0)
    error = found.std(0) / 10 + 2 * np.abs(expected) / 4000
    assert (np.abs(found.mean(0) - expected) / error).max() < 4.5
    assert (np.abs(expected) / error).min() > 20


def test_gradient_and_value_vanish_at_the_optimum(key):
    loss = make_jeffreys_loss(generator(), gaussian(), n_samples=12, taus=(0.5, 1.0, 3.0))
    np.testing.assert_allclose(batch_gradients(loss, OPTIMUM, key, 50), 0, atol=5e-5)
    value, aux = jax.jit(loss)(OPTIMUM, None, key)
    np.testing.assert_allclose(value, 0, atol=1e-5)
    np.testing.assert_allclose(aux["jeffreys_ess"], 1, atol=1e-5)


def test_forward_part_is_the_likelihood_of_fixed_weighted_samples(key, x64):
    """Against an inverse pass: the gradient of -mean (w - 1) ln q(x) at points held fixed."""
    small = Generator(base=flows.normal(2), bijector=flows.realnvp(2, n_blocks=2, hidden=(4,)))
    params = jax.jit(lambda key: jax.tree.map(lambda p: p.astype(float) + 0.2, small.init(key)))(
        key
    )
    target = Target(
        dim=2, reduced_energy=lambda x: 0.3 * jnp.cos(x[0] - x[1]) - small.log_prob(params, x)
    )
    n, gradient = 64, lambda f: jax.jit(jax.grad(f))(params)
    make = functools.partial(make_kl_loss, small, target, n_samples=n, path_gradient=True)
    both = gradient(lambda p: make_jeffreys_loss(small, target, n_samples=n)(p, None, key)[0])
    reverse = gradient(lambda p: make()(p, None, key)[0])
    drawn = jax.jit(small.sample, static_argnums=2)(key, params, n)
    w = truncated_weights(-jax.jit(target.reduced_energy)(drawn.x) - drawn.log_prob)
    forward = gradient(lambda p: -jnp.mean((w - 1) * small.log_prob(p, drawn.x)))
    for b, r, f in zip(*map(jax.tree.leaves, (both, reverse, forward)), strict=True):
        np.testing.assert_allclose(b, r + f, rtol=1e-7, atol=1e-9)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(forward)) > 1e-2


def test_samples_without_an_energy_count_for_nothing(key):
    wall = Target(
        dim=2,
        reduced_energy=lambda x: jnp.where(x[0] > 1.0, jnp.inf, gaussian().reduced_energy(x)),
    )
    loss = make_jeffreys_loss(generator(), wall, n_samples=1000)
    value, gradient = jax.jit(jax.value_and_grad(lambda p: loss(p, None, key)[0]))(WIDER)
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


def test_samples_must_share_out_among_the_temperatures():
    with pytest.raises(ConfigError, match="multiple of 3 temperatures, got 100"):
        make_jeffreys_loss(generator(), gaussian(), n_samples=100, taus=(1.0, 2.0, 3.0))


def test_without_a_usable_sample_it_is_not_finite(key):
    """So that the step is skipped and counted; a zero would count as a good step."""
    nowhere = Target(dim=2, reduced_energy=lambda x: jnp.full(x.shape[1:], jnp.inf))
    loss = make_jeffreys_loss(generator(), nowhere, n_samples=64)
    assert not np.isfinite(loss(WIDER, None, key)[0])
