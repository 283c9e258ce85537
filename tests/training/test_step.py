"""One compiled chunk of steps: averages, skipped steps, devices, bit-identical repetition."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jbg.losses import ReverseKL
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


@pytest.mark.parametrize("mesh", [ONE, TWO], ids=["one device", "two"])
def test_accumulated_pieces_of_data_make_the_step_of_the_whole_batch(mesh):
    optimiser, found = optax.sgd(0.1), []
    for accumulate in (1, 4):
        state = replicate(begin_stage(START, optimiser, jax.random.key(3)), mesh)
        chunk = make_chunk(
            make_loss(TWO_STAGES[0], mesh),
            optimiser,
            mesh=mesh,
            data_batch=24,
            n_steps=3,
            ema=0.9,
            accumulate=accumulate,
        )
        found.append(chunk(state, DATA))
    (whole, logs), (pieces, same) = found
    for a, b in zip(leaves(pieces.params), leaves(whole.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
        assert not np.allclose(a, 0)
    assert logs.keys() == same.keys()
    for name, value in logs.items():
        np.testing.assert_allclose(same[name], value, rtol=1e-5)


def test_accumulated_own_samples_are_the_mean_over_pieces():
    stage = dataclasses.replace(TWO_STAGES[1], losses=(ReverseKL(),), batch_size=32, accumulate=4)
    loss, sizes = make_loss(stage), []

    def watched(params, batch, key):
        sizes.append(batch.shape)
        return loss(params, batch, key)

    optimiser = optax.sgd(1.0)
    state = begin_stage(START, optimiser, jax.random.key(3))
    chunk = make_chunk(
        watched, optimiser, mesh=ONE, data_batch=32, n_steps=1, ema=0.9, accumulate=4
    )
    after, logs = chunk(state, DATA)
    assert set(sizes) == {(2, 8)}
    _, key = jax.random.split(jax.random.fold_in(jax.random.fold_in(jax.random.key(3), 0), 0))
    of = jax.value_and_grad(lambda params, key: loss(params, DATA[:8].T, key)[0])
    values, grads = zip(*(of(START, k) for k in jax.random.split(key, 4)), strict=True)
    assert float(logs["loss"]) == pytest.approx(np.mean(values), rel=1e-5)
    for name in START:
        expected = START[name] - np.mean([grad[name] for grad in grads], axis=0)
        np.testing.assert_allclose(after.params[name], expected, rtol=1e-5)


def test_a_piece_without_a_finite_gradient_skips_the_step():
    def loss(params, batch, key):
        value = jnp.sum(params["a"]) + jnp.where(batch[0, 0] > 0, 0.0, jnp.nan)
        return value, {"loss": value}

    optimiser = optax.sgd(1.0)
    state = begin_stage(START, optimiser, jax.random.key(3))
    data = jnp.concatenate([jnp.full((1, 2), -1.0), jnp.ones((1, 2))])
    chunk = make_chunk(loss, optimiser, mesh=ONE, data_batch=64, n_steps=1, ema=0.9, accumulate=8)
    after, logs = chunk(state, data)
    assert float(logs["skipped"]) == 1
    assert_identical(after.params, START)
