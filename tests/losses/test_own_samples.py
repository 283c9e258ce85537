"""Training on own samples: gradients against exact ones, truncation, and no forces."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg.generator import Generator
from jbg.interfaces import Target
from jbg.losses import (
    OwnSamples,
    make_own_samples_loss,
    own_samples,
    truncated_weights,
)
from jbg.losses.calmness import CALM, calmness
from jbg.losses.proposals import Proposed
from jbg.losses.weights import LEAST_ESS, ess_of_generator, trusted_power
from jbg.systems.openmm_callback import openmm_potential
from tests.losses.affine import AWAY, MEAN, OPTIMUM, WIDTH, affine_flow, gaussian, generator

ONLY_KL = OwnSamples(forward_kl=1.0, log_variance=0.0)
ONLY_SPREAD = OwnSamples(forward_kl=0.0, log_variance=1.0)


def forward_kl_gradient(params):
    """d/d(a, b) of -E_p[ln q], p the Gaussian target, by hand."""
    a, b = np.asarray(params["a"], float), np.asarray(params["b"], float)
    precision = np.exp(-2 * a)
    return {
        "a": 1 - (WIDTH**2 + (MEAN - b) ** 2) * precision,
        "b": -(MEAN - b) * precision,
    }


def gradient_of(loss, params, key):
    return jax.jit(jax.grad(lambda p: loss(p, None, key)[0]))(params)


def test_gradient_of_the_forward_kl_is_exact_up_to_sampling(key):
    loss = make_own_samples_loss(generator(), gaussian(), ONLY_KL, n_samples=200_000)
    found, expected = gradient_of(loss, AWAY, key), forward_kl_gradient(AWAY)
    for name in ("a", "b"):
        np.testing.assert_allclose(found[name], expected[name], atol=0.02)
        assert np.abs(expected[name]).min() > 0.1  # a wrong sign would show


def test_gradient_vanishes_at_the_optimum(key):
    n = 50_000
    loss = make_own_samples_loss(generator(), gaussian(), ONLY_KL, n_samples=n)
    for leaf in jax.tree.leaves(gradient_of(loss, OPTIMUM, key)):
        # sample by sample: without the centred gradient it would be 1/sqrt(n) = 0.004
        np.testing.assert_allclose(leaf, 0, atol=1e-4)
    loss = make_own_samples_loss(generator(), gaussian(), ONLY_SPREAD, n_samples=1000)
    for leaf in jax.tree.leaves(gradient_of(loss, OPTIMUM, key)):
        np.testing.assert_allclose(leaf, 0, atol=1e-4)


def test_log_variance_falls_along_its_gradient(key):
    loss = make_own_samples_loss(generator(), gaussian(), ONLY_SPREAD, n_samples=4000)
    both = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, _), gradient = both(AWAY, None, key)
    towards = jax.tree.map(lambda best, now: best - now, OPTIMUM, AWAY)
    slope = sum(
        jnp.sum(g * t) for g, t in zip(*map(jax.tree.leaves, (gradient, towards)), strict=True)
    )
    assert slope < 0
    assert both(OPTIMUM, None, key)[0][0] < 1e-6 < value


def test_weights_are_truncated_at_the_root_of_n():
    log_w = jnp.concatenate([jnp.full(99, -100.0), jnp.zeros(1)])
    w = truncated_weights(log_w)
    assert abs(float(w.mean()) - 1) < 1e-5
    before = np.exp(np.random.default_rng(0).normal(scale=2.0, size=1000))
    w = truncated_weights(jnp.log(jnp.asarray(before, jnp.float32)))
    expected = np.minimum(before / before.mean(), np.sqrt(1000))
    np.testing.assert_allclose(w, expected / expected.mean(), rtol=1e-4)
    w = truncated_weights(jnp.array([0.0, -jnp.inf]))
    np.testing.assert_allclose(w[1], 0)


def test_samples_without_an_energy_count_for_nothing(key):
    wall = Target(
        dim=2,
        reduced_energy=lambda x: jnp.where(x[0] > 1.0, jnp.nan, gaussian().reduced_energy(x)),
    )
    loss = make_own_samples_loss(generator(), wall, n_samples=2000)
    (value, _), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(AWAY, None, key)
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


def test_a_batch_without_any_usable_sample_teaches_nothing(key):
    """One temperature whose samples all left the state must not end the training of the others."""
    nowhere = Target(dim=gaussian().dim, reduced_energy=lambda x: jnp.full(x.shape[1:], jnp.inf))
    loss = make_own_samples_loss(generator(), nowhere, n_samples=32)
    both = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, found), gradient = both(AWAY, None, key)
    assert value == 0
    assert all(np.isfinite(v) for v in found.values())
    for leaf in jax.tree.leaves(gradient):
        assert np.all(np.asarray(leaf) == 0)


def test_a_flow_far_from_its_target_is_led_there_in_steps(key):
    """Raw weights would rest on one sample; the power keeps a tenth of them, and is 1 when that is given."""
    rng = np.random.default_rng(0)
    none = jnp.zeros(2000)
    power, share = jax.jit(trusted_power), jax.jit(ess_of_generator)
    for scale in (0.5, 5.0, 50.0):
        log_w = jnp.asarray(scale * rng.normal(size=2000), jnp.float32).at[3].set(-jnp.inf)
        gamma = power(log_w, none)
        ess = share(gamma * log_w, none)
        if scale < 1:
            assert gamma == 1
        else:
            np.testing.assert_allclose(ess, LEAST_ESS, rtol=0.02)
            assert share(log_w, none) < 0.01
    far = Target(dim=2, reduced_energy=lambda x: 0.5 * (((x - 30.0) / 0.5) ** 2).sum(0))
    loss = make_own_samples_loss(generator(), far, n_samples=2000)
    (_, aux), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(OPTIMUM, None, key)
    assert aux["power"] < 0.1
    assert np.all(gradient["b"] < 0)  # towards the target


def test_a_sample_that_the_flow_does_not_find_back_counts_for_nothing(key):
    """ln q forward is off by 5 wherever x0 > 1: those samples must not show in the gradient."""
    flow = affine_flow()

    def forward(params, z):
        x, log_det = flow.forward(params, z)
        return x, log_det - 5.0 * (x[0] > 1.0)

    def inverse(params, x):
        z, log_det = flow.inverse(params, x)
        return z, log_det * jnp.where(x[0] > 1.0, 1e6, 1.0)

    broken = Generator(
        base=generator().base, bijector=dataclasses.replace(flow, forward=forward, inverse=inverse)
    )
    loss = make_own_samples_loss(broken, gaussian(), n_samples=2000)
    gradient = gradient_of(loss, AWAY, key)
    assert all(np.abs(leaf).max() < 10 for leaf in jax.tree.leaves(gradient))


class CountingPool:
    """One free particle on a spring, in place of OpenMM contexts."""

    n_atoms = 1

    def __init__(self):
        self.energy_calls, self.force_calls = [], 0

    def energies(self, x):
        self.energy_calls.append(len(x))
        return 0.5 * (x**2).sum((1, 2))

    def energies_and_forces(self, x):
        self.force_calls += 1
        return 0.5 * (x**2).sum((1, 2)), -x


def test_the_gradient_of_one_sample_is_bounded_by_those_of_the_others(key):
    """ln q = sum_i s_i a_i of samples with sensitivities s: the tenth of them ten thousand times the others."""
    steep = jnp.where(jnp.arange(1000) % 10 == 0, 1e4, 1.0)[None] * jnp.ones((8, 1))
    model = types.SimpleNamespace(log_prob=lambda p, x: p @ (steep * x))
    p, x = jnp.ones(8), jnp.ones((8, 1000))
    usable = jnp.arange(1000) != 5
    calm = calmness(model, p, x, model.log_prob(p, x), usable, key)
    np.testing.assert_allclose(calm[::10], CALM * 1e-4, rtol=0.3)
    np.testing.assert_array_equal(np.delete(calm, [*range(0, 1000, 10), 5]), 1.0)
    assert calm[5] == 0.0
    identity = calmness(model, jnp.zeros(8), x, jnp.zeros(1000), usable, key)
    np.testing.assert_array_equal(np.delete(identity, 5), 1.0)
    nothing = calmness(model, p, x, model.log_prob(p, x), jnp.zeros(1000, bool), key)
    np.testing.assert_array_equal(nothing, 0.0)
    broken = calmness(model, p, x.at[0, 7].set(jnp.nan), model.log_prob(p, x), usable, key)
    assert broken[7] == 0.0
    assert np.isfinite(broken).all()


def test_what_is_not_calm_does_not_teach(key, monkeypatch):
    for calm, moves in ((0.0, False), (1.0, True)):
        monkeypatch.setattr(own_samples, "calmness", lambda *_, calm=calm: calm)
        loss = make_own_samples_loss(generator(), gaussian(), n_samples=500)
        gradient = gradient_of(loss, AWAY, key)
        assert all(np.all((leaf != 0) == moves) for leaf in jax.tree.leaves(gradient))


def test_exploration_teaches_where_the_mean_force_is_low(key, monkeypatch):
    g, n = generator(), 100
    x = g.sample(key, AWAY, n).x
    own = jnp.where(jnp.arange(n) < 90, 1.0, 0.0)

    def spread(shift, log_soft):
        """Log-variance, the last ten points explored and moved."""
        at = x + shift * (1 - own)[None]
        there = jnp.where(own > 0.5, 0.0, log_soft)
        drawn = Proposed(at, g.log_prob(AWAY, at), jnp.zeros(n), own, there)
        monkeypatch.setattr(own_samples, "make_proposal", lambda *_: lambda params, key: drawn)
        loss = make_own_samples_loss(g, gaussian(), ONLY_SPREAD, n_samples=n)
        return float(jax.jit(loss)(AWAY, None, key)[1]["log_variance"])

    assert spread(0.5, -100.0) == pytest.approx(spread(0.0, -100.0), rel=1e-5)  # a desert
    assert abs(spread(0.5, 100.0) - spread(0.0, 100.0)) > 1e-3


def test_energies_once_a_step_and_never_forces(key):
    from jbg import flows

    pool = CountingPool()
    target = Target(dim=3, reduced_energy=openmm_potential(pool))
    flow = affine_flow(3)
    full = Generator(base=flows.normal(3), bijector=flow)
    loss = make_own_samples_loss(full, target, n_samples=64)
    step = jax.jit(jax.grad(lambda p, key: loss(p, None, key)[0]))
    for i in range(3):
        jax.block_until_ready(step(flow.init(key), jax.random.fold_in(key, i)))
    assert pool.energy_calls == [64, 64, 64]
    assert pool.force_calls == 0
