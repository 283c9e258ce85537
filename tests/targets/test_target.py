"""Targets: units, the softened energy's continuity and gradients, restriction."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg import units
from jbg.interfaces import ConfigError, System, Target
from jbg.systems import double_well
from jbg.targets import make_target, restrict, soften

SOFT = {"e_high": 10.0, "e_max": 1e4, "offset": -3.0}


def molecule(potential=lambda x: jnp.sum(x**2, axis=0)) -> System:
    return System(
        name="toy", dim=3, potential=potential, energy_unit="kJ/mol", start=np.zeros((1, 3))
    )


def ramp() -> Target:
    """u = x, so that the gradient of the softened energy is its slope."""
    return Target(dim=1, reduced_energy=lambda x: x[0])


def test_molecules_are_reduced_by_kt(x64):
    x = jnp.array([0.1, 0.2, 0.3])
    u = make_target(molecule(), 300.0).reduced_energy(x)
    np.testing.assert_allclose(u, 0.14 / 2.4943387854, rtol=1e-9)  # k_B x 300 K in kJ/mol
    assert units.beta(300.0) > units.beta(600.0)


def test_toys_are_taken_as_they_are():
    target = make_target(double_well())
    x = np.array([[-1.0, 1.0], [0.5, 0.5]])
    np.testing.assert_allclose(target.reduced_energy(x), double_well().potential(x))


@pytest.mark.parametrize("temperature", [None, 0.0, -300.0, float("nan"), float("inf")])
def test_molecules_need_a_temperature(temperature):
    with pytest.raises(ConfigError, match="temperature > 0 in K"):
        make_target(molecule(), temperature)


def test_toys_refuse_a_temperature():
    with pytest.raises(ConfigError, match="leave it out"):
        make_target(double_well(), 300.0)


def test_soften_is_the_identity_below_and_logarithmic_above(x64):
    v = np.array([-50.0, 0.0, 10.0, 11.0, 9999.0, 1e4, 1e9])
    expected = [-50.0, 0.0, 10.0, 10 + np.log(2), 10 + np.log(9990), *[10 + np.log(9991)] * 2]
    u = soften(ramp(), **SOFT).reduced_energy(jnp.asarray(v - 3.0)[None])
    np.testing.assert_allclose(u, np.array(expected) - 3.0, rtol=1e-12)


def test_soften_is_continuous_with_slope_one_at_e_high(x64):
    energy = soften(ramp(), **SOFT).reduced_energy
    edge = SOFT["e_high"] + SOFT["offset"]
    for sign in (-1, 1):
        x = jnp.array([edge + sign * 1e-9])
        np.testing.assert_allclose(energy(x), edge, atol=2e-9)
        np.testing.assert_allclose(jax.grad(energy)(x), [1.0], atol=1e-8)


def test_soften_is_monotone_and_its_gradient_is_the_finite_difference(x64):
    energy = soften(ramp(), **SOFT).reduced_energy
    x = jnp.concatenate([jnp.linspace(-20, 50, 71) + 0.3, jnp.geomspace(60, 9000, 30)])[None]
    assert np.all(np.diff(energy(x)) > 0)
    difference = (energy(x + 1e-5) - energy(x - 1e-5)) / 2e-5
    gradient = jax.grad(lambda x: energy(x).sum())(x)
    np.testing.assert_allclose(gradient[0], difference, rtol=1e-5)


def clash() -> Target:
    """r^-12: infinite with an undefined gradient at r = 0, NaN below through the square root."""
    return Target(dim=1, reduced_energy=lambda x: jnp.sqrt(x[0]) ** -24)


@pytest.mark.parametrize("transform", ["batch", "vmap", "jit"])
def test_no_nan_leaves_a_clash(transform):
    target = soften(clash(), e_high=10.0, e_max=1e10)
    x = jnp.array([[1.0, 0.5, 0.1, 0.0, -1.0, jnp.nan]])
    if transform == "vmap":
        u = jax.vmap(target.reduced_energy, in_axes=1)(x)
        gradient = jax.vmap(jax.grad(target.reduced_energy), in_axes=1)(x)[:, 0]
    else:
        wrap = jax.jit if transform == "jit" else lambda f: f
        u = wrap(target.reduced_energy)(x)
        gradient = wrap(jax.grad(lambda x: target.reduced_energy(x).sum()))(x)[0]
    assert np.all(np.isfinite(u))
    np.testing.assert_allclose(u[2:], 10 + np.log(1e10 - 9), rtol=1e-6)
    np.testing.assert_array_equal(gradient[2:], 0.0)
    # below e_high -12 / r^13; above, divided by u - e_high + 1
    expected = [-12.0, -12 * 0.5**-13 / (0.5**-12 - 9)]
    np.testing.assert_allclose(gradient[:2], expected, rtol=1e-5)


def test_the_energy_is_evaluated_once_for_value_and_gradient():
    calls = []

    def counted(x):
        jax.debug.callback(lambda: calls.append(1))
        return x[0] ** 2

    target = soften(Target(dim=1, reduced_energy=counted), e_high=1.0, e_max=10.0)
    jax.value_and_grad(target.reduced_energy)(jnp.array([2.0]))
    jax.effects_barrier()
    assert len(calls) == 1


@pytest.mark.parametrize(
    "bad",
    [
        {"e_high": 5.0, "e_max": 5.0},
        {"e_high": 5.0, "e_max": float("inf")},
        {"e_high": 1.0, "e_max": 5.0, "offset": float("nan")},
    ],
)
def test_thresholds_must_make_sense(bad):
    with pytest.raises(ConfigError, match="e_high < e_max"):
        soften(ramp(), **bad)


def test_restrict_is_infinite_outside_only():
    system = double_well()
    target = restrict(make_target(system), system.states[0].contains)
    u = target.reduced_energy(system.start.T)
    np.testing.assert_allclose(u[0], system.potential(system.start[0]), rtol=1e-6)
    assert np.isposinf(u[1])
