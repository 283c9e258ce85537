"""Annealed importance sampling bootstrap: right weights, bookkeeping of the buffer, training arrives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg import flows
from jbg.generator import Generator
from jbg.interfaces import ConfigError, Target
from jbg.losses import AlphaDivergence
from jbg.training import Bootstrap, Stage, run_stages, stage_losses, stage_refills
from jbg.training.bootstrap import annealed
from tests.losses.affine import MEAN, WIDTH, affine_flow, gaussian
from tests.training.toy import ONE, TWO

GENERATOR = Generator(base=flows.normal(2), bijector=affine_flow())
NEAR = {"a": jnp.log(jnp.asarray(WIDTH)) + 0.2, "b": jnp.asarray(MEAN) + 0.4}


def p_squared_over_q():
    """Moments of p^2/q for Gaussians p and q, and ln of its integral with p unnormalised."""
    width_q = np.exp(np.asarray(NEAR["a"]))
    precision = 2 / WIDTH**2 - 1 / width_q**2
    mean = (2 * MEAN / WIDTH**2 - np.asarray(NEAR["b"]) / width_q**2) / precision
    exponent = 2 * (MEAN / WIDTH) ** 2 - (np.asarray(NEAR["b"]) / width_q) ** 2
    constant = -0.5 * (exponent - precision * mean**2)
    log_z = np.sum(constant + np.log(2 * np.pi) + np.log(width_q) - 0.5 * np.log(precision))
    return mean, precision**-0.5, float(log_z)


@pytest.fixture(scope="module")
def drawn():
    draw = jax.jit(
        lambda key: annealed(
            key, GENERATOR, gaussian(), NEAR, 40_000, levels=3, leapfrog=3, step=jnp.asarray(0.5)
        )
    )
    return draw(jax.random.key(1))


def test_weights_are_those_of_p_squared_over_q(drawn):
    x, log_w, log_q, accepted = drawn
    mean, width, log_z = p_squared_over_q()
    w = jax.nn.softmax(log_w)
    assert accepted > 0.7
    np.testing.assert_allclose(x @ w, mean, atol=0.03)
    np.testing.assert_allclose(jnp.sqrt((x - mean[:, None]) ** 2 @ w), width, rtol=0.03)
    assert jax.nn.logsumexp(log_w) - np.log(len(log_w)) == pytest.approx(log_z, abs=0.02)
    np.testing.assert_allclose(log_q, GENERATOR.log_prob(NEAR, x), rtol=1e-4, atol=1e-4)


def test_annealing_carries_samples_towards_the_target(drawn):
    log_w = np.asarray(drawn[1], float)
    of_annealed = np.exp(2 * np.log(np.exp(log_w).mean())) / np.exp(2 * log_w).mean()
    x = GENERATOR.sample(jax.random.key(2), NEAR, 40_000)
    plain = np.asarray(2 * (-gaussian().reduced_energy(x.x) - x.log_prob), float)
    of_plain = np.exp(2 * np.log(np.exp(plain).mean())) / np.exp(2 * plain).mean()
    assert of_annealed > 1.3 * of_plain


def test_the_store_follows_the_generator_and_forgets_the_oldest():
    settings = Bootstrap(n=50, capacity=100, levels=1, leapfrog=2, step=0.5)
    refill = settings.make(GENERATOR, gaussian(), ONE)
    store, _ = refill.empty()
    store, rows, _ = refill.run(NEAR, store, jax.random.key(0))
    assert np.isfinite(store.log_w[:50]).all()
    assert np.isneginf(store.log_w[50:]).all()
    first = np.asarray(store.x[:50])
    assert {tuple(r) for r in np.asarray(rows[:, :2])} <= {tuple(r) for r in first}
    moved = {"a": NEAR["a"] - 0.3, "b": NEAR["b"]}
    later, rows, _ = refill.run(moved, store, jax.random.key(1))
    np.testing.assert_array_equal(later.x[:50], first)
    change = GENERATOR.log_prob(NEAR, first.T) - GENERATOR.log_prob(moved, first.T)
    np.testing.assert_allclose(later.log_w[:50] - store.log_w[:50], change, atol=1e-4)
    np.testing.assert_allclose(later.log_q, GENERATOR.log_prob(moved, later.x.T), atol=1e-4)
    np.testing.assert_allclose(rows[:, 2], GENERATOR.log_prob(moved, rows[:, :2].T), atol=1e-4)
    latest, _, _ = refill.run(moved, later, jax.random.key(2))
    assert not np.array_equal(latest.x[:50], first)


def test_angles_stay_on_their_circle():
    generator = Generator(
        base=flows.uniform(1),
        bijector=flows.permute(np.array([0])),
    )
    target = Target(dim=1, reduced_energy=lambda x: -4 * jnp.cos(x[0] - np.pi))
    x, log_w, _, _ = annealed(
        jax.random.key(0),
        generator,
        target,
        (),
        20_000,
        levels=3,
        leapfrog=4,
        step=jnp.asarray(0.5),
    )
    assert float(jnp.abs(x).max()) <= np.pi + 1e-6
    # p^2/q ~ exp(8 cos(x - pi)) : mean cosine I_1(8)/I_0(8)
    mean = float(jax.nn.softmax(log_w) @ jnp.cos(x[0] - np.pi))
    expected = jax.scipy.special.i1e(8.0) / jax.scipy.special.i0e(8.0)
    assert mean == pytest.approx(float(expected), abs=0.01)


@pytest.mark.parametrize("mesh", [pytest.param(ONE, marks=pytest.mark.slow), TWO])
def test_training_finds_the_target(mesh):
    buffer = Bootstrap(n=128, every=10, capacity=1024, levels=2, leapfrog=2, step=0.3)
    stage = Stage(
        name="bootstrap",
        steps=400,
        batch_size=128,
        learning_rate=0.02,
        losses=(AlphaDivergence(),),
        buffer=buffer,
        ema=0.95,
    )
    found = run_stages(
        [stage],
        make_loss=stage_losses(GENERATOR, gaussian()),
        make_refill=stage_refills(GENERATOR, gaussian()),
        params={"a": jnp.zeros(2), "b": jnp.zeros(2)},
        data=jnp.zeros((1, 2)),
        key=jax.random.key(0),
        mesh=mesh,
    )
    np.testing.assert_allclose(found["b"], MEAN, atol=0.1)
    np.testing.assert_allclose(np.exp(found["a"]), WIDTH, rtol=0.1)


def test_two_devices_fill_the_store_of_one():
    """51 configurations, which two devices cannot share equally."""
    found = []
    for mesh in (ONE, TWO):
        refill = Bootstrap(n=51, capacity=102, levels=2).make(GENERATOR, gaussian(), mesh)
        store, _ = refill.empty()
        for i in range(2):
            store, rows, logs = refill.run(NEAR, store, jax.random.key(i))
        found.append((store, rows, logs))
    for one, two in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


def test_bad_settings_are_refused():
    with pytest.raises(ConfigError, match="capacity"):
        Bootstrap(n=100, capacity=150)
    with pytest.raises(ConfigError, match="levels"):
        Bootstrap(levels=0)
