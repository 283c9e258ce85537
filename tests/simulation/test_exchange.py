"""Swaps on a ladder: what is tried, what moves, and the sign of the ratio."""

import jax.numpy as jnp
import numpy as np
import pytest

from jbg.interfaces import ConfigError
from jbg.simulation.exchange import check_ladder, swap_neighbours, tempering_ratio


@pytest.mark.parametrize(("parity", "order"), [(0, [1, 0, 3, 2, 4]), (1, [0, 2, 1, 4, 3])])
def test_certain_swaps_take_every_second_pair(key, parity, order):
    x = jnp.arange(30.0).reshape(2, 3, 5)  # two coordinates, three ladders, five rungs
    found, swapped = swap_neighbours(key, x, jnp.full((3, 4), 50.0), axis=1, parity=parity)
    np.testing.assert_array_equal(found, np.asarray(x)[:, :, order])
    np.testing.assert_array_equal(swapped[0], np.arange(4) % 2 == parity)


def test_hopeless_and_undefined_swaps_leave_all_in_place(key):
    x = jnp.arange(8.0).reshape(1, 4, 2)
    for ratio in (-1e4, jnp.nan):
        found, swapped = swap_neighbours(key, x, jnp.full((3, 2), ratio), axis=0, parity=0)
        np.testing.assert_array_equal(found, x)
        assert not np.any(swapped)


def test_swaps_are_accepted_by_the_ratio(key):
    n = 100_000
    ratio = jnp.full((1, n), jnp.log(0.3))
    swapped = swap_neighbours(key, jnp.zeros((1, 2, n)), ratio, axis=0, parity=0)[1]
    assert abs(np.mean(swapped) - 0.3) < 4 * np.sqrt(0.3 * 0.7 / n)


def test_tempering_ratio_is_that_of_the_joint_densities():
    taus, energy = jnp.array([0.5, 1.0, 3.0]), jnp.array([[1.0, 4.0], [2.5, 0.0], [7.0, -1.0]])
    joint = lambda e: -np.sum(np.asarray(e) / np.asarray(taus)[:, None], axis=0)
    for i, order in enumerate([[1, 0, 2], [0, 2, 1]]):
        exact = joint(energy[jnp.array(order)]) - joint(energy)
        np.testing.assert_allclose(tempering_ratio(energy, taus)[i], exact, rtol=1e-5)


@pytest.mark.parametrize(
    ("taus", "what"),
    [
        ((1.0, 0.5), "must rise without repeats"),
        ((1.0, 1.0), "must rise without repeats"),
        ((0.0, 1.0), "must be numbers > 0"),
        ((-1.0,), "must be numbers > 0"),
        ((1.0, float("nan")), "must be numbers > 0"),
        ((), "must be numbers > 0"),
    ],
)
def test_bad_ladders_are_named(taus, what):
    with pytest.raises(ConfigError, match=what):
        check_ladder("here", taus)
