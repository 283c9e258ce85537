"""Flows whose blocks are computed again for the gradient: the same numbers in less memory."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg.flows import MLP, SplineFlowConfig, realnvp, spline_flow

CONFIG = SplineFlowConfig(
    n_blocks=6, n_circular_blocks=1, conditioner=MLP(hidden=(8,)), n_bins=4, rematerialise=True
)
FLOWS = {
    "spline": lambda again: spline_flow(1, 3, dataclasses.replace(CONFIG, rematerialise=again)),
    "realnvp": lambda again: realnvp(4, n_blocks=6, hidden=(16,), rematerialise=again),
}


def gradient(flow, direction):
    def loss(params, z):
        x, log_det = getattr(flow, direction)(params, z)
        return jnp.mean(jnp.sum(x**2, 0) - log_det)

    return jax.jit(jax.value_and_grad(loss))


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("name", FLOWS)
def test_the_same_gradient_in_less_memory(name, direction, key):
    kept, again = (gradient(FLOWS[name](again), direction) for again in (False, True))
    params = FLOWS[name](False).init(key)
    params = jax.tree.map(lambda p: p + 0.1 * jax.random.normal(key, p.shape), params)
    z = jax.random.normal(key, (4, 512))
    for a, b in zip(*(jax.tree.leaves(of(params, z)) for of in (again, kept)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    sizes = [of.lower(params, z).compile().memory_analysis() for of in (again, kept)]
    assert sizes[0].temp_size_in_bytes < 0.7 * sizes[1].temp_size_in_bytes
