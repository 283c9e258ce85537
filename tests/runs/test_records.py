"""What a run wrote is what it reads: changed, foreign and planted files are refused in one line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jbg import runs
from jbg.interfaces import ConfigError
from jbg.runs import environment, records, storage

CONFIG = {"study": "double-well", "seed": 7, "flow": {"bound": 5.0}, "stages": [{}]}
ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path):
    found = runs.open_run(tmp_path / "runs" / "a", CONFIG)
    with found.stage("simulate"):
        found.save_arrays("data/frames.npz", x=np.arange(6.0))
        found.mark_done("simulate")
    return found


def refused(what, match):
    with pytest.raises(ConfigError, match=match) as caught:
        what()
    assert "\n" not in str(caught.value)


def damage(path, how):
    whole = path.read_bytes()
    if how == "flip":
        path.write_bytes(whole[:60] + bytes([whole[60] ^ 1]) + whole[61:])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "truncate":
        path.write_bytes(whole[:-10])
    elif how == "valid":
        np.savez(path, x=np.zeros(6))
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["flip", "empty", "truncate", "valid", "delete"])
def test_changed_arrays_are_refused_with_the_command_that_makes_them_again(how, run):
    damage(run.path / "data/frames.npz", how)
    refused(
        lambda: runs.load_run(run.path).load_arrays("data/frames.npz"),
        r"frames.npz: (missing|damaged, or changed).*delete it, then `jbg run double-well --out .*again",
    )
    (run.path / "data/frames.npz").unlink(missing_ok=True)
    assert not run.stage_done("simulate")  # so that the command named does make it again


def test_a_file_that_was_read_once_is_looked_at_again_when_it_changes(run):
    assert run.load_arrays("data/frames.npz")["x"].sum() == 15
    damage(run.path / "data/frames.npz", "valid")
    refused(lambda: run.load_arrays("data/frames.npz"), "changed since this run wrote it")


def test_files_of_other_runs_are_refused(run, tmp_path):
    other = runs.open_run(tmp_path / "b", CONFIG)
    other.save_arrays("data/frames.npz", x=np.zeros(6))
    other.write_json("results.json", {"a": 1})
    for name in ("data/frames.npz", "results.json"):
        shutil.copy(other.path / name, run.path / name)
    refused(lambda: run.load_arrays("data/frames.npz"), "changed since this run wrote it")
    refused(lambda: run.read_json("results.json"), "none that this run wrote .*jbg evaluate")
    shutil.copy(other.path / "manifest.json", run.path / "manifest.json")
    shutil.copy(run.path / "data/frames.npz", run.path / "config.json")
    refused(lambda: runs.load_run(run.path), "config.json: damaged")


def test_data_may_be_brought_from_elsewhere_and_recorded(run):
    np.savez(run.path / "data/mine.npz", x=np.ones(2))
    run.record("data/mine.npz")
    assert run.load_arrays("data/mine.npz")["x"].sum() == 2
    other = runs.open_run(run.path.parent / "b", CONFIG | {"seed": 8})
    runs.adopt(other, run.path / "data")
    assert other.load_arrays("data/mine.npz")["x"].sum() == 2
    assert other.load_arrays("data/frames.npz")["x"].sum() == 15


def test_a_kill_before_the_replacement_leaves_the_old_file_good(run, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    monkeypatch.setattr("jbg.runs.run.write_manifest", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        run.save_arrays("data/frames.npz", x=np.zeros(6))
    monkeypatch.undo()
    assert run.load_arrays("data/frames.npz")["x"].sum() == 15
    before = storage.temporary(run.path / "data/frames.npz")
    before.write_bytes(b"torn")
    (run.path / "my.partial.txt").write_text("a user's own")
    with run.stage("simulate"):
        assert not before.exists()
        assert (run.path / "my.partial.txt").exists()


def test_a_stage_may_delete_what_it_needed_for_a_while(run):
    with run.stage("train"):
        run.save_arrays("data/exchange.npz", x=np.ones(2))
        run.save_arrays("data/kept.npz", x=np.ones(2))
        (run.path / "data/exchange.npz").unlink()
        run.mark_done("train")
        run.remove("data/kept.npz")
    assert run.stage_done("train")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 8}, "seed = 7"),
        ({"flow": {"bound": 9.0}}, r"flow.bound = 5.0"),
        ({"b": 1}, "b = "),
    ],
)
def test_a_config_changed_by_hand_names_the_key(run, change, named):
    (run.path / "config.json").write_text(json.dumps(CONFIG | change))
    refused(lambda: runs.load_run(run.path), rf"config.json was changed by hand: {named}")
    refused(lambda: runs.open_run(run.path, CONFIG | change), "changed by hand")


@pytest.mark.parametrize(
    "text", ["[" * 200_000, "[]", "3", "null", '{"seed": 1e30}', '{"seed": -5}', "{}"]
)
def test_a_config_of_other_types_is_damaged(run, text):
    (run.path / "config.json").write_text(text)
    refused(lambda: runs.load_run(run.path), "config.json: damaged")


def test_a_manifest_changed_by_hand_missing_or_of_an_earlier_version_is_refused(run):
    path = run.path / "manifest.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | {"stages": {"train": {"done": True}}}))
    refused(lambda: runs.load_run(run.path), "manifest.json: damaged, or changed by hand")
    del whole["seal"]
    path.write_text(json.dumps(whole))
    refused(lambda: runs.load_run(run.path), r"no seal: jbg \S+ .*began this run")
    path.unlink()
    refused(lambda: runs.load_run(run.path), "manifest.json: missing, though the run holds data")
    refused(lambda: run.write_json("manifest.json", {}), "written by the run itself")


def test_metrics_changed_after_the_training_are_refused(run):
    run.log_metrics("nll", 10, loss=1.0)
    run.mark_done("train")
    assert len(run.metrics()) == 1
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "nll", "step": 20}\n')
    refused(run.metrics, "metrics.jsonl: damaged, or changed .*jbg train")
    run.truncate_metrics("nll", 15)  # training that goes on
    assert [r["step"] for r in run.metrics()] == [10]


def test_lines_of_metrics_that_are_no_records_are_left_out(run):
    lines = ["3", '{"stage": 3, "step": 1}', '{"stage": "a", "step": "x"}', "[" * 100_000]
    lines += ['{"stage": "a", "step": 1, "loss": "x"}', '{"stage": "a", "step": true}']
    (run.path / "metrics.jsonl").write_text("\n".join([*lines, '{"stage": "a", "step": 1}']))
    assert run.metrics() == [{"stage": "a", "step": 1}]
    run.truncate_metrics("a", 1)
    assert run.metrics() == []


@pytest.mark.parametrize(
    "name",
    ["../x", "/tmp/x", "a/../../x", "a b", "", "a//b", "..", "figures/profile_../../x.png", "a\n"],
)
def test_names_are_plain_words(run, name):
    for what in (
        lambda: run.file(name),
        lambda: run.write_json(name, 1),
        lambda: run.save_arrays(name, x=np.ones(1)),
        lambda: run.load_arrays(name),
    ):
        refused(what, "is no name of a file in")
    assert sorted(p.name for p in run.path.parent.iterdir()) == ["a"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_links_out_of_the_folder_are_refused(run, tmp_path, kind):
    outside = tmp_path / "outside"
    outside.mkdir()
    if kind == "folder":
        (run.path / "figures").symlink_to(outside)
    else:
        (run.path / "figures").mkdir()
        (run.path / "figures" / "x.npz").symlink_to(outside / "x.npz")
    refused(lambda: run.save_arrays("figures/x.npz", x=np.ones(1)), "leads outside of")
    refused(lambda: runs.load_run(run.path), "leads outside of")
    assert not list(outside.iterdir())


def test_a_run_folder_that_is_a_link_itself_is_fine(run, tmp_path):
    (tmp_path / "link").symlink_to(run.path)
    assert runs.load_run(tmp_path / "link").load_arrays("data/frames.npz")["x"].sum() == 15


def test_another_machine_is_warned_of_and_recorded(run, monkeypatch, caplog):
    now = environment.current()
    other = now | {"device": now["device"] | {"device_count": 8, "cpu_count": 99}}
    monkeypatch.setattr(environment, "current", lambda: other)
    caplog.set_level("WARNING", logger="jbg")
    for _ in range(2):  # once for each change
        with runs.load_run(run.path).stage("train"):
            pass
    assert [r.getMessage().count("device_count 2 -> 8") for r in caplog.records] == [1]
    (entry,) = run.manifest()["continued"]
    assert (entry["stage"], entry["device"]["device_count"]) == ("train", 8)


def test_keys_do_not_depend_on_what_jax_is_set_to(run):
    expected = jax.random.key_data(run.key("a"))
    with jax.default_prng_impl("rbg"):
        np.testing.assert_array_equal(jax.random.key_data(run.key("a")), expected)


def test_a_stage_in_64_bits_is_refused(run):
    with jax.enable_x64(True):
        refused(lambda: run.stage("train").__enter__(), "unset JAX_ENABLE_X64")


RACE = """
import sys
from pathlib import Path
from jbg import runs
root, me = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for i in range(20):
    run = runs.open_run(root / str(i), {"study": "x", "seed": 1})
    run.note(entries={me: i})
    run.save_arrays(f"data/{me}.npz", x=[i])
"""


@pytest.mark.study
def test_processes_that_race_for_fresh_folders_lose_nothing(tmp_path):
    command = [sys.executable, "-c", RACE, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen([*command, name], cwd=ROOT, text=True, **pipes) for name in "abc"]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], errors
    for i in range(20):
        run = runs.load_run(tmp_path / str(i))
        assert run.manifest()["entries"] == dict.fromkeys("abc", i)
        assert all(run.load_arrays(f"data/{name}.npz")["x"] == i for name in "abc")
        assert not list(run.path.rglob("*.partial*"))


def test_a_folder_at_work_is_waited_for_and_held_again_by_its_own_process(run):
    script = (
        "import sys, time; from pathlib import Path; from jbg.runs import storage\n"
        "with storage.only_process(Path(sys.argv[1])): print('held', flush=True); time.sleep(0.5)"
    )
    command = [sys.executable, "-c", script, str(run.path)]
    other = subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE)
    assert other.stdout.readline() == "held\n"
    with (
        pytest.raises(ConfigError, match="another process is at work"),
        storage.only_process(run.path),
    ):
        pass
    run.note(a=1)  # waits
    other.wait(timeout=60)
    with storage.only_process(run.path), storage.only_process(run.path):
        run.note(b=2)
    assert {"a", "b"} <= run.manifest().keys()


def test_what_began_dynamics_from_python_is_jbg_md(tmp_path):
    assert records.began(tmp_path, {}, "md").startswith("`jbg md --out ")
    assert records.began(tmp_path, {}, "molecule").startswith("`jbg run molecule --out ")


def test_advice_about_a_copied_folder_names_the_copy(tmp_path):
    for words in (["--out", "runs/a", "--seed", "3"], ["--seed", "3"]):
        manifest = {"command": ["/usr/bin/jbg", "run", "double-well", *words]}
        said = records.began(tmp_path / "copy", manifest, "double-well")
        assert f"--out {tmp_path / 'copy'}" in said
        assert "runs/a" not in said
        assert "--seed 3" in said
    here = {"command": ["jbg", "run", "double-well", "--out", str(tmp_path / "a")]}
    assert records.began(tmp_path / "a", here, "double-well") == (
        f"`jbg run double-well --out {tmp_path / 'a'}`"
    )
