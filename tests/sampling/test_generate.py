"""Streamed samples: the same however often interrupted or extended; damage and full disks in a line."""

import errno
import functools
import json
import os
import shutil
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg import flows, reweighting
from jbg.generator import Generator
from jbg.interfaces import ConfigError, RunError, Target
from jbg.sampling import generate as module
from jbg.sampling.generate import generate, load_samples, make_draw
from jbg.training import mesh
from tests.losses.affine import AWAY, OPTIMUM, gaussian, generator
from tests.training.toy import ONE

KEY, BATCH = jax.random.key(11), 50


@pytest.fixture(scope="module")
def draw():
    return make_draw(generator(), gaussian(), BATCH)


@pytest.fixture
def make(tmp_path, draw):
    def call(name, n, **options):
        options = {"draw": draw, "params": AWAY, "batch": BATCH} | options
        return generate(tmp_path / name, n=n, **({"dim": 2, "key": KEY} | options))

    return call


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_samples_have_their_density_and_energy(make):
    found = make("a", 230)
    assert found.positions.shape == (230, 2)
    assert found.log_q.shape == found.reduced_energy.shape == (230,)
    x = jnp.asarray(found.positions.T)
    np.testing.assert_allclose(found.log_q, generator().log_prob(AWAY, x), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.reduced_energy, gaussian().reduced_energy(x), rtol=1e-4)
    assert len(np.unique(found.positions[:, 0])) == 230
    assert isinstance(found.positions, np.memmap)


def test_asking_for_more_or_less_keeps_what_is_there(make, tmp_path):
    whole = make("whole", 1330)
    for n in (20, 330, 330, 100, 1000, 1330):
        grown = make("grown", n)
        assert len(grown.log_q) == n
        assert_same(grown, (part[:n] for part in whole))
    assert len(load_samples(tmp_path / "grown").log_q) == 1330
    make("grown", 10)
    assert len(load_samples(tmp_path / "grown").log_q) == 1330


@pytest.mark.parametrize("stop", [50, 800, 850, 1250])
def test_stopped_and_resumed_they_are_the_same(stop, make):
    class StopHere(Exception):
        pass

    def on_block(done):
        if done == stop:
            raise StopHere

    with pytest.raises(StopHere):
        make("a", 1300, on_block=on_block)
    done = []
    assert_same(make("a", 1300, on_block=done.append), make("b", 1300))
    flushed = BATCH * module.BLOCKS_PER_FLUSH
    assert done[0] == flushed * (stop // flushed) + BATCH


def test_stopped_while_the_files_grow(make, monkeypatch):
    """A kill between the growth of one file and the next leaves files of two lengths."""
    make("a", 120)
    reserve = module.storage.reserve
    calls = []

    def fail_second(path):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        reserve(path)

    monkeypatch.setattr(module.storage, "reserve", fail_second)
    with pytest.raises(KeyboardInterrupt):
        make("a", 400)
    monkeypatch.undo()
    assert_same(make("a", 400), make("b", 400))


def test_only_a_block_for_each_device_is_ever_in_memory(make, monkeypatch):
    begun, ahead = [], []
    fold_in = jax.random.fold_in
    monkeypatch.setattr(
        module.jax.random, "fold_in", lambda key, i: begun.append(i) or fold_in(key, i)
    )
    make("a", 11 * BATCH, on_block=lambda done: ahead.append(len(begun) - done // BATCH))
    assert begun == list(range(11))
    assert max(ahead) == jax.device_count() - 1


@pytest.mark.parametrize("n", [BATCH, 3 * BATCH + 1])
def test_several_devices_draw_the_samples_of_one(n, make, monkeypatch):
    """Bit for bit, with the checksums of their blocks, also where blocks are fewer than devices can share."""
    of_two = make("two", n)
    monkeypatch.setattr(module, "in_turn", functools.partial(mesh.in_turn, mesh=ONE))
    of_one = make("one", n)
    assert_same(of_two, of_one)
    progress = [
        json.loads((Path(of.log_q.filename).parent / module.PROGRESS).read_text())
        for of in (of_one, of_two)
    ]
    assert progress[0] == progress[1]


def test_work_in_turn_is_shared_and_compiled_once(caplog):
    """Seven items on two devices, three times: in order, and as many at once as there are devices."""
    consumed = []

    @jax.jit
    def of(shared, item):
        return shared * item, item.sum()

    def items():
        for i in range(7):
            consumed.append(i)
            yield np.full(3, i, np.float32)

    with jax.log_compiles(True):
        for _ in range(3):
            consumed.clear()
            for i, (product, total) in enumerate(mesh.in_turn(of, jnp.float32(2.0), items())):
                assert (product == 2 * i).all()
                assert total == 3 * i
                assert len(consumed) == min(2 * (i // 2) + 2, 7)
    compiled = [r for r in caplog.messages if "Finished XLA compilation of jit(of_mine)" in r]
    assert len(compiled) == 1


def test_weights_integrate_to_the_known_normaliser(tmp_path):
    target = gaussian()
    for params in (AWAY, OPTIMUM):
        draw = make_draw(generator(), target, 5000)
        name = str(float(params["a"][0]))
        found = generate(tmp_path / name, draw, params, n=40_000, dim=2, batch=5000, key=KEY)
        estimate = reweighting.log_z_estimate(
            reweighting.log_weights(found.reduced_energy, found.log_q)
        )
        assert estimate.stderr < 0.01
        assert abs(estimate.value - target.log_z(1.0)) < 4 * estimate.stderr + 1e-5


def test_weights_of_an_untrained_spline_flow_integrate_too(tmp_path):
    """On angles and numbers, against the normaliser of independent von Mises and normal parts."""
    flow = flows.spline_flow(
        1, 2, flows.SplineFlowConfig(n_blocks=2, conditioner=flows.MLP(hidden=(8,)))
    )
    full = Generator(base=flows.product(flows.uniform(1), flows.normal(2)), bijector=flow)
    params = jax.tree.map(lambda p: p + 0.1, flow.init(KEY))
    target = Target(dim=3, reduced_energy=lambda x: -jnp.cos(x[0]) + 0.5 * (x[1] ** 2 + x[2] ** 2))
    draw = make_draw(full, target, 10_000)
    found = generate(tmp_path / "a", draw, params, n=40_000, dim=3, batch=10_000, key=KEY)
    log_w = reweighting.log_weights(found.reduced_energy, found.log_q)
    estimate = reweighting.log_z_estimate(log_w)
    expected = np.log(2 * np.pi * np.i0(1.0)) + np.log(2 * np.pi)
    assert estimate.stderr < 0.05
    assert abs(estimate.value - expected) < 4 * estimate.stderr


def test_samples_that_are_not_finite_have_no_weight(tmp_path):
    def forward(params, z):
        x = jnp.where(z > 1.0, jnp.nan, z)
        return x, jnp.where(z[0] < -1.0, -jnp.inf, 0.0)

    broken = generator().bijector
    broken = Generator(
        base=flows.normal(2), bijector=type(broken)(**(vars(broken) | {"forward": forward}))
    )
    asked = []

    def reduced_energy(x):
        asked.append(x.shape)
        return gaussian().reduced_energy(x)

    draw = make_draw(broken, Target(dim=2, reduced_energy=reduced_energy), BATCH)
    found = generate(tmp_path / "a", draw, (), n=200, dim=2, batch=BATCH, key=KEY)
    bad = ~np.isfinite(found.positions).all(1) | ~np.isfinite(found.log_q)
    assert 0.2 < bad.mean() < 0.7
    np.testing.assert_array_equal(np.isposinf(found.reduced_energy), bad)
    assert asked == [(2, BATCH)]


def test_another_batch_size_is_refused(make):
    make("a", 100)
    with pytest.raises(ConfigError, match="drawn in blocks of 50, not 20: delete that folder"):
        make("a", 200, batch=20)


WHOLE = {"done": 100, "batch": 50, "origin": "x", "crc32": [1, 2]}
BAD = [{"done": -500}, {"done": 99.7}, {"done": True}, {"done": 150}, {"batch": 0}, {"batch": 30}]
BAD += [{"crc32": [1]}, {"crc32": None}, {"crc32": {}}, {"origin": 3}, {"more": 1}]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"done": "x"}', '{"done": 100}', "3", "[" * 100_000]
    + ['{"done": 100, "batch": 50}', *(json.dumps(WHOLE | bad) for bad in BAD)],
)
@pytest.mark.parametrize("n", [None, 200])
def test_damaged_progress_is_one_line(text, n, make, tmp_path):
    make("a", 100)
    (tmp_path / "a" / "progress.json").write_text(text)
    with pytest.raises(ConfigError, match="delete") as caught:
        load_samples(tmp_path / "a") if n is None else make("a", n)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", module.FILES)
@pytest.mark.parametrize("how", ["truncate", "empty", "other", "delete", "bit", "zeros", "type"])
@pytest.mark.parametrize("n", [None, 100, 200])
def test_damaged_arrays_are_one_line(name, how, n, make, tmp_path):
    make("a", 100)
    path = tmp_path / "a" / f"{name}.npy"
    if how == "delete":
        path.unlink()
    elif how == "other":
        np.save(path, np.zeros(7))
    elif how == "type":
        np.save(path, np.load(path).astype(float))
    elif how in ("bit", "zeros"):
        whole = bytearray(path.read_bytes())
        whole[200:240] = bytes(40) if how == "zeros" else bytes([whole[200] ^ 1]) + whole[201:240]
        path.write_bytes(whole)
    else:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) - 60] if how == "truncate" else b"")
    with pytest.raises(ConfigError, match="delete") as caught:
        load_samples(tmp_path / "a") if n is None else make("a", n)
    assert "\n" not in str(caught.value)


def test_samples_are_of_the_parameters_and_the_key_they_were_drawn_with(make, tmp_path):
    make("a", 100)
    assert len(load_samples(tmp_path / "a", drawn_with=module.origin(AWAY, KEY)).log_q) == 100
    other_key = jax.random.key(12)
    for origin in (module.origin(OPTIMUM, KEY), module.origin(AWAY, other_key)):
        with pytest.raises(ConfigError, match="were drawn with other parameters .*`jbg sample "):
            load_samples(tmp_path / "a", drawn_with=origin)
    for n in (50, 100, 200):
        for other in ({"params": OPTIMUM}, {"key": other_key}):
            with pytest.raises(
                ConfigError, match="were drawn with other parameters .*`jbg sample "
            ):
                make("a", n, **other)
    with pytest.raises(ConfigError, match="are of 2 coordinates, not 3"):
        make("a", 200, dim=3)
    with pytest.raises(ConfigError, match="holds 100 samples, 101 are asked for"):
        load_samples(tmp_path / "a", 101)


def test_no_samples_yet(tmp_path):
    with pytest.raises(ConfigError, match="holds no samples: run `jbg sample .*` first"):
        load_samples(tmp_path)


def test_a_full_disk_is_one_line_and_the_samples_stay(make, monkeypatch):
    first = [np.array(part) for part in make("a", 100)]

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(RunError, match=r"disk full writing .*positions\.npy: free space") as caught:
        make("a", 5000)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert_same(make("a", 100), first)


def test_more_samples_than_the_disk_holds_are_refused_before_any_is_claimed(make, monkeypatch):
    make("a", 100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=1000))
    with pytest.raises(ConfigError, match=r"and 1e-06 GB are free: choose a smaller -n"):
        make("a", 5000)
    make("a", 100)
