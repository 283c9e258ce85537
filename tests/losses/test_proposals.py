"""Flattened proposals: their density is the one they state, and averages under it are the flow's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg import flows
from jbg.generator import Generator
from jbg.interfaces import Bijector, Target
from jbg.losses import OwnSamples, make_own_samples_loss, make_proposal
from jbg.losses.weights import ess_of_generator
from tests.losses.affine import AWAY, affine_flow, gaussian, generator
from tests.losses.uneven import PARAMS, near, uneven

BIASED = [(0.7, 0.0), (0.0, 0.3), (0.7, 0.3)]  # flatten, explore
UNEVEN = uneven()
LOG_PROB = jax.jit(UNEVEN.log_prob)


@functools.cache
def draw(n, flatten=0.0, explore=0.0):
    """n points of the proposal of UNEVEN at PARAMS."""
    return jax.jit(make_proposal(UNEVEN, n, flatten, explore))(PARAMS, jax.random.key(0))


@functools.cache
def plain_sample(n):
    return jax.jit(UNEVEN.sample, static_argnums=2)(jax.random.key(0), PARAMS, n)


@pytest.mark.parametrize(("flatten", "explore"), BIASED)
def test_log_q_is_the_density_of_the_generator(flatten, explore):
    drawn = draw(40_000, flatten, explore)
    expected = LOG_PROB(PARAMS, drawn.x[:, :500])
    np.testing.assert_allclose(drawn.log_q[:500], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("flatten", "explore"), BIASED)
def test_averages_over_the_bias_are_those_of_the_generator(flatten, explore):
    n = 40_000
    drawn, plain = draw(n, flatten, explore), plain_sample(n)
    share = np.asarray(jax.nn.softmax(-drawn.log_bias))
    biased = 0
    for f in (lambda x: jnp.cos(x[0]), lambda x: jnp.sin(x[0]), lambda x: x[1] * jnp.sin(x[0])):
        exact, values = np.asarray(f(plain.x)), np.asarray(f(drawn.x))
        error = exact.std() / np.sqrt(n) + np.sqrt(np.sum((share * (values - exact.mean())) ** 2))
        assert abs(share @ values - exact.mean()) < 5 * error
        biased += abs(values.mean() - exact.mean()) > 10 * error
    assert biased  # the bias is there to be undone


def test_at_full_strength_half_of_the_points_are_flat():
    n, edges = 20_000, np.linspace(-np.pi, np.pi, 21)
    counts = lambda x: np.histogram(x[0], edges)[0]
    mixed, plain = counts(draw(n, 1.0).x), counts(plain_sample(n).x)
    expected = 0.5 * plain + 0.5 * n / 20
    np.testing.assert_allclose(mixed, expected, atol=5 * np.sqrt(n / 20))
    assert np.abs(plain - expected).max() > 10 * np.sqrt(n / 20)


def test_a_share_of_the_points_is_drawn_evenly_wherever_the_flow_is():
    """Also where it hardly ever goes, which a pool of its own samples cannot do."""
    n, edges = 20_000, np.linspace(-np.pi, np.pi, 21)
    counts = lambda x: np.histogram(x[0], edges)[0]
    mixed, plain = counts(draw(n, 0.0, 0.25).x), counts(plain_sample(n).x)
    expected = 0.75 * plain + 0.25 * n / 20
    assert np.all(np.abs(mixed - expected) < 5 * np.sqrt(expected + 0.5625 * plain))
    assert plain.min() < 0.6 * n / 20


def test_what_is_the_flow_s_own_is_told_from_exploration():
    np.testing.assert_array_equal(draw(40_000, 0.7, 0.0).own, 1)
    drawn = draw(20_000, 0.0, 0.25)
    assert np.all((drawn.own > 0) & (drawn.own < 1))
    # at a point of bias s = 3/4 + b/(4 q), the share of the flow is 3/4 of it
    np.testing.assert_allclose(drawn.own, 0.75 / np.exp(drawn.log_bias), rtol=1e-4)
    even = 0.25 * np.exp(-np.asarray(drawn.log_soft))  # b/q, from its own logarithm
    np.testing.assert_allclose(np.exp(drawn.log_bias), 0.75 + even, rtol=1e-4)


def test_a_flow_of_one_link_is_drawn_as_it_is(key):
    g = Generator(base=flows.normal(3), bijector=flows.chain(flows.permute(np.array([2, 0, 1]))))
    drawn, expected = make_proposal(g, 100, 0.5)(((),), key), g.sample(key, ((),), 100)
    np.testing.assert_array_equal(drawn.x, expected.x)
    np.testing.assert_array_equal(drawn.log_bias, 0)


def test_points_without_a_density_are_never_picked(key):
    broken = Bijector(
        dim_in=1,
        dim_out=1,
        init=lambda key: (),
        forward=lambda params, z: (z, jnp.where(z[0] > 0, jnp.nan, 0.0)),
        inverse=lambda params, x: (x, jnp.zeros(x.shape[1:])),
    )
    fine = flows.permute(np.array([0]))
    g = Generator(base=flows.normal(1), bijector=flows.chain(broken, fine))
    drawn = jax.jit(make_proposal(g, 200, 0.5))(((), ()), key)
    assert np.all(drawn.x <= 0)
    assert np.all(np.isfinite(drawn.log_bias))


def test_the_loss_keeps_its_gradient(key):
    """With its weights an average over the flattened proposal is one over the target: the same forward KL."""
    g = UNEVEN
    target = near()
    means = []
    for strength in (0.0, 0.6):
        loss = make_own_samples_loss(
            g, target, OwnSamples(log_variance=0.0, flatten=strength), n_samples=20_000
        )
        found = jax.jit(jax.grad(lambda p, k, loss=loss: loss(p, None, k)[0]))
        parts = [jax.tree.leaves(found(PARAMS, jax.random.fold_in(key, i))) for i in range(3)]
        means.append(np.mean([np.concatenate([np.ravel(v) for v in p]) for p in parts], 0))
    plain, flat = means
    assert np.linalg.norm(flat - plain) < 0.2 * np.linalg.norm(plain)


def test_ess_in_the_log_is_that_of_the_generator(key):
    g = UNEVEN
    u = jax.jit(near().reduced_energy)
    found = []
    for strength in (0.0, 0.5):
        drawn = draw(20_000, strength)
        found.append(ess_of_generator(-u(drawn.x) - drawn.log_q, drawn.log_bias))
    np.testing.assert_allclose(found[1], found[0], rtol=0.05)
    assert found[0] < 0.9
    for strength in (0.0, 0.5):
        loss = make_own_samples_loss(g, near(), OwnSamples(flatten=strength), n_samples=20_000)
        np.testing.assert_allclose(jax.jit(loss)(PARAMS, None, key)[1]["ess"], found[0], rtol=0.05)
    loss = make_own_samples_loss(generator(), gaussian(), n_samples=10_000)
    drawn_with = jax.random.split(key)[0]  # as the loss does
    log_w = -gaussian().reduced_energy(x := generator().sample(drawn_with, AWAY, 10_000).x)
    log_w = log_w - generator().log_prob(AWAY, x)
    w = np.exp(log_w - log_w.max())
    np.testing.assert_allclose(
        loss(AWAY, None, key)[1]["ess"], w.mean() ** 2 / (w**2).mean(), rtol=1e-3
    )


def test_deserts_that_only_exploration_reaches_do_not_enter_the_log_variance(key):
    """A wall of any height where the flow has almost no density: the spread is what it is without."""
    links = (affine_flow(), flows.permute(np.array([0, 1])))
    g = Generator(base=flows.normal(2), bijector=flows.chain(*links))
    params = ({"a": jnp.log(jnp.array([0.2, 1.0])), "b": jnp.zeros(2)}, ())

    def spread(height):
        # the flow's own width is 0.2, that of exploration 1
        wall = lambda x: 12.5 * x[0] ** 2 + 0.7 * x[1] ** 2 + height * (jnp.abs(x[0]) > 1)
        loss = make_own_samples_loss(
            g,
            Target(dim=2, reduced_energy=wall),
            OwnSamples(forward_kl=0.0, log_variance=1.0, explore=0.25),
            n_samples=4000,
        )
        return float(jax.jit(loss)(params, None, key)[0])

    assert spread(1000.0) == pytest.approx(spread(100.0), rel=0.05)
    assert spread(-10.0) > 1.2 * spread(100.0)  # states that the flow gave up are not deserts
