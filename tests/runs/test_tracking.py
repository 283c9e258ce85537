"""Metrics go to a tracker as they are logged, what was logged before first; trackers are packages of the user."""

import importlib.machinery
import sys
from types import ModuleType, SimpleNamespace

import pytest

from jbg import runs
from jbg.cli import main as cli
from jbg.interfaces import ConfigError
from jbg.runs.tracking import check_tracker, tracked
from jbg.studies import engine


def module(monkeypatch, name, **contents):
    found = ModuleType(name)
    found.__spec__ = importlib.machinery.ModuleSpec(name, None)
    vars(found).update(contents)
    monkeypatch.setitem(sys.modules, name, found)


@pytest.fixture
def said(monkeypatch):
    """What fake trackers are told."""
    said = []
    tell = lambda what: lambda *args, **options: said.append((what, *args, *options.values()))
    session = SimpleNamespace(
        log=lambda values, step: said.append((values, step)), finish=tell("end")
    )
    module(monkeypatch, "wandb", init=lambda project, name, config: said.append(name) or session)
    module(
        monkeypatch,
        "mlflow",
        set_experiment=tell("experiment"),
        start_run=tell("run"),
        log_dict=lambda config, name: None,
        log_metrics=lambda values, step: said.append((values, step)),
        end_run=tell("end"),
    )

    class Writer:
        def __init__(self, folder):
            said.append(folder)
            self.flush, self.close = (lambda: None), tell("end")

        def add_scalar(self, name, value, step):
            said.append(({name: value}, step))

    module(monkeypatch, "tensorboard")
    module(monkeypatch, "tensorboard.summary", Writer=Writer)
    return said


@pytest.fixture
def run(tmp_path):
    return runs.open_run(tmp_path / "a", {"seed": 0})


@pytest.mark.parametrize("name", ["wandb", "mlflow", "tensorboard"])
def test_stages_follow_each_other_on_one_axis(said, run, name):
    run.log_metrics("first", 10, loss=3.0)
    run.log_metrics("first", 20, loss=2.0)
    with tracked(run, name):
        run.log_metrics("first+more", 10, loss=1.0, nll=None)
    run.log_metrics("first+more", 20, loss=0.5)  # nobody listens any more
    second = "first_more/loss" if name == "mlflow" else "first+more/loss"
    told = [each for each in said if isinstance(each, tuple) and isinstance(each[0], dict)]
    assert told == [({"first/loss": 3.0}, 10), ({"first/loss": 2.0}, 20), ({second: 1.0}, 30)]
    assert said[-1] == ("end",)
    assert len(run.metrics()) == 4


def test_a_tracker_is_closed_when_training_fails(said, run):
    with pytest.raises(RuntimeError, match="diverged"), tracked(run, "wandb"):
        raise RuntimeError("diverged")
    assert said == ["a", ("end",)]
    assert run.listeners == []


def test_without_a_tracker_nothing_happens(run):
    with tracked(run, None):
        run.log_metrics("first", 10, loss=3.0)
    assert len(run.metrics()) == 1


def test_a_missing_package_is_one_line_before_any_work(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("jbg.runs.tracking.missing", lambda packages: list(packages))
    with pytest.raises(ConfigError, match="--track wandb needs wandb, not installed: pip install"):
        check_tracker("wandb")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["run", "double-well", "--track", "mlflow"]) == 2
    assert "needs mlflow" in capsys.readouterr().err
    assert cli.main(["run", "double-well", "--track", "excel"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_command_tracks_a_run(said, monkeypatch, tmp_path):
    def run_all(run, quiet):
        run.log_metrics("first", 10, loss=3.0)
        run.write_json("results.json", {"free_energy_differences": []})

    monkeypatch.setattr(engine, "run_all", run_all)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["run", "double-well", "--track", "wandb", "--out", "a"]) == 0
    assert said == ["a", ({"first/loss": 3.0}, 10), ("end",)]
