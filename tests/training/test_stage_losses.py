"""The losses of a stage: temperatures act on the energy alone, not on the coordinates' log-determinant."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg import flows
from jbg.generator import Generator
from jbg.interfaces import Bijector, ConfigError, Target
from jbg.losses import NLL, Jeffreys, OwnSamples, ReverseKL
from jbg.studies.problem import Examples, Problem
from jbg.training import (
    Hooks,
    Stage,
    Transport,
    run_stages,
    stage_losses,
    stage_refills,
)
from tests.losses.affine import generator as toy_generator
from tests.training.toy import DATA, ONE, START, Pull

# x = exp(v) with u = (ln x)^2 / 2: at temperature tau the density of v is exp(-v^2/(2 tau) + v), a normal of
# mean tau and variance tau; dividing the log-determinant v by tau as well would give mean 1.
EXPONENTIAL = Bijector(
    dim_in=1,
    dim_out=1,
    init=lambda key: (),
    forward=lambda params, v: (jnp.exp(v), v[0]),
    inverse=lambda params, x: (jnp.log(x), -jnp.log(x[0])),
)
LOGNORMAL = Target(dim=1, reduced_energy=lambda x: 0.5 * jnp.log(x[0]) ** 2)
SHIFT = Bijector(
    dim_in=1,
    dim_out=1,
    init=lambda key: jnp.zeros(()),
    forward=lambda params, z: (z + params, jnp.zeros(z.shape[1:], z.dtype)),
    inverse=lambda params, v: (v - params, jnp.zeros(v.shape[1:], v.dtype)),
)


@pytest.mark.parametrize("path_gradient", [False, True])
@pytest.mark.parametrize("tau", [1.0, 2.0])
def test_kl_is_stationary_at_the_mean_of_its_temperature(tau, path_gradient, key):
    generator = Generator(base=flows.normal(1), bijector=SHIFT)
    losses = (ReverseKL(taus=(tau,), path_gradient=path_gradient),)
    stage = Stage(name="kl", steps=10, batch_size=20_000, losses=losses)
    loss = stage_losses(generator, LOGNORMAL, EXPONENTIAL)(stage, ONE)
    slope = jax.grad(lambda shift: loss(shift, None, key)[0])
    # d/dshift E[(z + shift)^2 / (2 tau) - (z + shift)] = shift/tau - 1, standard error 1/sqrt(tau 20 000) < 0.008
    assert abs(slope(jnp.float32(tau))) < 0.03
    assert slope(jnp.float32(tau - 0.5)) < -0.1
    assert slope(jnp.float32(tau + 0.5)) > 0.1


@pytest.mark.parametrize("term", [ReverseKL(), OwnSamples(log_variance=0.0)], ids=["kl", "own"])
def test_a_heated_target_has_its_own_mean_and_the_base_stays(term, key):
    """Density of v at heat h: a normal of mean h and variance h."""
    generator = Generator(base=flows.normal(1), bijector=SHIFT)
    stage = Stage(name="hot", steps=10, batch_size=20_000, heat=1.5, losses=(term,))
    loss = stage_losses(generator, LOGNORMAL, EXPONENTIAL)(stage, ONE)
    slope = jax.jit(jax.grad(lambda shift: loss(shift, None, key)[0]))
    assert abs(slope(jnp.float32(1.5))) < 0.04
    assert slope(jnp.float32(1.0)) < -0.1
    assert slope(jnp.float32(2.0)) > 0.1


def test_a_refill_aims_at_the_heated_target_in_the_flow_s_coordinates(key):
    empty = np.zeros((0, 1), np.float32)
    problem = Problem(
        system=None,
        target=LOGNORMAL,
        flow=Generator(base=flows.normal(1), bijector=SHIFT),
        coords=EXPONENTIAL,
        examples=Examples(train=empty, heldout=empty),
        u_reference=0.0,
        batch=1,
    )
    buffer = Transport(n=40_000, every=10, max_kl=10.0, max_entropy_drop=10.0)
    stage = Stage(name="hot", steps=10, heat=1.5, losses=(NLL(),), buffer=buffer)
    refill = problem.make_refill(stage, ONE)
    _, rows, _ = refill.run(jnp.float32(1.5), (), key)
    assert float(rows.mean()) == pytest.approx(1.5, abs=0.1)
    assert float(rows.var()) == pytest.approx(1.5, abs=0.15)


@pytest.mark.parametrize("tau", [1.0, 2.0])
def test_path_gradients_are_zero_at_the_mean_of_their_temperature_for_every_sample(tau, key):
    generator = Generator(base=flows.normal(1), bijector=SHIFT)

    def slope(at, term):
        make_loss = stage_losses(generator, LOGNORMAL, EXPONENTIAL)
        loss = make_loss(Stage(name="kl", steps=10, batch_size=2 * 4, losses=(term,)), ONE)
        gradient = jax.jit(jax.grad(lambda shift: loss(shift, None, key)[0]))
        return float(gradient(jnp.float32(at)))

    for term in (ReverseKL(path_gradient=True, taus=(tau,)), Jeffreys(taus=(tau,))):
        assert abs(slope(tau, term)) < 1e-5  # rounding in eight samples
        assert slope(tau - 0.5, term) < -0.1
        assert slope(tau + 0.5, term) > 0.1
    # the ordinary estimator has the spread of eight samples
    assert abs(slope(tau, ReverseKL(taus=(tau,)))) > 1e-3


@pytest.mark.parametrize("heat", [1.0, 2.0])
def test_a_stage_softens_what_it_trains_on(heat, key):
    """u = 0.5 (z + 10)^2 in kT, so that a cap of 5 kT above u_reference holds for every sample."""
    generator = Generator(base=flows.normal(1), bijector=SHIFT)
    target = Target(dim=1, reduced_energy=lambda x: 0.5 * x[0] ** 2)
    shared = {"name": "kl", "steps": 10, "batch_size": 1000, "losses": (ReverseKL(),), "heat": heat}

    def value(u_reference=0.0, **softening):
        make_loss = stage_losses(generator, target, u_reference=u_reference)
        return float(make_loss(Stage(**shared, **softening), ONE)(jnp.float32(10.0), None, key)[0])

    u = 0.5 * (10.0 + np.asarray(generator.base.sample(jax.random.split(key, 1)[0], 1000))) ** 2
    assert value(e_high=1e4) == pytest.approx(u.mean() / heat, rel=1e-4)
    high = 2.0 * heat
    soft = np.where(u > high, high + np.log1p(np.maximum(u - high, 0.0)), u)
    assert value(e_high=2.0) == pytest.approx(soft.mean() / heat, rel=1e-4)
    assert value(e_high=2.0, e_max=3.0 * heat) == pytest.approx(
        (high + np.log(1 + 3.0 * heat - high)) / heat, rel=1e-4
    )
    assert value(e_high=2.0, u_reference=1e3) == pytest.approx(u.mean() / heat, rel=1e-4)


def test_a_refill_is_of_the_softened_target(key):
    """A wall of 1000 kT lets nothing through, one that is cut at half a kT does."""
    generator = Generator(base=flows.normal(1), bijector=SHIFT)
    wall = Target(dim=1, reduced_energy=lambda x: 0.5 * x[0] ** 2 + 1000.0 * (x[0] > 0))
    buffer = Transport(n=20_000, every=10, max_kl=10.0, max_entropy_drop=10.0)
    refill = stage_refills(generator, wall)
    share = {}
    for e_high, e_max in ((1e4, 1e20), (0.1, 0.5)):
        stage = Stage(
            name="a", steps=10, losses=(NLL(),), buffer=buffer, e_high=e_high, e_max=e_max
        )
        made = refill(stage, ONE)
        _, rows, _ = made.run(jnp.float32(0.0), (), key)
        share[e_high] = float((rows > 0).mean())
    assert share[1e4] == 0.0
    assert share[0.1] > 0.2


def test_a_term_of_ones_own_is_weighted_trained_and_logged():
    stage = Stage(name="a", steps=100, batch_size=8, learning_rate=0.05, losses=(NLL(), Pull(50.0)))
    logged = []
    found = run_stages(
        (stage,),
        make_loss=stage_losses(toy_generator(), None),
        params=START,
        data=DATA,
        key=jax.random.key(0),
        hooks=Hooks(on_log=lambda stage, step, values: logged.append(values)),
    )
    plain = run_stages(
        (dataclasses.replace(stage, losses=(NLL(), Pull(0.0))),),
        make_loss=stage_losses(toy_generator(), None),
        params=START,
        data=DATA,
        key=jax.random.key(0),
    )
    assert np.abs(found["b"]).max() < 0.1 < np.abs(plain["b"]).max()
    assert {"nll", "pull", "loss"} <= set(logged[0])


def test_terms_that_need_energies_say_so():
    make_loss = stage_losses(toy_generator(), None)
    for term in (ReverseKL(), Jeffreys(), OwnSamples()):
        with pytest.raises(ConfigError, match=f"{type(term).__name__}: trains by energy and needs"):
            make_loss(Stage(name="a", steps=10, losses=(term,)), ONE)
    with pytest.raises(ConfigError, match="no term has a weight"):
        make_loss(Stage(name="a", steps=10, losses=(ReverseKL(0.0),)), ONE)
