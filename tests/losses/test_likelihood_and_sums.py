"""Negative log-likelihood against scipy, and weighted sums of losses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jbg.losses import make_nll_loss, weighted_sum
from tests.losses.affine import AWAY, MEAN, OPTIMUM, WIDTH, generator


def test_nll_is_that_of_scipy(key):
    x = np.random.default_rng(0).normal(size=(2, 50)).astype(np.float32)
    scale = np.exp(np.asarray(AWAY["a"]))[:, None]
    expected = -scipy.stats.norm(np.asarray(AWAY["b"])[:, None], scale).logpdf(x).sum(0).mean()
    value, aux = make_nll_loss(generator())(AWAY, jnp.asarray(x), key)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert aux["nll"] == value


def test_nll_with_temperatures_is_that_of_a_wider_base(key):
    """An affine flow at tau is a Gaussian of sqrt(tau) times the width; each row has a tau of its own."""
    rng = np.random.default_rng(3)
    x, tau = rng.normal(size=(2, 50)), rng.uniform(0.5, 4.0, size=50)
    scale = np.exp(np.asarray(AWAY["a"]))[:, None] * np.sqrt(tau)
    expected = -scipy.stats.norm(np.asarray(AWAY["b"])[:, None], scale).logpdf(x).sum(0).mean()
    batch = jnp.asarray(np.vstack([x, tau]), jnp.float32)
    value, _ = make_nll_loss(generator(), columns=("tau",))(AWAY, batch, key)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_nll_of_data_is_least_at_their_own_distribution(key):
    x = jnp.asarray(
        MEAN[:, None] + WIDTH[:, None] * np.random.default_rng(1).normal(size=(2, 4000))
    )
    x = x.astype(jnp.float32)
    loss = make_nll_loss(generator())
    best = loss(OPTIMUM, x, key)[0]
    entropy = 1 + np.log(2 * np.pi) + np.log(WIDTH).sum()
    np.testing.assert_allclose(best, entropy, atol=0.05)
    assert loss(AWAY, x, key)[0] > best + 0.1


def test_sums_weigh_and_leave_out_zero_terms(key):
    def constant(name, value):
        return lambda params, batch, key: (value * params, {name: value})

    def forbidden(params, batch, key):
        raise AssertionError("a term of weight zero was computed")

    loss = weighted_sum([(2.0, constant("p", 3.0)), (0.0, forbidden), (0.5, constant("q", 4.0))])
    value, aux = loss(jnp.asarray(1.0), None, key)
    assert float(value) == 8.0
    assert {k: float(v) for k, v in aux.items()} == {"p": 3.0, "q": 4.0, "loss": 8.0}
    with pytest.raises(ValueError, match="every weight is zero"):
        weighted_sum([(0.0, forbidden)])


def test_terms_draw_with_keys_of_their_own(key):
    noise = lambda params, batch, key: (jax.random.normal(key), {})
    assert weighted_sum([(1.0, noise), (-1.0, noise)])(None, None, key)[0] != 0
