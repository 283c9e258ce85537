"""A spline flow with random parameters, and a target close to it."""

import jax
import jax.numpy as jnp

from jbg import flows
from jbg.generator import Generator
from jbg.interfaces import Target


def uneven(key, n_circular=1, n_linear=2):
    """A flow with random parameters: a bumpy density of the angles, and numbers that depend on them."""
    config = flows.SplineFlowConfig(n_blocks=1, n_circular_blocks=1, hidden=(8,), n_bins=3)
    flow = flows.spline_flow(n_circular, n_linear, config)
    leaves, tree = jax.tree.flatten(flow.init(key))
    keys = jax.random.split(jax.random.fold_in(key, 1), len(leaves))
    params = [p + 0.4 * jax.random.normal(k, p.shape) for p, k in zip(leaves, keys, strict=True)]
    base = flows.product(flows.uniform(n_circular), flows.normal(n_linear))
    return Generator(base=base, bijector=flow), jax.tree.unflatten(tree, params)


def near(g, params):
    """A target with a mean and a bend of its own, where importance weights stay small."""
    u = lambda x: jnp.cos(x[0] - 1) + 0.3 * jnp.tanh(x[1]) - g.log_prob(params, x)
    return Target(dim=3, reduced_energy=u)
