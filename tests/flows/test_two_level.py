"""Two levels: the kept by themselves are a marginal, the rest follow them, and factors with the kept first."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from jbg import flows
from jbg.coords.whitening import Whitening, whitening
from jbg.flows.score import base_score
from jbg.flows.two_level import TwoLevelConfig, kept_first, two_level_flow
from jbg.generator import Generator
from jbg.interfaces import ConfigError

SIZES = flows.SplineFlowConfig(
    n_blocks=1, n_circular_blocks=1, n_bins=3, conditioner=flows.MLP(hidden=(6,))
)
CONFIG = TwoLevelConfig(kept=SIZES, rest=SIZES)


def random_params(flow, dtype=jnp.float64, scale=0.4):
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(flow.bijector.init, jax.random.key(0))
    return jax.tree.map(lambda a: jnp.asarray(scale * rng.normal(size=a.shape), dtype), shapes)


def latent(n_circular, n_linear, n):
    rng = np.random.default_rng(1)
    angles = rng.uniform(-np.pi, np.pi, (n_circular, n))
    return jnp.asarray(np.concatenate([angles, rng.normal(size=(n_linear, n))]))


@pytest.mark.parametrize("sizes", [(2, 3, 4), (0, 2, 3), (3, 0, 1)])
def test_the_rest_follow_all_of_the_kept_and_the_kept_nothing_else(sizes, x64):
    flow, n_kept = two_level_flow(*sizes, CONFIG), sizes[0] + sizes[1]
    dim = sum(sizes)
    z = latent(sizes[0], dim - sizes[0], 1)
    moved = z + 1e-3 * jnp.eye(dim)
    forward = jax.jit(flow.bijector.forward)
    params = random_params(flow)
    x, at = forward(params, moved)[0], forward(params, jnp.tile(z, dim))[0]
    changed = np.asarray(x - at)  # of each output, by each latent variable
    np.testing.assert_array_equal(changed[:n_kept, n_kept:], 0.0)
    assert np.all(changed[n_kept:, :n_kept] != 0)
    assert np.all(np.diag(changed) != 0)
    start = flow.bijector.init(jax.random.key(0))
    np.testing.assert_allclose(forward(start, moved)[0], moved, atol=1e-6)


def test_the_density_of_the_first_level_is_the_marginal_by_quadrature(x64):
    """And each level has parameters that the other does not depend on."""
    flow = two_level_flow(1, 1, 1, CONFIG)
    params, others = random_params(flow, scale=0.15), random_params(flow, scale=0.1)
    kept, _ = flow.kept.forward(flow.kept_params(params), latent(1, 1, 5))
    grid = np.linspace(-14, 14, 6001)
    v = jnp.concatenate(
        [jnp.repeat(kept[:, :, None], len(grid), 2), jnp.broadcast_to(grid, (1, 5, len(grid)))]
    )
    by_level = jax.jit(flow.log_prob_by_level)
    of_kept, of_rest = by_level(params, v)
    generator = Generator(base=flow.base, bijector=flow.bijector)
    log_q = generator.log_prob(params, v)
    np.testing.assert_allclose(of_kept + of_rest, log_q, atol=1e-10)
    step = grid[1] - grid[0]
    np.testing.assert_allclose(logsumexp(log_q, axis=1) + np.log(step), of_kept[:, 0], atol=1e-5)
    np.testing.assert_allclose(logsumexp(of_rest, axis=1) + np.log(step), 0.0, atol=1e-5)
    kept_alone, rest_moved = by_level((*params[:-1], others[-1]), v)
    np.testing.assert_array_equal(kept_alone, of_kept)
    assert np.abs(rest_moved - of_rest).max() > 0.01
    kept_moved, rest_alone = by_level((*others[:-1], params[-1]), v)
    np.testing.assert_allclose(rest_alone, of_rest, atol=1e-10)
    assert np.abs(kept_moved - of_kept).max() > 0.01


@pytest.mark.slow
def test_the_score_is_carried_through_both_levels(x64):
    flow = two_level_flow(1, 1, 2, CONFIG)
    params = random_params(flow)
    z = latent(1, 3, 4)
    generator = Generator(base=flow.base, bijector=flow.bijector)
    x, _, score = jax.jit(flow.bijector.forward_score)(params, z, base_score(flow.base, z))
    expected = jax.jit(jax.grad(lambda x: generator.log_prob(params, x).sum()))(x)
    np.testing.assert_allclose(score, expected, atol=1e-8)


def made_up_whitening():
    """7 variables in no order, the soft ones at places 3 and 5."""
    rng = np.random.default_rng(3)
    factor = np.tril(rng.normal(size=(5, 5))) * np.geomspace(0.01, 2, 5)[:, None]
    np.fill_diagonal(factor, np.abs(np.diag(factor)) + 1e-3)
    soft, stiff = np.array([3, 5]), np.array([0, 1, 2, 4, 6])
    return Whitening(soft, stiff, np.array(1), rng.normal(size=5), rng.normal(size=(5, 4)), factor)


def test_kept_first_has_the_same_density_and_its_first_variables_see_the_kept_alone(x64):
    fit, kept = made_up_whitening(), np.array([6, 3, 5, 1])
    turned = kept_first(fit, kept)
    np.testing.assert_array_equal(turned.stiff, [1, 6, 0, 2, 4])
    assert np.all(np.diag(turned.factor) > 0)
    np.testing.assert_array_equal(turned.factor, np.tril(turned.factor))
    y = jnp.asarray(np.random.default_rng(5).normal(size=(7, 20)))
    (before, log_before), (after, log_after) = (whitening(f).inverse((), y) for f in (fit, turned))
    np.testing.assert_allclose(log_after, log_before, atol=1e-10)
    np.testing.assert_allclose(after[:2], before[:2])
    np.testing.assert_allclose((after[2:] ** 2).sum(0), (before[2:] ** 2).sum(0), rtol=1e-9)
    jacobian = jax.jacfwd(lambda y: whitening(turned).inverse((), y)[0])(y[:, 0])
    np.testing.assert_allclose(jacobian[:4, [0, 2, 4]], 0.0, atol=1e-12)
    assert np.abs(jacobian[4:, [1, 6]]).min() > 1e-6  # the rest are given the kept


def test_what_cannot_be_two_levels_is_refused():
    with pytest.raises(ConfigError, match="got 0 and 3: use spline_flow"):
        two_level_flow(0, 0, 3)
    with pytest.raises(ConfigError, match="got 3 and 0: use spline_flow"):
        two_level_flow(1, 2, 0)
    with pytest.raises(ConfigError, match=r"among the kept ones, got none of \[5\]: keep them too"):
        kept_first(made_up_whitening(), np.array([3, 0]))
    with pytest.raises(ConfigError, match=r"expected places in 0..6, got 3..7"):
        kept_first(made_up_whitening(), np.array([3, 5, 7]))
