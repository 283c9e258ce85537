"""Checkpoints: bit for bit, two kept, damage answered in one line."""

import errno
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jbg.interfaces import ConfigError, RunError
from jbg.training import Checkpoints, begin_stage, from_named_arrays, named_arrays
from jbg.training import checkpoints as module
from tests.training.toy import START, assert_identical


@pytest.fixture
def state():
    return begin_stage(START, optax.adam(0.1), jax.random.key(7))._replace(
        best_nll=jnp.asarray(1.25), step=jnp.asarray(30, jnp.int32)
    )


@pytest.fixture
def checkpoints(tmp_path):
    made = Checkpoints(tmp_path / "checkpoints")
    yield made
    made.close()


def refused(what, match, kind=ConfigError):
    """In one line; only what is damaged may be deleted."""
    with pytest.raises(kind, match=match) as caught:
        what()
    assert "\n" not in str(caught.value)
    assert "damaged" in match or "delete that folder" not in str(caught.value)


def test_states_come_back_bit_for_bit(state, checkpoints):
    assert checkpoints.latest() is None
    odd = state._replace(params={"a": jnp.array([1 / 3, 1e-40]), "b": jnp.array([-0.0, jnp.pi])})
    checkpoints.save(30, odd)
    found = checkpoints.restore(state)
    assert jax.tree.structure(found) == jax.tree.structure(odd)
    plain = lambda s: s._replace(key=jax.random.key_data(s.key))
    assert_identical(plain(found), plain(odd))
    assert [x.dtype for x in jax.tree.leaves(found)] == [x.dtype for x in jax.tree.leaves(odd)]
    assert jax.random.normal(found.key) == jax.random.normal(odd.key)


def test_the_last_two_are_kept(state, checkpoints):
    for step in (10, 20, 30):
        checkpoints.save(step, state._replace(step=jnp.asarray(step, jnp.int32)))
    assert checkpoints.latest() == 30
    assert int(checkpoints.restore(state).step) == 30
    assert int(checkpoints.restore(state, 20).step) == 20
    assert sorted(int(p.name) for p in checkpoints.path.iterdir() if p.name.isdigit()) == [20, 30]


def test_another_network_is_refused_in_one_line(state, checkpoints):
    checkpoints.save(10, state)
    for params in ({"a": jnp.zeros(3), "b": jnp.zeros(2)}, {"c": jnp.zeros(2)}):
        other = begin_stage(params, optax.adam(0.1), jax.random.key(0))
        refused(
            lambda other=other: checkpoints.restore(other), r"checkpoints/10 .* of another network"
        )


def test_a_sound_checkpoint_under_other_settings_is_not_called_damaged(
    state, checkpoints, monkeypatch
):
    checkpoints.save(10, state)
    rbg = state._replace(key=jax.random.key(7, impl="rbg"))
    refused(
        lambda: checkpoints.restore(rbg),
        "sound, but of another kind of random numbers: unset JAX_DEF",
    )
    with jax.default_prng_impl("rbg"):
        assert_identical(checkpoints.restore(state).params, state.params)
    wide = state._replace(best_nll=np.float64(1.25))
    refused(
        lambda: checkpoints.restore(wide),
        "sound, but of numbers of another width: unset JAX_ENABLE_X64",
    )

    def denied(*_, **__):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(checkpoints._manager, "restore", denied)
    refused(lambda: checkpoints.restore(state), "cannot be read: Too many open files")


def test_a_step_that_is_not_there_or_renamed_is_said(state, checkpoints):
    checkpoints.save(10, state)
    refused(
        lambda: checkpoints.restore(state, 20),
        r"has no checkpoint of step 20 \(there: 10\): run `jbg train ",
    )
    (checkpoints.path / "10").rename(checkpoints.path / "20")
    again = Checkpoints(checkpoints.path)
    refused(lambda: again.restore(state), "20 is that of step 10: rename it")
    again.close()


def test_what_a_checkpoint_is_of_is_compared(state, checkpoints):
    checkpoints.save(10, state, about={"other data": "a"})
    assert_identical(checkpoints.restore(state, about={"other data": "a"}).params, state.params)
    for about in ({"other data": "b"}, {"other data": "a", "other stages": "c"}):
        refused(
            lambda about=about: checkpoints.restore(state, about=about),
            "is of a training with other",
        )


def test_changed_numbers_in_a_readable_checkpoint_are_damage(state, checkpoints, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(module, "_digest", lambda leaves: "0" * 64)
        checkpoints.save(10, state)
    refused(lambda: checkpoints.restore(state), r"10 is damaged \(checksum\): delete that folder")


@pytest.mark.parametrize(
    ("error", "match"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "disk full: free space"),
        (
            ValueError("RESOURCE_EXHAUSTED: Error writing:\nNo space left on device"),
            "disk full: free space",
        ),
        (ValueError("something\nelse"), "cannot be written .ValueError: something else"),
    ],
)
def test_a_checkpoint_that_cannot_be_written_is_one_line(
    error, match, state, checkpoints, monkeypatch
):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(checkpoints._manager, "save", fails)
    refused(lambda: checkpoints.save(10, state), match, RunError)


@pytest.mark.parametrize("how", ["truncate", "empty", "flip", "delete"])
def test_damage_of_any_file_is_one_line_or_harmless(how, state, checkpoints):
    checkpoints.save(10, state)
    files = [p for p in (checkpoints.path / "10").rglob("*") if p.is_file()]
    assert files
    messages = []
    for file in files:
        whole = file.read_bytes()
        if how == "truncate":
            file.write_bytes(whole[: len(whole) // 2])
        elif how == "empty":
            file.write_bytes(b"")
        elif how == "flip":
            file.write_bytes(bytes(255 - b for b in whole))
        else:
            file.unlink()
        fresh = Checkpoints(checkpoints.path)
        try:
            assert_identical(fresh.restore(state).params, state.params)
        except ConfigError as error:
            messages.append(str(error))
        finally:
            fresh.close()
            file.write_bytes(whole)
    assert messages
    assert all("\n" not in text for text in messages)
    assert all("delete that folder" in text or "no checkpoint of step" in text for text in messages)


def test_parameters_alone_come_back_from_a_file(tmp_path):
    params = {"a": jnp.array([1 / 3, 1e-40]), "b": [jnp.array(-0.0), jnp.ones((2, 3))]}
    np.savez(tmp_path / "a.npz", **named_arrays(params))
    with np.load(tmp_path / "a.npz") as file:
        found = from_named_arrays(jax.tree.map(jnp.zeros_like, params), dict(file))
    assert jax.tree.structure(found) == jax.tree.structure(params)
    assert_identical(found, params)
    for other in ({"a": params["a"]}, {"a": params["a"][:1], "b": params["b"]}):
        with pytest.raises(ConfigError, match="parameters are of another network"):
            from_named_arrays(other, named_arrays(params))
