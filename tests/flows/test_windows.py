"""Angles on the line: what lies beyond a turn has no density, the rest that of the line."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jbg import flows
from jbg.generator import Generator

SCALE = np.array([1.3, 0.4])


def test_what_lies_beyond_a_turn_is_no_configuration():
    window = flows.windows(SCALE, 1)
    v, log_det = window.forward((), jnp.array([[1.0, 2.5, 0.0], [0.0, 0.0, -8.0], [9.0, 9.0, 9.0]]))
    np.testing.assert_allclose(v[:, 0], [1.3, 0.0, 9.0], rtol=1e-6)
    np.testing.assert_allclose(log_det, [np.log(SCALE).sum(), -np.inf, -np.inf], rtol=1e-6)
    y, back = window.inverse((), v)
    np.testing.assert_allclose(y[:, 0], [1.0, 0.0, 9.0], rtol=1e-6)
    np.testing.assert_allclose(back, [-np.log(SCALE).sum(), -np.inf, -np.inf], rtol=1e-6)


def test_the_density_sums_to_the_share_inside():
    """By quadrature over a turn, against the normal distribution's share."""
    generator = Generator(base=flows.normal(1), bijector=flows.windows([2.0], 0))
    grid = np.linspace(-np.pi, np.pi, 20_001)[:-1]
    density = np.exp(np.asarray(generator.log_prob((), jnp.asarray(grid[None]))))
    share = 1 - 2 * stats.norm.sf(np.pi / 2)
    assert density.sum() * (grid[1] - grid[0]) == pytest.approx(share, abs=1e-4)


@pytest.mark.parametrize("scale", [[0.0], [np.nan], [-1.0]])
def test_scales_that_are_none_are_refused(scale):
    with pytest.raises(ValueError, match="positive scales"):
        flows.windows(scale, 1)
