"""Entropy of a collective variable: floors, gradients that spread, and samples outside the bounds."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from jbg.interfaces import CollectiveVariable, ConfigError
from jbg.losses import LossContext, ReactionCoordinate, ReverseKL, total_loss
from jbg.losses.entropies import check_covered, entropy_integral, kernel_entropy
from tests.losses.affine import AWAY, gaussian, generator

BOUNDS = (-0.1, 1.7)
LOSSES = [entropy_integral, kernel_entropy]
TOO_FAR = np.array([-5.0, -0.11, 1.71, 3.0, np.inf], np.float32)


def even(n=20_000):
    low, high = BOUNDS
    return jnp.asarray(low + (np.arange(n) + 0.5) / n * (high - low), jnp.float32)


def test_uniform_samples_reach_the_floor_of_the_integral():
    np.testing.assert_allclose(entropy_integral(even(), BOUNDS), -np.log(1.8), atol=1e-4)


def test_the_integral_is_the_entropy_of_a_narrow_density():
    r = jnp.asarray(stats.norm(0.8, 0.15).ppf((np.arange(20_000) + 0.5) / 20_000), jnp.float32)
    # kernel and samples together have variance 0.15^2 + (0.03 * 1.8)^2
    p = stats.norm(0.8, np.hypot(0.15, 0.03 * 1.8)).pdf
    expected = quad(lambda x: p(x) * np.log(p(x)), *BOUNDS)[0]
    np.testing.assert_allclose(entropy_integral(r, BOUNDS), expected, atol=0.01)


def test_kernel_form_is_the_published_code_s():
    """A plain loop over its definition; the floor of 11 kernels is 11 ln 11 = 26.377."""
    r = np.random.default_rng(0).uniform(*BOUNDS, 300)
    centres, width, rows = np.linspace(*BOUNDS, 11), 1.8 / 11, []
    for value in r:
        row = np.exp(-((value - centres) ** 2) / (2 * width**2)) + 1e-6
        rows.append(row / row.sum())
    expected = -np.log(np.mean(rows, 0)).sum()
    found = kernel_entropy(jnp.asarray(r, jnp.float32), BOUNDS)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert 11 * np.log(11) < found < 27.5


@pytest.mark.parametrize("loss", LOSSES)
def test_a_narrow_distribution_spreads_along_the_gradient(loss):
    """Through a scale of the samples, as through a network: the gradient widens them, and the loss falls."""
    base = jnp.asarray(np.random.default_rng(1).normal(size=2000), jnp.float32)
    value = jax.jit(jax.value_and_grad(lambda width: loss(0.8 + width * base, BOUNDS)))
    found, slopes = zip(*(value(w) for w in (0.02, 0.05, 0.1, 0.2)), strict=True)
    assert slopes[1] < -0.1
    assert np.all(np.diff(found) < 0)


@pytest.mark.parametrize("loss", LOSSES)
def test_samples_outside_are_neither_counted_nor_moved(loss):
    inside = jnp.asarray(np.random.default_rng(2).uniform(0.3, 0.9, 500), jnp.float32)
    both = jnp.concatenate([inside, TOO_FAR])
    of = jax.jit(jax.value_and_grad(lambda r: loss(r, BOUNDS)))
    value, gradient = of(both)
    np.testing.assert_allclose(value, of(inside)[0], rtol=1e-5)
    np.testing.assert_array_equal(gradient[-5:], 0)
    assert np.abs(gradient[:-5]).max() > 0
    value, alone = of(TOO_FAR)
    np.testing.assert_array_equal(alone, 0)
    assert np.isfinite(value)


@pytest.mark.parametrize("bounds", [(1.0, 1.0), (2.0, 1.0), (0.0, float("inf"))])
@pytest.mark.parametrize("loss", LOSSES)
def test_bounds_that_are_none(loss, bounds):
    with pytest.raises(ConfigError, match="finite and ascending"):
        loss(jnp.zeros(3), bounds)


def test_bounds_outside_of_the_data():
    check_covered((0.0, 1.0), np.array([-1.0, 0.5, 7.0]))
    with pytest.raises(
        ConfigError, match="none of the data lie between 0 and 1, they reach from 2 to 7"
    ):
        check_covered((0.0, 1.0), np.array([2.0, 7.0]))
    with pytest.raises(ConfigError, match="finite and ascending"):
        check_covered((1.0, 0.0), np.array([0.5]))


def test_too_few_points_for_the_bandwidth():
    with pytest.raises(ConfigError, match="use at least 100"):
        entropy_integral(jnp.zeros(3), BOUNDS, bandwidth=0.01)


SECOND = CollectiveVariable(name="y", of=lambda x: x[1], bounds=(-6.0, 6.0))


@pytest.mark.parametrize("form", ["integral", "kernels"])
def test_the_gradient_reaches_the_flow_at_every_temperature(form, key):
    """Only the coordinate that r is made of learns, and it learns to be wider."""
    context = LossContext(generator=generator(), collective_variable=SECOND, n_samples=2000)
    loss = ReactionCoordinate(form=form, taus=(0.5, 1.0)).build(context)
    gradient, aux = jax.jit(jax.grad(loss, has_aux=True))(AWAY, None, key)
    assert gradient["a"][1] < -0.1
    np.testing.assert_allclose(gradient["a"][0], 0, atol=1e-6)
    assert aux["rc_outside"] < 0.01


def test_weights_add_the_two_parts(key):
    context = LossContext(
        generator=generator(), target=gaussian(), collective_variable=SECOND, n_samples=500
    )
    of = lambda term: total_loss((term,), context)(AWAY, None, key)
    value, aux = of(ReverseKL(2.0, along=ReactionCoordinate(0.25)))
    np.testing.assert_allclose(value, 2 * (aux["kl"] + 0.25 * aux["rc"]), rtol=1e-5)
    np.testing.assert_allclose(of(ReverseKL())[0], aux["kl"], rtol=1e-5)
    alone, logged = of(ReactionCoordinate(3.0))  # of the same samples, without their energies
    np.testing.assert_allclose([alone, logged["rc"]], [3 * aux["rc"], aux["rc"]], rtol=1e-5)
    assert ReactionCoordinate().energies(500) == 0


def test_what_rc_needs():
    backwards = dataclasses.replace(SECOND, bounds=(1.0, -1.0))
    context = LossContext(generator=generator(), target=gaussian(), n_samples=10)
    for term in (ReactionCoordinate(), ReverseKL(along=ReactionCoordinate())):
        with pytest.raises(ConfigError, match="finite and ascending, got 1.0 and -1.0"):
            term.build(dataclasses.replace(context, collective_variable=backwards))
        with pytest.raises(ConfigError, match="no collective variable"):
            term.build(context)
    with pytest.raises(ConfigError, match="form must be one of integral, kernels, got 'sum'"):
        ReactionCoordinate(form="sum")
    with pytest.raises(ConfigError, match=r"along has the taus of the divergence, \(1.0,\), got"):
        ReverseKL(along=ReactionCoordinate(taus=(0.5, 1.0)))
