"""One compiled chunk of steps: averages, skipped steps, devices, bit-identical repetition."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jbg.training import begin_stage, device_mesh, make_chunk
from jbg.training.step import replicate
from tests.training.toy import DATA, START, TWO_STAGES, assert_identical, leaves, make_loss

ONE = device_mesh(jax.devices()[:1])


def state_and_chunk(loss, optimiser, *, mesh=ONE, n_steps=1, ema=0.9, params=START, batch=8):
    state = replicate(begin_stage(params, optimiser, jax.random.key(3)), mesh)
    chunk = make_chunk(loss, optimiser, mesh=mesh, data_batch=batch, n_steps=n_steps, ema=ema)
    return state, chunk


def test_the_average_is_exponential_with_a_ramp():
    loss = make_loss(TWO_STAGES[0], 1)
    state, chunk = state_and_chunk(loss, optax.sgd(0.1), ema=0.3)
    average = leaves(START)
    for step in range(12):
        state, _ = chunk(state, DATA)
        decay = min(0.3, (1 + step) / (10 + step))
        average = [
            decay * a + (1 - decay) * p for a, p in zip(average, leaves(state.params), strict=True)
        ]
        for found, expected in zip(leaves(state.average), average, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert int(state.step) == 12


def test_chunks_of_any_length_take_the_same_steps():
    loss = make_loss(TWO_STAGES[1], 1)
    state, chunk = state_and_chunk(loss, optax.adam(0.01), n_steps=6)
    at_once, logs = chunk(state, DATA)
    state, chunk = state_and_chunk(loss, optax.adam(0.01), n_steps=2)
    for _ in range(3):
        state, _ = chunk(state, DATA)
    for a, b in zip(leaves(at_once.params), leaves(state.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert {"loss", "nll", "kl", "outside", "grad_norm", "skipped"} == set(logs)


def test_the_same_state_gives_the_same_step_bit_for_bit():
    loss = make_loss(TWO_STAGES[1], 2)
    mesh = device_mesh()
    state, chunk = state_and_chunk(loss, optax.adam(0.01), mesh=mesh, n_steps=3)
    first, _ = chunk(state, DATA)
    state, chunk = state_and_chunk(loss, optax.adam(0.01), mesh=mesh, n_steps=3)
    second, _ = chunk(state, DATA)
    assert_identical(first.params, second.params)
    assert_identical(first.opt_state, second.opt_state)


def test_two_devices_take_the_step_of_one():
    """Data all alike: the gradient does not depend on which rows a device draws."""
    loss, data = make_loss(TWO_STAGES[0], 1), jnp.tile(DATA[:1], (20, 1))
    found = []
    for mesh in (ONE, device_mesh()):
        state, chunk = state_and_chunk(loss, optax.sgd(0.1), mesh=mesh, n_steps=4)
        found.append(leaves(chunk(state, data)[0].params))
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6)
        assert np.abs(one).max() > 0.01


def test_devices_draw_different_rows():
    seen = []

    def loss(params, batch, key):
        jax.debug.callback(lambda x: seen.append(np.asarray(x)), batch)
        value = jnp.sum(params["b"] ** 2)
        return value, {"loss": value}

    state, chunk = state_and_chunk(loss, optax.sgd(0.1), mesh=device_mesh(), batch=64)
    jax.block_until_ready(chunk(state, DATA))
    jax.effects_barrier()
    assert [x.shape for x in seen] == [(2, 32)] * 2
    assert np.any(seen[0] != seen[1])


def test_steps_without_a_finite_gradient_are_skipped_and_counted():
    def loss(params, batch, key):
        value = jnp.sum((params["b"] - batch.mean(1)) ** 2)
        return value, {"loss": value}

    data = DATA.at[::10].set(jnp.nan)
    state, chunk = state_and_chunk(loss, optax.adam(0.05), n_steps=50, batch=2)
    state, logs = chunk(state, data)
    assert 2 < float(logs["skipped"]) < 40
    assert all(np.all(np.isfinite(leaf)) for leaf in leaves((state.params, state.opt_state)))
    assert np.isfinite(logs["loss"])
    np.testing.assert_allclose(state.params["b"], np.nanmean(data, 0), atol=0.5)

    before = leaves((state.params, state.opt_state))
    state, logs = chunk(state, jnp.full_like(DATA, jnp.nan))
    assert (float(logs["skipped"]), int(state.bad_steps)) == (50, 50 + 0)
    for a, b in zip(leaves((state.params, state.opt_state)), before, strict=True):
        np.testing.assert_array_equal(a, b)
