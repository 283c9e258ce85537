"""The score carried along with samples is the gradient of ln q by x."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg import flows
from jbg.generator import Generator
from jbg.interfaces import Bijector

# x = v + v^3 / 10 in each row: a map that has no way of its own to carry a score
CUBIC = Bijector(
    dim_in=4,
    dim_out=4,
    init=lambda key: (),
    forward=lambda params, v: (v + v**3 / 10, jnp.log1p(0.3 * v**2).sum(0)),
    inverse=lambda params, x: (_root(x), -jnp.log1p(0.3 * _root(x) ** 2).sum(0)),
)


def _root(x):
    """Of v + v^3/10 = x, by Cardano's formula."""
    half = 5 * x
    root = jnp.sqrt(half**2 + (10 / 3) ** 3)
    return jnp.cbrt(half + root) + jnp.cbrt(half - root)


SMALL = flows.SplineFlowConfig(
    n_blocks=1, n_circular_blocks=1, conditioner=flows.MLP(hidden=(6,)), n_bins=2
)
GENERATORS = {
    "affine": Generator(
        base=flows.normal(4),
        bijector=flows.chain(
            flows.realnvp(4, n_blocks=2, hidden=(6,)), flows.permute(np.array([2, 0, 3, 1])), CUBIC
        ),
    ),
    "angles and numbers": Generator(
        base=flows.product(flows.von_mises(2, concentration=1.0), flows.normal(1)),
        bijector=flows.spline_flow(2, 1, SMALL),
    ),
}


@pytest.mark.parametrize("name", GENERATORS)
def test_score_is_the_gradient_of_the_log_density(name, key, x64):
    generator, tau = GENERATORS[name], 0.5
    rough = lambda p: p + 0.3 * jnp.sin(jnp.arange(float(p.size))).reshape(p.shape)
    z = np.random.default_rng(0).normal(size=(generator.base.dim, 20))

    @jax.jit
    def pushed(params, z):
        score = flows.base_score(generator.base, z, tau)
        push = lambda params: flows.push_score(generator.bijector, params, z, score)
        (x, log_det, score), pull = jax.vjp(push, params)
        through = pull((jnp.zeros_like(x), jnp.zeros_like(log_det), jnp.ones_like(score)))
        return (x, log_det, score), through

    @jax.jit
    def by_autodiff(params, z):
        x, log_det = generator.bijector.forward(params, z)
        return x, log_det, jax.grad(lambda x: generator.log_prob(params, x, tau).sum())(x)

    params = jax.jit(lambda key: jax.tree.map(rough, generator.init(key)))(key)
    found, through = pushed(params, z)
    expected = by_autodiff(params, z)
    for f, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(f, e, rtol=1e-7, atol=1e-7)
    assert np.abs(expected[2]).mean() > 0.1
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(through))  # no gradient through a score
