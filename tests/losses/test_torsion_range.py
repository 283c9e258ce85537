"""The torsion-range loss: its value by hand, what it moves, and what it leaves alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg import flows
from jbg.generator import Generator
from jbg.interfaces import Bijector, ConfigError
from jbg.losses import LossContext, TorsionRange
from jbg.losses.torsion_range import beyond


def shifted(n_circular: int | None) -> LossContext:
    """Two variables, one sample of the base plus the parameters."""
    bijector = Bijector(
        dim_in=2,
        dim_out=2,
        init=lambda key: jnp.zeros(2),
        forward=lambda p, z: (0 * z + p[:, None], jnp.zeros(z.shape[1])),
        inverse=lambda p, x: (x, jnp.zeros(x.shape[1])),
    )
    generator = Generator(base=flows.normal(2), bijector=bijector)
    return LossContext(generator=generator, n_samples=8, n_circular=n_circular)


def test_squares_beyond_a_turn_are_summed():
    angles = jnp.array([[np.pi + 0.5, 0.3, -np.pi - 0.1], [-np.pi - 1.0, np.pi, 0.0]])
    np.testing.assert_allclose(beyond(angles), [1.25, 0.0, 0.01], atol=1e-5)


def test_only_angles_beyond_a_turn_are_pulled_back():
    loss = TorsionRange(1.0).build(shifted(1))
    key = jax.random.key(0)
    of = lambda p: loss(jnp.asarray(p, float), None, key)[0]
    np.testing.assert_allclose(jax.grad(of)(np.array([4.0, 9.0])), [2 * (4 - np.pi), 0], rtol=1e-5)
    np.testing.assert_allclose(jax.grad(of)(np.array([3.0, 9.0])), [0, 0])
    value, aux = loss(jnp.array([-4.0, 0.0]), None, key)
    np.testing.assert_allclose([value, aux["torsions_outside"]], [(4 - np.pi) ** 2, 1], rtol=1e-5)


def test_without_angles_it_is_nothing_and_without_their_number_refused():
    value, aux = TorsionRange(1.0).build(shifted(0))(jnp.array([9.0, 9.0]), None, jax.random.key(0))
    assert value == aux["torsions_outside"] == 0
    with pytest.raises(ConfigError, match="expected n_circular"):
        TorsionRange(1.0).build(shifted(None))
