"""Base distributions: densities that integrate to one, samples that follow them, at any temperature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jbg import flows

TAUS = (0.5, 1.0, 2.5)
ONE_DIMENSIONAL = {
    "normal": lambda: flows.normal(1),
    "uniform": lambda: flows.uniform(1),
    "von Mises 0.3": lambda: flows.von_mises(1, concentration=0.3),
    "von Mises 4": lambda: flows.von_mises(1, concentration=4.0),
    "von Mises 300": lambda: flows.von_mises(1, concentration=300.0),
}


def scipy_of(name, tau):
    if name == "normal":
        return scipy.stats.norm(scale=np.sqrt(tau))
    if name == "uniform":
        return scipy.stats.uniform(-np.pi, 2 * np.pi)
    return scipy.stats.vonmises(float(name.split()[-1]) / tau)


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("name", ONE_DIMENSIONAL)
def test_density_integrates_to_one_and_is_that_of_scipy(name, tau, x64):
    base, bound = ONE_DIMENSIONAL[name](), 20.0 if name == "normal" else np.pi
    z = np.linspace(-bound, bound, 40001)[None]
    log_p = np.asarray(base.log_prob(jnp.asarray(z), tau))
    np.testing.assert_allclose(np.trapezoid(np.exp(log_p), z[0]), 1, atol=1e-7)
    inside = slice(1, -1)  # scipy's uniform ends a rounding error before pi
    expected = scipy_of(name, tau).logpdf(z[0])
    np.testing.assert_allclose(log_p[inside], expected[inside], atol=1e-7)


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("name", ONE_DIMENSIONAL)
def test_samples_follow_the_density(name, tau, key):
    z = np.asarray(ONE_DIMENSIONAL[name]().sample(key, 20_000, tau), np.float64)
    assert z.shape == (1, 20_000)
    assert scipy.stats.kstest(z[0], scipy_of(name, tau).cdf).pvalue > 1e-3


def test_the_dimensions_are_independent(key):
    base = flows.product(
        flows.uniform(1), flows.von_mises(2, concentration=2.0), flows.normal(0), flows.normal(2)
    )
    z = np.asarray(base.sample(key, 20_000, 1.0))
    assert base.dim == len(z) == 5
    np.testing.assert_allclose(np.corrcoef(z), np.eye(5), atol=0.03)
    parts = (
        scipy.stats.uniform(-np.pi, 2 * np.pi).logpdf(z[0])
        + scipy.stats.vonmises(2.0).logpdf(z[1:3]).sum(0)
        + scipy.stats.norm().logpdf(z[3:]).sum(0)
    )
    np.testing.assert_allclose(base.log_prob(jnp.asarray(z), 1.0), parts, atol=1e-4)


@pytest.mark.parametrize(
    "base",
    [
        flows.normal(3),
        flows.uniform(3),
        flows.von_mises(3, concentration=2.0),
        flows.product(flows.uniform(1), flows.von_mises(1, concentration=2.0), flows.normal(1)),
    ],
    ids=["normal", "uniform", "von Mises", "product"],
)
def test_a_temperature_for_each_sample(base, key):
    """What the losses at several temperatures do: tau has the batch's shape."""
    tau = jnp.repeat(jnp.array([0.5, 2.0]), 4000)
    z = base.sample(key, 8000, tau)
    log_p = base.log_prob(z, tau)
    assert log_p.shape == (8000,)
    for part, t in ((slice(4000), 0.5), (slice(4000, None), 2.0)):
        np.testing.assert_allclose(log_p[part], base.log_prob(z[:, part], t), rtol=1e-5)
    cold, hot = np.std(z[-1, :4000]), np.std(z[-1, 4000:])
    if base.dim == 3 and cold < 1.5:  # angles that are uniform know no temperature
        assert hot > 1.3 * cold
    assert base.log_prob(z[:, 0], 1.0).shape == ()


def test_hot_normals_are_wider_by_the_root_of_tau(key):
    base = flows.normal(4)
    np.testing.assert_allclose(base.sample(key, 10, 4.0), 2 * base.sample(key, 10, 1.0), rtol=1e-6)
    z = jax.random.normal(key, (4, 7))
    expected = base.log_prob(z / 2, 1.0) - 4 * np.log(2)
    np.testing.assert_allclose(base.log_prob(z, 4.0), expected, rtol=1e-5)
