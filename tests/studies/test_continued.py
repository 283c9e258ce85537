"""A finished run trained further: from its parameters and data, with provenance, and what cannot be continued."""

import dataclasses
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jbg
from jbg import runs
from jbg.cli import main as cli
from jbg.interfaces import ConfigError
from jbg.losses import NLL
from jbg.studies import continued, engine
from jbg.studies.settings import changed
from jbg.training import Stage, run_stages
from jbg.training.checkpoints import digest
from tests import tiny
from tests.studies.same_run import assert_same_run, params_of

pytestmark = pytest.mark.study

MORE = {"name": "more", "steps": 20, "losses": [{"kind": "nll"}], "log_every": 10, "batch_size": 32}
FURTHER = {"stages.1.steps": 60, "stages.+": MORE}
TYPED = ["stages.1.steps=60", 'stages.+={"name":"more","steps":20,"losses":[{"kind":"nll"}],'
         '"log_every":10,"batch_size":32}']  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = engine.open_run(tmp_path_factory.mktemp("finished") / "a", tiny.double_well())
    engine.run_all(run, quiet=True)
    return run


@pytest.fixture(scope="module")
def further(finished, tmp_path_factory):
    run = jbg.continue_run(finished.path, tmp_path_factory.mktemp("on") / "b", settings=FURTHER)
    engine.run_all(run, quiet=True)
    return run


def test_the_further_training_begins_where_the_run_ended(finished, further):
    last = finished.config["stages"][1]["name"]
    stages = engine.plan_of(further).stages
    assert [(stage.name, stage.steps) for stage in stages] == [(last, 20), ("more", 20)]
    problem = engine.load_problem(further)
    own = run_stages(
        stages,
        make_loss=problem.make_loss,
        params=params_of(finished),
        data=jnp.asarray(problem.examples.rows),
        key=finished.key("train after 80"),
    )
    for a, b in zip(*map(jax.tree.leaves, (params_of(further), own)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [r["step"] for r in further.metrics() if r["stage"] == "more"] == [10, 20]


def test_data_are_kept_and_costs_and_origin_are_noted(finished, further):
    for name in ("x", "u", "role"):
        arrays = [run.load_arrays("data/frames.npz")[name] for run in (finished, further)]
        np.testing.assert_array_equal(*arrays)
    noted = further.manifest()["continues"]
    assert noted["run"] == str(finished.path)
    assert noted["sha256"] == digest(jax.tree.leaves(params_of(finished)))
    assert noted["steps"] == 80
    before, after = (run.read_json("results.json") for run in (finished, further))
    assert noted["energy_evaluations"] == before["energy_evaluations"]["train"]
    spent = [results["energy_evaluations"] for results in (before, after)]
    assert spent[1]["simulate"] == spent[0]["simulate"]
    assert spent[1]["train"] > spent[0]["train"]
    seconds = [results["wall_seconds"]["simulate"] for results in (before, after)]
    assert seconds[0] <= seconds[1] < seconds[0] + 5.0  # and those of copying
    assert after["wall_seconds"]["train"] > before["wall_seconds"]["train"]
    assert after["ess_fraction"] != before["ess_fraction"]
    assert (further.path / "report.html").exists()


def test_the_command_is_the_same_as_python(finished, further, tmp_path, monkeypatch, capsys):
    shutil.copytree(finished.path, tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["continue", "a", "--set", *TYPED, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "stages.1.steps: 40 -> 60\n" in printed
    assert "trains: 20 steps of more\n" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert cli.main(["continue", "a", "--set", *TYPED, "--quiet"]) == 0
    found = runs.load_run(tmp_path / "a-continued")
    assert found.config == further.config
    assert_same_run(found, further)
    assert found.manifest()["settings"]["set"] == TYPED
    # given again, nothing is left to do; other parameters are another run
    assert cli.main(["continue", "a", "--set", *TYPED, "--quiet"]) == 0
    (found.path / "data/frames.npz").unlink()  # comes from the earlier run again
    assert cli.main(["continue", "a", "--set", *TYPED, "--quiet"]) == 0
    assert (found.path / "data/frames.npz").exists()
    again = ["--set", TYPED[0], "--out", "a-continued"]
    assert cli.main(["continue", "a", *again]) == 2
    assert "choose another --out" in capsys.readouterr().err


def test_in_place_the_earlier_run_is_kept(finished, tmp_path):
    shutil.copytree(finished.path, tmp_path / "a")
    run = jbg.continue_run(tmp_path / "a", tmp_path / "a", settings={"stages.1.steps": 60})
    assert run.path == tmp_path / "a"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a-before-1"]
    assert run.manifest()["continues"]["run"] == str(tmp_path / "a-before-1")
    assert runs.load_run(tmp_path / "a-before-1").read_json("results.json")["n_samples"] == 2000
    engine.train(run, quiet=True)
    assert not run.holds("results.json")
    second = jbg.continue_run(run.path, settings={"stages.0.steps": 40})
    assert second.path == tmp_path / "a-continued"
    assert second.manifest()["continues"]["steps"] == 100


def test_names_of_continuations():
    path = lambda name: continued.default_folder(Path(name)).name
    assert path("runs/a") == "a-continued"
    assert path("a-continued") == "a-continued-2"
    assert path("a-continued-2") == "a-continued-3"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "nothing is left to train: give the last stage more than its 40 steps"),
        ({"sampling.n": 5000}, "nothing is left to train"),
        ({"stages.1.steps": 20}, "trained for 40 steps already: give it more"),
        ({"stages.1.learning_rate": 1e-4}, "trained for 40 steps already: give it more"),
        ({"stages.0.steps": 60}, "stage 'by-example' is trained already and stays"),
        ({"options.a1": 3.0}, "options stays as it is"),
        ({"seed": 3}, "seed stays as it is"),
        ({"flow.n_bins": 6}, "flow stays as it is"),
        ({"data.n_steps": 600}, "data stays as it is"),
        ({"stages.1.stepz": 60}, "did you mean stages.1.steps?"),
    ],
)
def test_what_cannot_be_continued(settings, message):
    plan = tiny.double_well()
    with pytest.raises(ConfigError) as caught:
        continued.further_plan(plan, continued.asked_plan(plan, settings=settings))
    assert message in str(caught.value)


def test_a_stage_left_out_or_another_config_is_refused():
    plan = tiny.double_well()
    with pytest.raises(ConfigError, match="is trained already and stays"):
        continued.further_plan(plan, dataclasses.replace(plan, stages=plan.stages[:1]))
    with pytest.raises(ConfigError, match="seed stays as it is"):
        continued.asked_plan(plan, config={"seed": 2, "stages": {"1": {"steps": 60}}})
    added = dataclasses.replace(
        plan, stages=(*plan.stages, Stage(name="m", steps=10, losses=(NLL(),)))
    )
    assert [stage.name for stage in continued.further_plan(plan, added).stages] == ["m"]
    assert (
        changed(
            plan, settings={"stages.+": {"name": "m", "steps": 10, "losses": [{"kind": "nll"}]}}
        )
        == added
    )


def test_an_untrained_run_says_what_to_do(tmp_path):
    run = engine.open_run(tmp_path / "a", tiny.double_well())
    engine.simulate(run, quiet=True)
    with pytest.raises(ConfigError, match="is not trained yet: run `jbg train"):
        jbg.continue_run(run.path, settings=FURTHER)
    assert not (tmp_path / "a-continued").exists()
