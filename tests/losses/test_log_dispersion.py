"""The spread of ln q + u over data: by hand, and what it teaches from few examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from jbg.interfaces import ConfigError
from jbg.losses import NLL, LogDispersion, make_log_dispersion_loss
from jbg.losses.robust import huber, huber_centre
from jbg.training import Stage, run_stages, stage_losses
from tests.losses.affine import AWAY, MEAN, OPTIMUM, WIDTH, gaussian, generator
from tests.training.toy import ONE, START

WIDE = 1e6  # a Huber loss as wide as this is half the square


def examples(n: int = 200, seed: int = 0) -> np.ndarray:
    """``(3, n)``: points of no particular density, and their energies under the Gaussian target."""
    x = np.random.default_rng(seed).normal(size=(2, n)).astype(np.float32) * 1.5
    return np.concatenate([x, np.asarray(gaussian().reduced_energy(x))[None]])


def residuals(a, b, batch):
    """ln q + u of x = exp(a) z + b on a standard normal z, by hand in float64."""
    *x, u = np.asarray(batch, float)
    log_q = sum(
        -0.5 * ((x[i] - b[i]) * np.exp(-a[i])) ** 2 - a[i] - 0.5 * np.log(2 * np.pi)
        for i in range(2)
    )
    return log_q + u


def by_hand(params, batch, delta):
    """The least mean Huber loss about a centre that scipy finds."""
    r = residuals(np.asarray(params["a"], float), np.asarray(params["b"], float), batch)

    def about(c):
        d = np.abs(r - c)
        return np.mean(np.where(d <= delta, 0.5 * d * d, delta * (d - 0.5 * delta)))

    return minimize_scalar(about, bracket=(r.min(), r.max()), tol=1e-12).fun


@pytest.mark.parametrize("delta", [0.3, 1.0, WIDE])
def test_loss_and_gradient_by_hand(delta, key):
    batch = examples()
    loss = make_log_dispersion_loss(generator(), delta=delta)
    (value, aux), gradient = jax.value_and_grad(loss, has_aux=True)(AWAY, batch, key)
    expected = by_hand(AWAY, batch, delta)
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    assert aux["log_dispersion"] == value
    if delta == WIDE:
        r = residuals(np.asarray(AWAY["a"], float), np.asarray(AWAY["b"], float), batch)
        np.testing.assert_allclose(value, 0.5 * r.var(), rtol=1e-4)
    for name in ("a", "b"):
        for i in range(2):  # the centre moves too, and its part is zero
            moved = [
                by_hand(AWAY | {name: AWAY[name].at[i].add(step)}, batch, delta)
                for step in (1e-3, -1e-3)
            ]
            np.testing.assert_allclose(
                gradient[name][i], (moved[0] - moved[1]) / 2e-3, rtol=5e-3, atol=2e-4
            )
            assert abs(gradient[name][i]) > 0.02  # a wrong sign would show


def test_zero_at_the_target_up_to_a_constant_whatever_the_examples(key):
    batch = examples()
    batch[2] += 40.0
    loss = make_log_dispersion_loss(generator())
    value, gradient = jax.value_and_grad(lambda p: loss(p, batch, key)[0])(OPTIMUM)
    assert value < 1e-9
    for leaf in jax.tree.leaves(gradient):
        np.testing.assert_allclose(leaf, 0, atol=1e-4)
    assert loss(AWAY, batch, key)[0] > 0.1


def test_the_likelihood_comes_from_the_same_densities(key):
    batch = examples()
    loss = make_log_dispersion_loss(generator(), w_nll=0.5, w_log_dispersion=2.0)
    value, aux = loss(AWAY, batch, key)
    r = residuals(np.asarray(AWAY["a"], float), np.asarray(AWAY["b"], float), batch)
    np.testing.assert_allclose(aux["nll"], -(r - batch[2]).mean(), rtol=1e-5)
    np.testing.assert_allclose(value, 2 * aux["log_dispersion"] + 0.5 * aux["nll"], rtol=1e-5)


def test_the_centre_does_not_follow_a_few_strained_examples():
    r = jnp.concatenate([jnp.linspace(-1, 1, 95), jnp.full(5, 1e8)])
    # 95 within reach of it: 95 c = 5 delta
    np.testing.assert_allclose(huber_centre(r, 2.0), 10 / 95, atol=1e-3)
    assert huber_centre(jnp.full(7, 3.0), 1.0) == 3.0
    np.testing.assert_allclose(huber(jnp.array([0.5, -3.0]), 2.0), [0.125, 4.0])


@pytest.mark.parametrize("columns", [(), ("tau",), ("tau", "u")])
def test_data_without_energies_of_one_temperature_are_refused(columns):
    for losses in ((LogDispersion(),), (NLL(dispersion=LogDispersion()),)):
        stage = Stage(name="a", steps=10, losses=losses)
        with pytest.raises(ConfigError, match="data of one temperature with their energies"):
            stage_losses(generator(), gaussian(), columns=columns)(stage, ONE)


def points(n: int, seed: int) -> np.ndarray:
    """``(n, 2)`` points of the Gaussian target."""
    z = np.random.default_rng(seed).normal(size=(n, 2))
    return (MEAN + WIDTH * z).astype(np.float32)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_energies_teach_more_from_few_examples(seed, key):
    """Ten points; how far ln q falls short of the known ln p on points not learnt from, in nats."""
    few, new = points(10, seed), points(2000, 100).T
    data = jnp.asarray(np.column_stack([few, gaussian().reduced_energy(few.T)]), jnp.float32)
    make_loss = stage_losses(generator(), gaussian(), columns=("u",))
    log_p = -gaussian().reduced_energy(new) - gaussian().log_z()

    def gap(weight):
        stage = Stage(
            name="a",
            steps=400,
            batch_size=64,
            learning_rate=0.03,
            losses=(NLL(dispersion=LogDispersion(weight)),),
        )
        params = run_stages(
            (stage,), make_loss=make_loss, params=START, data=data, key=key, mesh=ONE
        )
        return float(np.mean(log_p - generator().log_prob(params, jnp.asarray(new))))

    # ten points leave the likelihood 4 parameters / 20 = 0.2 nats short on average
    with_energies, without = gap(10.0), gap(0.0)
    assert without > 0.05
    assert 0 <= with_energies < 0.2 * without
