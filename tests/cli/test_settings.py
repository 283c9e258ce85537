"""``--set``, ``--config`` and the default folder, from the command line to the run folder."""

import json
from pathlib import Path

import pytest

from jbg import runs
from jbg.cli import main as cli
from jbg.cli.options import RunOptions, composed
from jbg.cli.settings import default_folder
from jbg.studies import engine
from jbg.studies.molecule.options import MoleculeOptions
from tests import tiny
from tests.studies.same_run import assert_same_run

TINY = [
    "data.n_steps=400",
    "data.stride=2",
    "flow.n_blocks=1",
    "flow.n_bins=4",
    "flow.conditioner.hidden=[8]",
    "sampling.n=2e3",
    "sampling.batch=500",
    *(
        f"stages.{i}.{setting}"
        for i in range(2)
        for setting in ("steps=40", "batch_size=32", "log_every=10", "eval_every=20", "warmup=0")
    ),
]


@pytest.mark.study
def test_a_run_with_settings_is_the_same_in_python(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["run", "double-well", "--seed", "1", "--quiet", "--out", "typed"]
    assert cli.main([*command, "--set", *TINY]) == 0
    expected = engine.open_run(tmp_path / "python", tiny.double_well())
    engine.run_all(expected, quiet=True)
    found = runs.load_run(tmp_path / "typed")
    assert found.config == expected.config
    assert_same_run(found, expected)
    noted = found.manifest()["settings"]
    assert noted["set"] == TINY
    assert noted["changed"]["stages.1.steps"] == {"before": 1600, "after": 40}
    assert noted["config"] is None
    # its config.json, handed back, is the same run
    again = ["run", "double-well", "--config", "typed/config.json", "--dry-run"]
    assert cli.main(again) == 0
    assert "stages.1.steps: 1600 -> 40\n" in capsys.readouterr().out
    begin = ["simulate", "double-well", "--quiet", "--config", "typed/config.json"]
    assert cli.main([*begin, "--out", "handed"]) == 0
    handed = runs.load_run(tmp_path / "handed")
    assert handed.config == found.config
    assert handed.manifest()["settings"]["config"]["file"] == str(tmp_path / "typed/config.json")
    assert cli.main([*begin, "--set", "stages.0.steps=60", "--out", "handed"]) == 2
    assert "stages.0.steps = 40, this command has stages.0.steps = 60" in capsys.readouterr().err


def test_flags_have_precedence_over_the_file_and_settings_over_flags(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = {"a1": -1.5, "taus": [0.5, 1.0]}
    Path("mine.json").write_text(json.dumps({"seed": 5, "options": options}))
    plans = []
    monkeypatch.setattr(engine, "cost", lambda plan: plans.append(plan) or {})
    for words in ([], ["--seed", "6", "--taus", "1"], ["--seed", "6", "--set", "seed=7"]):
        assert cli.main(["run", "double-well", "--config=mine.json", *words, "--dry-run"]) == 0
    found = [(plan.seed, plan.options.a1, plan.options.taus) for plan in plans]
    assert found == [(5, -1.5, (0.5, 1.0)), (6, -1.5, (1.0,)), (7, -1.5, (0.5, 1.0))]
    assert cli.main(["run", "double-well", "--set", "options.a8=1"]) == 2
    assert cli.main(["run", "double-well", "--set", "stages.0.stepz=1"]) == 2
    for words in (["--config"], ["--set"], ["--seeds"], ["--set", "options=3"]):
        assert cli.main(["run", "double-well", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 6
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("given", "folder"),
    [
        ({"sequence": "ACE-ALA-NME"}, "ace-ala-nme"),
        ({"sequence": "GYDPETGTWG"}, "GYDPETGTWG"),
        ({"sequence": "A/B (c)"}, "A-B-c"),
        ({"pdb": Path("inputs/butane.pdb")}, "butane"),
        ({"pdb": Path("inputs/butane.pdb"), "system": Path("system.xml")}, "butane"),
        ({"prmtop": Path("butane.prmtop"), "inpcrd": Path("a.inpcrd")}, "butane"),
        ({"pdb": Path("inputs/butane.pdb"), "config": Path("mine.json")}, "butane"),
    ],
)
def test_a_run_folder_is_named_after_its_molecule(given, folder):
    kind = composed(MoleculeOptions, RunOptions)
    options = kind(**given)
    assert default_folder("molecule", options) == Path("runs") / folder
    assert default_folder("protein", options) == Path("runs") / f"{folder}-protein"
    assert default_folder("double-well", RunOptions()) == Path("runs/double-well")
