"""One compiled chunk of steps: averages, skipped steps, devices, bit-identical repetition."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jbg.training import begin_stage, make_chunk
from jbg.training.mesh import replicate, spread_generator
from tests.losses.affine import generator
from tests.training.toy import (
    DATA,
    ONE,
    START,
    TWO,
    TWO_STAGES,
    assert_identical,
    leaves,
    make_loss,
)


def state_and_chunk(loss, optimiser, *, mesh=ONE, n_steps=1, ema=0.9, params=START, batch=8):
    state = replicate(begin_stage(params, optimiser, jax.random.key(3)), mesh)
    chunk = make_chunk(loss, optimiser, mesh=mesh, data_batch=batch, n_steps=n_steps, ema=ema)
    return state, chunk


def test_the_average_is_exponential_with_a_ramp():
    loss = make_loss(TWO_STAGES[0])
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
    loss = make_loss(TWO_STAGES[1])
    state, chunk = state_and_chunk(loss, optax.adam(0.01), n_steps=6)
    at_once, logs = chunk(state, DATA)
    state, chunk = state_and_chunk(loss, optax.adam(0.01), n_steps=2)
    for _ in range(3):
        state, _ = chunk(state, DATA)
    for a, b in zip(leaves(at_once.params), leaves(state.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert {"loss", "nll", "kl", "outside", "grad_norm", "skipped"} == set(logs)


def test_the_same_state_gives_the_same_step_bit_for_bit():
    loss, mesh = make_loss(TWO_STAGES[1], TWO), TWO
    state, chunk = state_and_chunk(loss, optax.adam(0.01), mesh=mesh, n_steps=3)
    first, _ = chunk(state, DATA)
    state, chunk = state_and_chunk(loss, optax.adam(0.01), mesh=mesh, n_steps=3)
    second, _ = chunk(state, DATA)
    assert_identical(first.params, second.params)
    assert_identical(first.opt_state, second.opt_state)


@pytest.mark.parametrize("batch", [8, 7])
def test_two_devices_take_the_steps_of_one(batch):
    """The same rows and the same own samples, whether the devices can share them equally or not."""
    stage = dataclasses.replace(TWO_STAGES[1], batch_size=batch)
    found = []
    for mesh in (ONE, TWO):
        loss = make_loss(stage, mesh)
        state, chunk = state_and_chunk(loss, optax.sgd(0.1), mesh=mesh, n_steps=4, batch=batch)
        state, logs = chunk(state, DATA)
        found.append((state.params, logs))
    for one, two in zip(*map(leaves, found), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-7)
    assert min(np.abs(leaf).max() for leaf in leaves(found[0][0])) > 0.01


def test_devices_share_the_rows_and_the_own_samples():
    shares = {}

    def noted(name, x):
        keep = lambda found: shares.update({name: (x.shape, found.shard_shape(x.shape))})
        jax.debug.inspect_array_sharding(x, callback=keep)
        return x

    def loss(params, batch, key):
        sample = spread_generator(generator(), TWO).base.sample
        value = jnp.sum((noted("rows", batch).mean(1) - params["b"]) ** 2)
        value += jnp.mean(noted("own", sample(key, 20) * params["b"][:, None]))
        return value, {"loss": value}

    state, chunk = state_and_chunk(loss, optax.sgd(0.1), mesh=TWO, batch=64)
    jax.block_until_ready(chunk(state, DATA))
    assert shares == {"rows": ((2, 64), (2, 32)), "own": ((2, 20), (2, 10))}


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
