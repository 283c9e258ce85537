"""Constrained mass transport: intermediate targets of Gaussians in closed form, training arrives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg import flows
from jbg.generator import Generator
from jbg.interfaces import ConfigError, Target
from jbg.losses import NLL
from jbg.training import Stage, Transport, run_stages, stage_losses, stage_refills
from jbg.training.transport import constrained_step
from tests.losses.affine import affine_flow
from tests.training.toy import ONE, TWO

N = 20_000


def between_gaussians(width: float, **bounds):
    """From q = N(0, 1) towards p = N(0, width^2), with samples at quantiles of q."""
    x = jax.scipy.stats.norm.ppf((jnp.arange(N) + 0.5) / N)
    log_q = -0.5 * x**2 - 0.5 * jnp.log(2 * jnp.pi)
    return x, constrained_step(log_q, 0.5 * (x / width) ** 2, **bounds)


@pytest.mark.parametrize("width", [0.3, 0.7, 1.5])
def test_bounds_hold_and_the_intermediate_is_the_gaussian_they_allow(width):
    """All intermediates are Gaussians here: their width s follows from whichever bound is tighter."""
    bounds = dict(max_kl=0.05, max_entropy_drop=0.1)
    x, step = between_gaussians(width, **bounds)
    s = float(jnp.sqrt(jnp.sum(jax.nn.softmax(step.log_w) * x**2)))
    kl = 0.5 * (s**2 - 1) - np.log(s)
    assert step.kl == pytest.approx(kl, abs=2e-3)
    assert step.entropy_drop == pytest.approx(-np.log(s), abs=2e-3)
    assert kl <= bounds["max_kl"] * 1.02
    assert -np.log(s) <= bounds["max_entropy_drop"] * 1.02
    at_a_bound = max(kl / bounds["max_kl"], -np.log(s) / bounds["max_entropy_drop"])
    assert at_a_bound == pytest.approx(1.0, abs=0.03)  # p is further than either
    assert (s < 1) == (width < 1)


def test_where_the_target_is_near_the_step_reaches_it():
    _, step = between_gaussians(0.9, max_kl=1.0, max_entropy_drop=1.0)
    np.testing.assert_allclose(step.multipliers, 0.0, atol=1e-6)


def test_only_the_entropy_bound_widens_what_the_kl_bound_lets_through():
    _, tight = between_gaussians(0.3, max_kl=0.5, max_entropy_drop=0.05)
    assert tight.multipliers[0] == pytest.approx(0.0, abs=1e-5)
    assert tight.multipliers[1] > 1


def test_samples_without_energy_weigh_nothing():
    u = jnp.array([0.0, jnp.inf, jnp.nan, 1.0])
    step = constrained_step(jnp.zeros(4), u, max_kl=1.0, max_entropy_drop=1.0)
    assert np.isneginf(step.log_w[1:3]).all()
    assert np.isfinite(step.log_w[jnp.array([0, 3])]).all()


@pytest.mark.parametrize("mesh", [pytest.param(ONE, marks=pytest.mark.slow), TWO])
def test_training_reaches_a_distant_target(mesh):
    """From N(0, 1) to a Gaussian of width 0.1 about 4: plain weights would give one sample in 10^5."""
    centre, width = 4.0, 0.1
    target = Target(dim=1, reduced_energy=lambda x: 0.5 * ((x[0] - centre) / width) ** 2)
    generator = Generator(base=flows.normal(1), bijector=affine_flow(1))
    buffer = Transport(n=1000, every=10, max_kl=0.5, max_entropy_drop=0.3)
    stage = Stage(
        name="there",
        steps=900,
        batch_size=100,
        learning_rate=0.03,
        losses=(NLL(),),
        buffer=buffer,
        e_high=1e4,  # the target begins 800 kT away
    )
    found = run_stages(
        [stage],
        make_loss=stage_losses(generator, target),
        make_refill=stage_refills(generator, target),
        params={"a": jnp.zeros(1), "b": jnp.zeros(1)},
        data=jnp.zeros((1, 1)),
        key=jax.random.key(0),
        mesh=mesh,
    )
    assert float(found["b"][0]) == pytest.approx(centre, abs=0.02)
    assert float(jnp.exp(found["a"][0])) == pytest.approx(width, rel=0.1)


def test_two_devices_draw_the_rows_of_one():
    generator = Generator(base=flows.normal(1), bijector=affine_flow(1))
    target = Target(dim=1, reduced_energy=lambda x: 0.5 * (2 * x[0] - 1) ** 2)
    params, key = {"a": jnp.zeros(1), "b": jnp.zeros(1)}, jax.random.key(0)
    one, two = (
        Transport(n=4099).make(generator, target, mesh).run(params, (), key) for mesh in (ONE, TWO)
    )
    np.testing.assert_allclose(one[1], two[1], rtol=1e-5)  # in two pieces that nothing divides
    for name, value in one[2].items():
        np.testing.assert_allclose(value, two[2][name], rtol=1e-4, atol=1e-6)


def test_bad_settings_are_refused():
    with pytest.raises(ConfigError, match="max_kl"):
        Transport(max_kl=0.0)
    with pytest.raises(ConfigError, match="n must be whole"):
        Transport(n=10.5)
