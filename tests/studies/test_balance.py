"""Balanced training data: copies of rare states, energies to match, and weights that stay exact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jbg import flows
from jbg.interfaces import State
from jbg.studies.balance import MOST, copies_for
from jbg.studies.problem import Examples, Problem
from jbg.systems import double_well
from jbg.targets import make_target
from tests.losses.affine import affine_flow, generator

LEFT = State(name="left", contains=lambda x: x[0] < 0, definition="x0 < 0")
RIGHT = State(name="right", contains=lambda x: x[0] >= 0, definition="x0 >= 0")
FAR = State(name="far", contains=lambda x: x[0] >= 1, definition="x0 >= 1")


def frames(share: float, n: int = 10_000) -> np.ndarray:
    x = np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32)
    x[:, 0] = np.where(np.arange(n) < share * n, 0.5, -0.5)
    return x


def test_rare_states_get_the_copies_that_bring_them_to_the_share():
    x = frames(0.02)
    copies = copies_for((LEFT, RIGHT), x, 0.1)
    np.testing.assert_array_equal(copies(x), np.where(x[:, 0] < 0, 1, 5))
    assert set(copies_for((LEFT, RIGHT), frames(0.2), 0.1)(x)) == {1}
    assert copies_for((LEFT, RIGHT), frames(0.001), 0.1)(x).max() == MOST
    assert set(copies_for((LEFT, RIGHT, FAR), x, 0.0)(x)) == {1}


def test_the_rarest_of_several_states_decides_and_one_never_seen_counts_for_nothing():
    x = frames(0.05)
    x[:50, 0] = 1.5
    copies = copies_for((LEFT, RIGHT, FAR), x, 0.1)
    assert copies(x)[:50].tolist() == [MOST] * 50
    assert set(copies(x)[50:500]) == {2}
    never = State(name="never", contains=lambda x: x[0] > 9, definition="x0 > 9")
    assert set(copies_for((never,), x, 0.1)(x)) == {1}


def test_rows_repeat_and_lower_the_energy():
    train = np.arange(6, dtype=np.float32).reshape(3, 2)
    examples = Examples(train, train[:0], u=np.ones(3, np.float32), copies=np.array([1, 3, 2]))
    rows = examples.rows
    np.testing.assert_array_equal(rows[:, :2], train[[0, 1, 1, 1, 2, 2]])
    np.testing.assert_allclose(rows[:, 2], 1 - np.log([1, 3, 3, 3, 2, 2]), rtol=1e-6)
    assert examples._replace(copies=None).rows.shape == (3, 3)


def test_likelihood_and_dispersion_agree_on_one_density():
    """Rows are distributed as q ~ exp(-u) c, and the spread of ln q + u over them is zero."""
    rng, n = np.random.default_rng(1), 100_000
    x = rng.normal(size=(n, 2)).astype(np.float32)
    count = lambda x: np.where(x[:, 0] > 1.5, 4, 1)
    examples = Examples(x, x[:0], u=0.5 * (x**2).sum(1), copies=count(x))
    rows = examples.rows
    rare = 1 - stats.norm.cdf(1.5)
    log_z = np.log(1 + 3 * rare)
    log_q = stats.norm.logpdf(rows[:, :2]).sum(1) + np.log(count(rows)) - log_z
    assert np.std(log_q + rows[:, 2]) < 1e-5
    assert np.mean(rows[:, 0] > 1.5) == pytest.approx(4 * rare / (1 + 3 * rare), rel=0.03)


def test_held_out_frames_count_as_often_as_training_would_take_them(key):
    problem = double_well_problem(key)
    nll, each = problem.heldout_nll(), -problem.flow.log_prob(PARAMS, problem.examples.heldout.T)
    copies = problem.examples.heldout_copies
    assert float(nll(PARAMS)) == pytest.approx(
        np.average(np.asarray(each), weights=copies), rel=1e-5
    )


PARAMS = {"a": jnp.array([0.2, -0.1]), "b": jnp.array([0.5, 0.0])}


def double_well_problem(key) -> Problem:
    system = double_well()
    held = np.asarray(jax.random.normal(key, (50, 2)))
    copies = np.where(held[:, 0] > 1, 3, 1)
    return Problem(
        system=system,
        target=make_target(system),
        flow=generator(flows.normal(2)),
        coords=flows.chain(affine_flow()),
        examples=Examples(train=held, heldout=held, heldout_copies=copies),
        u_reference=0.0,
        batch=10,
    )
