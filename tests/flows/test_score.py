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


SMALL = flows.SplineFlowConfig(n_blocks=2, n_circular_blocks=2, hidden=(6,), n_bins=3)
GENERATORS = {
    "affine": Generator(
        base=flows.normal(4),
        bijector=flows.chain(
            flows.realnvp(4, n_blocks=2, hidden=(6,)), flows.permute(np.array([2, 0, 3, 1])), CUBIC
        ),
    ),
    "angles and numbers": Generator(
        base=flows.product(flows.von_mises(3, concentration=1.0), flows.normal(4)),
        bijector=flows.spline_flow(3, 4, SMALL),
    ),
}


@pytest.mark.parametrize("tau", [1.0, 0.5])
@pytest.mark.parametrize("name", GENERATORS)
def test_score_is_the_gradient_of_the_log_density(name, tau, key, x64):
    generator = GENERATORS[name]
    params = jax.tree.map(lambda p: p + 0.3 * jax.random.normal(key, p.shape), generator.init(key))
    z = generator.base.sample(key, 20, tau)

    @jax.jit
    def pushed(params, z):
        score = flows.base_score(generator.base, z, tau)
        return flows.push_score(generator.bijector, params, z, score)

    x, log_det, score = pushed(params, z)
    for found, expected in zip((x, log_det), generator.bijector.forward(params, z), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    expected = jax.jit(jax.grad(lambda x: generator.log_prob(params, x, tau).sum()))(x)
    assert np.abs(expected).mean() > 0.1
    np.testing.assert_allclose(score, expected, rtol=1e-7, atol=1e-7)
    one = pushed(params, z[:, 0])[2]
    np.testing.assert_allclose(one, score[:, 0], rtol=1e-9, atol=1e-9)
    through = jax.jit(jax.grad(lambda p: pushed(p, z)[2].sum()))(params)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(through))
