"""Stages refuse what makes no sense, and count their energies."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jbg.interfaces import ConfigError
from jbg.training import Stage, evaluations


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be a positive multiple of log_every = 10, got 0"),
        ({"steps": -10}, "steps must be a positive multiple"),
        ({"steps": 15}, "steps must be a positive multiple of log_every = 10, got 15"),
        ({"batch_size": 0}, "batch_size must be 1 or more, got 0"),
        ({"data_batch": -5}, "data_batch must be 1 or more, got -5"),
        ({"log_every": 0}, "log_every must be 1 or more, got 0"),
        ({"eval_every": -10}, "eval_every must be 0 or more, got -10"),
        ({"w_rc": -1.0}, "w_rc must be 0 or more, got -1.0"),
        ({"w_log_dispersion": -1.0}, "w_log_dispersion must be 0 or more, got -1.0"),
        ({"w_kl": float("nan")}, "w_kl must be 0 or more, got nan"),
        ({"w_nll": float("inf")}, "w_nll must be 0 or more, got inf"),
        ({"learning_rate": 0.0}, "learning_rate must be > 0, got 0.0"),
        ({"clip_norm": float("nan")}, "clip_norm must be > 0, got nan"),
        ({"weight_decay": -0.1}, "weight_decay must be 0 or more, got -0.1"),
        ({"ema": 1.0}, r"ema must lie in \[0, 1\), got 1.0"),
        ({"eval_every": 15}, "eval_every must be a multiple of 10"),
        ({"warmup": 100}, "warmup must be shorter than the 100 steps, got 100"),
        ({"flatten": 1.5}, "flatten must lie between 0 and 1, got 1.5"),
        ({"decay": "linear"}, "decay must be 'cosine' or 'none', got 'linear'"),
        ({"keep_best": True}, "keep_best needs eval_every and w_nll"),
        ({"keep_best": True, "eval_every": 10}, "keep_best needs eval_every and w_nll"),
    ],
)
def test_stages_that_make_no_sense(changes, message):
    with pytest.raises(ConfigError, match=rf"stage 'a': .*{message}"):
        Stage(**({"name": "a", "steps": 100} | changes))


def test_energies_are_counted_from_steps_and_batches():
    example = Stage(name="a", steps=100, batch_size=64, w_nll=1.0, w_log_dispersion=1.0)
    energy = Stage(name="b", steps=50, batch_size=64, w_kl=1.0, eval_every=20)
    own = Stage(name="c", steps=10, batch_size=32, w_forward_kl=1.0, w_log_variance=0.3)
    assert [s.energy_evaluations for s in (example, energy, own)] == [0, 3200, 320]
    both = Stage(name="d", steps=10, batch_size=32, w_jeffreys=1.0)
    assert both.energy_evaluations == 320
    # evaluations after steps 20, 40 and at the end, 50
    assert evaluations((example, energy, own), 1000) == 3520 + 1000 * (1 + 3 + 1)


def rates(stage, steps):
    """Learning rates, read off Adam's first-order updates for a constant gradient."""
    optimiser = stage.optimiser()
    params = jnp.zeros(())
    state, found = optimiser.init(params), []
    for _ in range(steps):
        update, state = optimiser.update(jnp.ones(()), state, params)
        found.append(-float(update))
    return np.array(found)


def test_the_rate_warms_up_then_falls_to_a_hundredth():
    found = rates(Stage(name="a", steps=100, learning_rate=0.1, warmup=20), 101)
    np.testing.assert_allclose(found[0], 0.01, rtol=1e-3)
    assert np.all(np.diff(found[:20]) > 0)
    np.testing.assert_allclose(found[20], 0.1, rtol=1e-3)
    assert np.all(np.diff(found[20:]) < 0)
    np.testing.assert_allclose(found[100], 0.001, rtol=1e-2)
    np.testing.assert_allclose(
        rates(Stage(name="a", steps=20, learning_rate=0.1, decay="none"), 20), 0.1, rtol=1e-3
    )


def test_weight_decay_is_that_of_adamw_in_the_state_of_adam():
    stage = Stage(name="a", steps=10, learning_rate=0.1, decay="none", weight_decay=0.3)
    ours, known = stage.optimiser(), optax.adamw(0.1, weight_decay=0.3)
    params = expected = {"a": jnp.array([1.0, -2.0]), "b": jnp.ones(3)}
    state, known_state = ours.init(params), known.init(params)
    plain = dataclasses.replace(stage, weight_decay=0.0).optimiser().init(params)
    assert jax.tree.structure(state) == jax.tree.structure(plain)
    for step in range(4):
        gradient = jax.tree.map(lambda p: jnp.cos(p + step), expected)  # noqa: B023
        update, state = ours.update(gradient, state, params)
        params = optax.apply_updates(params, update)
        update, known_state = known.update(gradient, known_state, expected)
        expected = optax.apply_updates(expected, update)
    jax.tree.map(np.testing.assert_allclose, params, expected)
