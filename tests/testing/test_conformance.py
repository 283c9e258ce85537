"""The checks that jbg ships pass for its own parts and catch broken ones."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jbg
from jbg import coords
from jbg.losses import LossContext
from jbg.testing import check_bijector, check_loss, check_target

FLOWS = {
    "realnvp": lambda: jbg.realnvp(2, n_blocks=1, hidden=(4,)),
    "spline": lambda: jbg.spline_flow(0, 2, jbg.SplineFlowConfig(n_blocks=1, n_bins=4)),
    "standardisation": lambda: coords.standardisation(
        coords.Standardisation(np.array([1.0, 2.0]), np.array([0.5, 3.0]))
    ),
}
SYSTEM = jbg.double_well()
TARGET = jbg.make_target(SYSTEM)


def points(n=20):
    return jnp.asarray(np.random.default_rng(1).normal(size=(2, n)), float)


def noisy(bijector):
    params = bijector.init(jax.random.key(0))
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), max(1, len(leaves)))
    return jax.tree.unflatten(
        tree, [p + 0.1 * jax.random.normal(k, p.shape) for p, k in zip(leaves, keys, strict=False)]
    )


@pytest.mark.parametrize("name", FLOWS)
def test_flows_and_coordinates_conform(name, x64):
    bijector = FLOWS[name]()
    check_bijector(bijector, noisy(bijector), points(), atol=1e-6)


def broken(**functions):
    return dataclasses.replace(FLOWS["standardisation"](), **functions)


BROKEN = {
    "inverse(forward(z)) is z": broken(
        inverse=lambda params, x: (x, jnp.full(x.shape[1:], -np.log(1.5)))
    ),
    "each other's negative": broken(
        inverse=lambda params, x: (
            FLOWS["standardisation"]().inverse(params, x)[0],
            jnp.zeros(x.shape[1:]),
        )
    ),
    "that of the Jacobian": broken(
        forward=lambda params, z: (
            FLOWS["standardisation"]().forward(params, z)[0],
            jnp.full(z.shape[1:], 2.0),
        ),
        inverse=lambda params, x: (
            FLOWS["standardisation"]().inverse(params, x)[0],
            jnp.full(x.shape[1:], -2.0),
        ),
    ),
    "log-determinant must have shape": broken(
        forward=lambda params, z: (z, jnp.zeros(())),
    ),
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_bijector_is_caught(message):
    with pytest.raises(AssertionError, match=message.replace("(", r"\(").replace(")", r"\)")):
        check_bijector(BROKEN[message], (), points())


@pytest.mark.parametrize("system", [jbg.double_well(), jbg.mueller_brown(), jbg.many_well()])
def test_targets_conform(system):
    x = np.asarray(system.start.T, np.float32)
    rng = np.random.default_rng(0)
    x = x[:, rng.integers(x.shape[1], size=7)] + 0.1 * rng.normal(size=(system.dim, 7))
    check_target(jbg.make_target(system), x.astype(np.float32))


def test_a_wrong_gradient_and_a_wrong_shape_are_caught():
    stopped = dataclasses.replace(
        TARGET, reduced_energy=lambda x: jax.lax.stop_gradient(SYSTEM.potential(x))
    )
    with pytest.raises(AssertionError, match=r"the gradient along a direction is 0"):
        check_target(stopped, points(7))
    check_target(stopped, points(7), gradient=False)
    scalar = dataclasses.replace(TARGET, reduced_energy=lambda x: SYSTEM.potential(x).sum())
    with pytest.raises(AssertionError, match="must have shape"):
        check_target(scalar, points(7))


def context():
    generator = jbg.Generator(base=jbg.normal(2), bijector=FLOWS["realnvp"]())
    return LossContext(generator=generator, target=TARGET, n_samples=16)


@pytest.mark.parametrize("term", [jbg.NLL(), jbg.ReverseKL(), jbg.OwnSamples(), jbg.Jeffreys()])
def test_losses_conform(term, key):
    made = context()
    check_loss(term.build(made), noisy(made.generator.bijector), points(16), key)


def test_broken_losses_are_caught(key):
    params = {"a": jnp.ones(2)}
    cases = {
        "finite scalar": lambda p, b, k: (p["a"], {}),
        "flat dict of scalars": lambda p, b, k: (p["a"].sum(), {"x": p["a"]}),
        "zero everywhere": lambda p, b, k: (jax.lax.stop_gradient(p["a"]).sum(), {}),
        "gradient is not finite": lambda p, b, k: (jnp.sqrt(p["a"] - 1.0).sum(), {}),
    }
    for message, loss in cases.items():
        with pytest.raises((AssertionError, TypeError), match=f"{message}|scalar-output"):
            check_loss(loss, params, None, key)
