"""The run folder: refuses what is not its own, survives kills, repeats itself on resume."""

import contextlib
import errno
import json
import math
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from jbg import runs
from jbg.interfaces import ConfigError, RunError
from jbg.runs import storage

CONFIG = {"study": "double-well", "seed": 7, "stages": [{"steps": 5}], "taus": (1.0, 2.0)}


@pytest.fixture
def run(tmp_path):
    return runs.open_run(tmp_path / "runs" / "a", CONFIG)


def test_a_new_folder_holds_config_and_manifest(run):
    assert json.loads((run.path / "config.json").read_text())["taus"] == [1.0, 2.0]
    manifest = run.manifest()
    assert manifest["seed"] == 7
    assert manifest["versions"]["jax"] == jax.__version__
    assert manifest["device"]["device_count"] == len(jax.devices())
    assert {"python", "jaxlib", "flax", "optax", "openmm", "numpy", "jbg"} <= manifest[
        "versions"
    ].keys()
    assert not list(run.path.glob("*.partial"))


def test_the_same_config_opens_again_and_keeps_the_manifest(run):
    run.note(probe={"platform": "Reference"})
    again = runs.open_run(run.path, CONFIG)
    assert again.config == run.config
    again.note(probe={"workers": 2})
    assert again.manifest()["probe"] == {"platform": "Reference", "workers": 2}
    assert runs.load_run(run.path).config == run.config


def test_another_config_names_the_first_differing_key(run):
    other = CONFIG | {"stages": [{"steps": 6}]}
    with pytest.raises(
        ConfigError,
        match=r"stages.0.steps = 5, .* stages.0.steps = 6: choose another --out, or the",
    ):
        runs.open_run(run.path, other)
    more = CONFIG | {"stages": [{"steps": 5, "heat": 1.0}, {"steps": 6}]}
    with pytest.raises(ConfigError, match=r'stages = \[{"steps": 5}\], this command has stages ='):
        runs.open_run(run.path, more)
    assert runs.load_run(run.path).config["stages"] == [{"steps": 5}]


def test_a_run_of_another_version_says_how_to_go_on(run):
    newer = CONFIG | {"stages": [{"steps": 5, "heat": 1.0}]}
    with pytest.raises(
        ConfigError,
        match=r"stages.0.heat = \(absent\), .* stages.0.heat = 1.0: .*; if another .* with that version$",
    ):
        runs.open_run(run.path, newer)
    # what is in both comes first
    with pytest.raises(ConfigError, match=r"stages.0.steps = 5.* another version .* with that ver"):
        runs.open_run(run.path, CONFIG | {"stages": [{"heat": 1.0, "steps": 6}]})
    # and before it what the user chose
    chosen = newer | {"seed": 8, "flow": {"floor": 0.1}}
    with pytest.raises(ConfigError, match=r"seed = 7, .* seed = 8: .* or the options of that run$"):
        runs.open_run(run.path, chosen)
    with pytest.raises(ConfigError, match=r"options = \(absent\), .* or the options of that run$"):
        runs.open_run(run.path, newer | {"options": {"pdb": "a.pdb"}})


def test_folders_that_are_not_runs_are_refused_and_left_alone(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "cat.png").write_bytes(b"cat")
    with pytest.raises(ConfigError, match=r"not empty and not a run \(it holds cat.png\)"):
        runs.open_run(folder, CONFIG)
    assert [p.name for p in folder.iterdir()] == ["cat.png"]
    with pytest.raises(ConfigError, match="is a file"):
        runs.open_run(folder / "cat.png", CONFIG)
    with pytest.raises(ConfigError, match="not a run folder"):
        runs.load_run(folder)
    with pytest.raises(ConfigError, match="not a run folder"):
        runs.load_run(tmp_path / "missing")


@pytest.mark.parametrize("seed", [None, -1, 1.5, True, 2**31, "3"])
def test_bad_seeds_are_refused(tmp_path, seed):
    with pytest.raises(ConfigError, match="seed must be an integer"):
        runs.open_run(tmp_path / "a", CONFIG | {"seed": seed})
    assert not (tmp_path / "a").exists()


def test_a_kill_while_the_folder_is_made_leaves_something_to_go_on_from(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.json.partial").write_text('{"se')
    run = runs.open_run(tmp_path / "a", CONFIG)  # killed before config.json
    (run.path / "manifest.json").unlink()  # killed between the two files
    assert runs.open_run(run.path, CONFIG).manifest()["stages"] == {}


@pytest.mark.parametrize("name", ["config.json", "manifest.json"])
@pytest.mark.parametrize("text", ["", '{"seed": 7', "[]", '{"a": 1}'])
def test_damaged_json_names_the_file(run, name, text):
    (run.path / name).write_text(text)
    with pytest.raises(ConfigError, match=rf"{name}: damaged"):
        runs.open_run(run.path, CONFIG)


def test_keys_and_seeds_differ_by_name_and_by_root(run, tmp_path):
    other = runs.open_run(tmp_path / "b", CONFIG | {"seed": 8})
    draws = {float(jax.random.uniform(r.key(n))) for r in (run, other) for n in ("train", "sample")}
    assert len(draws) == 4
    seeds = {r.seed_for(n) for r in (run, other) for n in ("train", "sample")}
    assert len(seeds) == 4
    assert all(0 < seed < 2**31 for seed in seeds)
    again = runs.load_run(run.path)
    assert again.seed_for("train") == run.seed_for("train")
    assert (jax.random.key_data(again.key("train")) == jax.random.key_data(run.key("train"))).all()


def test_json_takes_numpy_and_jax_and_makes_nan_null(run):
    value = {
        "a": np.float32(0.5),
        "b": np.arange(3),
        "c": jax.numpy.ones(()),
        "d": float("nan"),
        "e": [math.inf, -math.inf, np.float64("nan")],
        "f": np.bool_(True),
        "g": np.array([1.0, np.nan]),
        "h": run.path,
        3: None,
    }
    run.write_json("results.json", value)
    expected = {"a": 0.5, "b": [0, 1, 2], "c": 1.0, "d": None, "e": [None] * 3, "f": True}
    expected |= {"g": [1.0, None], "h": str(run.path), "3": None}
    assert run.read_json("results.json") == expected
    with pytest.raises(TypeError, match="cannot be written as JSON"):
        run.write_json("results.json", {"a": object()})
    assert run.read_json("results.json") == expected
    with pytest.raises(ConfigError, match="no such file"):
        run.read_json("other.json")


def test_arrays_round_trip_and_damage_is_named(run):
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    run.save_arrays("parts/data.npz", x=x, n=3)
    loaded = run.load_arrays("parts/data.npz")
    assert loaded["x"].dtype == np.float32
    np.testing.assert_array_equal(loaded["x"], x)
    assert loaded["n"] == 3
    whole = (run.path / "parts/data.npz").read_bytes()
    middle = len(whole) // 3
    flipped = (
        whole[:middle] + bytes(255 - b for b in whole[middle : middle + 8]) + whole[middle + 8 :]
    )
    for damaged in (b"", b"not a zip", whole[: len(whole) // 2], flipped):
        (run.path / "parts/data.npz").write_bytes(damaged)
        with pytest.raises(ConfigError, match=r"data\.npz: damaged"):
            run.load_arrays("parts/data.npz")
    with pytest.raises(ConfigError, match="no such file"):
        run.load_arrays("missing.npz")


def _log(run, stage, start, stop):
    for step in range(start, stop):
        run.log_metrics(stage, step, loss=1.0 / (step + 1), bad=float("nan"))


def test_a_resumed_metrics_file_equals_an_unbroken_one(run, tmp_path):
    other = runs.open_run(tmp_path / "b", CONFIG)
    for r in (run, other):
        _log(r, "simulate", 0, 2)
        _log(r, "nll", 0, 10)
    _log(run, "kl", 0, 4)
    other.truncate_metrics("nll", 6)  # killed after step 9, last checkpoint before step 6
    _log(other, "nll", 6, 10)
    _log(other, "kl", 0, 3)
    with (other.path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "kl", "st')  # torn by kill -9
    assert len(other.metrics()) == 15
    other.truncate_metrics("kl", 0)
    _log(other, "kl", 0, 4)
    assert (other.path / "metrics.jsonl").read_bytes() == (run.path / "metrics.jsonl").read_bytes()
    assert other.metrics()[0] == {"stage": "simulate", "step": 0, "loss": 1.0, "bad": None}


def test_truncation_drops_later_stages_and_keeps_earlier_ones(run):
    _log(run, "nll", 0, 4)
    _log(run, "kl", 0, 4)
    run.truncate_metrics("other", 0)
    assert len(run.metrics()) == 8
    run.truncate_metrics("nll", 3)
    assert [(r["stage"], r["step"]) for r in run.metrics()] == [("nll", s) for s in range(3)]
    run.truncate_metrics("nll", 0)
    assert run.metrics() == []


def test_wall_time_adds_up_over_interruptions_and_touches(run):
    assert run.wall_seconds("train") is None
    with contextlib.suppress(KeyboardInterrupt), run.stage("train"):
        time.sleep(0.05)
        raise KeyboardInterrupt
    first = run.wall_seconds("train")
    assert 0.05 <= first < 1.0
    assert not run.stage_done("train")
    again = runs.load_run(run.path)
    with again.stage("train"):
        time.sleep(0.05)
        again.touch()  # what a kill right after would leave
        assert runs.load_run(run.path).wall_seconds("train") >= first + 0.05
        again.mark_done("train", steps=12)
    assert again.stage_done("train")
    assert again.wall_seconds("train") >= first + 0.05
    assert again.wall_seconds("train") < 2.0
    assert again.manifest()["stages"]["train"]["steps"] == 12


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_run_error_and_keeps_the_old_file(run, monkeypatch, code):
    run.write_json("results.json", {"old": 1})
    run.save_arrays("data.npz", x=np.ones(3))

    def full(*_):
        raise OSError(code, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    for write in (
        lambda: run.write_json("results.json", {"new": 1}),
        lambda: run.save_arrays("data.npz", x=np.zeros(3)),
        lambda: run.note(a=1),
        lambda: run.truncate_metrics("nll", 0),
    ):
        with pytest.raises(RunError, match="disk full writing .*: free space and run the same"):
            write()
    assert run.read_json("results.json") == {"old": 1}
    assert run.load_arrays("data.npz")["x"].sum() == 3
    assert not list(run.path.glob("*.partial"))


def test_a_full_disk_while_logging_is_a_run_error(run, monkeypatch):
    monkeypatch.setattr(storage, "inside", lambda folder, name: Path("/dev/full"))
    monkeypatch.setattr(Path, "open", lambda self, *_, **__: open("/dev/full", "w"))  # noqa: SIM115
    with pytest.raises(RunError, match="disk full writing /dev/full"):
        run.log_metrics("nll", 0, loss=1.0)


def test_a_place_that_cannot_be_written_is_a_config_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write"):
        runs.open_run(tmp_path / "file" / "a", CONFIG)
