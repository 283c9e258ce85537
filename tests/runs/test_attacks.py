"""Damaged, foreign and hostile run folders through the command line: one clear line, or the same numbers.

`experiments/attacks.py` tries many more, on a molecule too.
"""

import json
import shutil

import jax
import numpy as np
import pytest

from jbg.cli import main as cli
from jbg.studies import engine
from tests import tiny


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished run, and another of another seed that foreign files are taken from."""
    top = tmp_path_factory.mktemp("attacked")
    for name, seed in (("a", 1), ("b", 2)):
        run = engine.open_run(top / name, tiny.double_well(steps=20, seed=seed))
        engine.run_all(run, quiet=True)
    return top


@pytest.fixture
def top(made, tmp_path):
    shutil.copytree(made, tmp_path / "top")
    return tmp_path / "top"


def text(content):
    return lambda path, other: path.write_text(content)


def setting(**changed):
    def attack(path, other):
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))

    return attack


def arrays(**changed):
    return lambda path, other: np.savez(path, **(dict(np.load(path)) | changed))


def array(change):
    return lambda path, other: np.save(path, change(np.load(path)), allow_pickle=True)


def flipped(path, other):
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)


def of_another_run(path, other):
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(other, path) if other.is_dir() else shutil.copy(other, path)


def header_cut_open(path, other):
    """One bit in the header of an .npy file, after which its brackets do not close."""
    path.write_bytes(path.read_bytes().replace(b")", b"(", 1))


def gone(path, other):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def linked(path, other):
    gone(path, other)
    path.symlink_to(other)


def damaged(path, other):
    for file in path.rglob("*"):
        if file.is_file() and file.stat().st_size > 200:
            file.write_bytes(file.read_bytes()[:100])


CHANGED = "damaged, or changed since this run wrote it"
OTHER_TRAINING = "is of a training with"
STALE = "were drawn with other parameters"
ATTACKS = [  # file, attack, command, what is said
    ("config.json", setting(seed=5), "evaluate", "changed by hand: seed = 1"),
    ("config.json", setting(seed=1e30), "evaluate", "seed must be an integer"),
    ("config.json", setting(seed="x"), "report", "seed must be an integer"),
    ("config.json", setting(flow={"bound": None}), "train", "changed by hand: flow"),
    ("config.json", setting(stages=[]), "sample", "changed by hand: stages"),
    ("config.json", setting(options={"a1": "x"}), "report", "changed by hand: options"),
    ("config.json", text('{"seed": 0}'), "train", "changed by hand"),
    ("config.json", text("[" * 100_000), "train", "config.json: damaged"),
    ("config.json", gone, "train", "is not a run folder"),
    ("config.json", of_another_run, "evaluate", "changed by hand: seed = 1"),
    ("config.json", linked, "train", "leads outside of"),
    ("manifest.json", setting(stages={}), "train", "damaged, or changed by hand"),
    ("manifest.json", setting(stages=3), "train", "manifest.json: damaged"),
    ("manifest.json", setting(versions=None), "sample", "damaged, or changed by hand"),
    ("manifest.json", text("[]"), "report", "manifest.json: damaged"),
    ("manifest.json", gone, "evaluate", "manifest.json: missing, though the run holds"),
    ("manifest.json", of_another_run, "evaluate", "changed by hand: seed = 2"),
    ("metrics.jsonl", text('{"stage": "x", "step": "x"}\n'), "evaluate", CHANGED),
    ("metrics.jsonl", gone, "report", "metrics.jsonl: missing"),
    ("data/frames.npz", flipped, "evaluate", CHANGED),
    ("data/frames.npz", text(""), "train", None),  # all is trained: nothing reads them
    ("data/frames.npz", text(""), "sample", CHANGED),
    ("data/frames.npz", arrays(frames=np.full((2, 9, 2), np.nan)), "evaluate", CHANGED),
    ("data/frames.npz", arrays(frames=np.zeros((2, 0, 2))), "sample", CHANGED),
    ("data/frames.npz", gone, "evaluate", "has no data yet: run `jbg simulate`"),
    ("data/frames.npz", of_another_run, "evaluate", CHANGED),
    ("samples", of_another_run, "evaluate", STALE),
    ("samples", of_another_run, "sample", STALE),
    ("samples", gone, "evaluate", "holds no samples: run `jbg sample"),
    ("samples", linked, "sample", "leads outside of"),
    ("samples/tau-1/log_q.npy", flipped, "evaluate", "are damaged (checksum of"),
    ("samples/tau-1/log_q.npy", header_cut_open, "evaluate", "are damaged ("),
    ("samples/tau-1/log_q.npy", flipped, "sample", "are damaged (checksum of"),
    (
        "samples/tau-1/log_q.npy",
        array(lambda x: x.astype(int)),
        "evaluate",
        "are damaged (they are",
    ),
    ("samples/tau-1/log_q.npy", array(lambda x: x[:-1]), "evaluate", "fewer than the 2000 samples"),
    (
        "samples/tau-1/positions.npy",
        array(lambda x: np.c_[x, x]),
        "evaluate",
        "are damaged (checksum of",
    ),
    ("samples/tau-1/positions.npy", array(np.asfortranarray), "evaluate", None),
    ("samples/tau-1/positions.npy", array(lambda x: x.astype(object)), "evaluate", "are damaged"),
    ("samples/tau-1/progress.json", setting(done=-500), "sample", "progress.json is damaged"),
    ("samples/tau-1/progress.json", setting(done=1999.7), "evaluate", "progress.json is damaged"),
    ("samples/tau-1/progress.json", setting(done=1500), "evaluate", "progress.json is damaged"),
    ("samples/tau-1/progress.json", setting(batch=1000), "evaluate", "progress.json is damaged"),
    ("checkpoints/40", damaged, "evaluate", "40 is damaged"),
    ("checkpoints/40", gone, "evaluate", "no checkpoint of step 40 (there: 20): run `jbg train"),
    ("checkpoints/40", gone, "sample", "no checkpoint of step 40 (there: 20): run `jbg train"),
    ("checkpoints/40", of_another_run, "evaluate", OTHER_TRAINING),
    ("checkpoints", of_another_run, "sample", OTHER_TRAINING),
    ("checkpoints", gone, "evaluate", "no checkpoint of step 40 (there: none): run `jbg train"),
    ("evaluation.npz", arrays(**{"profile_../../x_centers": np.ones(1)}), "report", CHANGED),
    ("evaluation.npz", text("PK"), "report", CHANGED),
    ("evaluation.npz", of_another_run, "report", CHANGED),
    ("results.json", text("[]"), "report", CHANGED),
    ("results.json", setting(ess_fraction=1.0), "report", CHANGED),
    ("results.json", of_another_run, "report", CHANGED),
    ("results.json", gone, "report", "results.json: missing: run `jbg evaluate"),
    ("figures", linked, "report", "leads outside of"),
]


def results_of(folder):
    found = json.loads((folder / "results.json").read_text())
    del found["wall_seconds"], found["worth"]
    return found


def outside(top):
    return {
        p: p.read_bytes()
        for p in top.rglob("*")
        if p.is_file() and "a" not in p.relative_to(top).parts
    }


@pytest.mark.parametrize(
    ("file", "attack", "command", "said"),
    ATTACKS,
    ids=[f"{a[0]}-{a[2]}-{i}" for i, a in enumerate(ATTACKS)],
)
def test_it_is_one_clear_line_or_the_same_numbers(top, made, capsys, file, attack, command, said):
    attack(top / "a" / file, top / "b" / file)
    before = outside(top)
    more = ["-n", "3000"] if command == "sample" else []
    status = cli.main([command, str(top / "a"), *more])
    err = capsys.readouterr().err
    assert outside(top) == before
    if said is None:
        assert (status, results_of(top / "a")) == (0, results_of(made / "a"))
    else:
        assert (status, err.count("\n")) == (2, 1), err
        assert said in err


def test_what_a_lost_checkpoint_is_repaired_with_ends_in_the_same_numbers(top, made):
    shutil.rmtree(top / "a" / "checkpoints" / "40")
    for command in ("train", "evaluate"):
        assert cli.main([command, str(top / "a"), "--quiet"]) == 0
    assert results_of(top / "a") == results_of(made / "a")


def test_other_random_numbers_set_in_jax_change_nothing(top, made):
    with jax.default_prng_impl("rbg"):
        assert cli.main(["evaluate", str(top / "a")]) == 0
    assert results_of(top / "a") == results_of(made / "a")
