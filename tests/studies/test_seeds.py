"""Several seeds: how their numbers are compared, the command that runs them, and what is refused."""

import json

import numpy as np
import pytest

from jbg import runs
from jbg.cli import main as cli
from jbg.interfaces import ConfigError
from jbg.studies import engine, seeds


def results(value, stderr=0.1, ess=0.5, **more):
    entry = {"states": ["left", "right"], "tau": 1.0, "value": value, "stderr": stderr}
    return {
        "system": "double-well",
        "n_samples": 1000,
        "ess_fraction": ess,
        "free_energy_differences": [entry | {"reference": 3.0, "reference_stderr": None} | more],
    }


def test_the_scatter_is_compared_with_the_errors():
    found = seeds.spread({0: results(3.0, 0.1), 1: results(3.2, 0.2), 4: results(2.9, 0.1)})
    (entry,) = found["free_energy_differences"]
    value, error = np.array([3.0, 3.2, 2.9]), np.array([0.1, 0.2, 0.1])
    weighted = np.sum(value / error**2) / np.sum(error**-2)
    np.testing.assert_allclose(entry["mean"], value.mean())
    np.testing.assert_allclose(entry["scatter"], np.std(value, ddof=1))
    np.testing.assert_allclose(entry["stderr"], np.std(value, ddof=1) / 3**0.5)
    np.testing.assert_allclose(entry["chi2"], np.sum((value - weighted) ** 2 / error**2))
    np.testing.assert_allclose(entry["p"], np.exp(-entry["chi2"] / 2))  # of two degrees of freedom
    assert (entry["degrees"], found["seeds"]) == (2, [0, 1, 4])
    assert seeds.warnings(found) == []


def test_seeds_that_scatter_too_much_or_are_missing_are_said():
    found = seeds.spread({0: results(3.0), 1: results(4.0)})
    (said,) = seeds.warnings(found)
    assert "scatter by 0.707 kT, and their errors are 0.1 kT" in said
    found = seeds.spread({0: results(3.0), 1: results(None, None, reason="no weight")})
    assert seeds.warnings(found) == ["F(right) - F(left) at tau 1: not given by seed 1"]
    assert found["free_energy_differences"][0]["mean"] is None
    alone = seeds.spread({0: results(3.0), 1: {"system": "double-well", "ess_fraction": None}})
    assert "not among" in alone["free_energy_differences"][0]["values"][1]["reason"]


def test_seeds_are_words():
    assert seeds.read_seeds(["0..4"]) == (0, 1, 2, 3, 4)
    assert seeds.read_seeds(["7", "0..1"]) == (7, 0, 1)
    for wrong in (["3"], ["0..x"], ["3..1"], ["-1", "2"], ["0..2", "1"], ["0..99999"], ["", "1"]):
        with pytest.raises(ConfigError, match="--seeds"):
            seeds.read_seeds(wrong)


@pytest.fixture
def finished(monkeypatch, tmp_path):
    """Runs that end at once; the folder that they begin in, and the seeds that were begun."""
    begun = []

    def run_all(run, quiet):
        begun.append(run.seed)
        run.write_json("results.json", results(3.0 + 0.1 * run.seed))

    monkeypatch.setattr(engine, "run_all", run_all)
    monkeypatch.chdir(tmp_path)
    return tmp_path, begun


def test_the_command_runs_all_seeds_and_prints_their_table(finished, capsys):
    folder, begun = finished
    assert cli.main(["run", "double-well", "--seeds", "0..2", "--set", "sampling.n=1000"]) == 0
    assert begun == [0, 1, 2]
    printed = capsys.readouterr()
    assert "  seed 1      3.100 +- 0.100   (reference 3.000)   ESS fraction 0.5\n" in printed.out
    assert "scatter 0.100, chi^2 2.00 with 2 degrees of freedom (p = 0.37)" in printed.out
    out = folder / "runs/double-well"
    assert json.loads((out / "seeds.json").read_text())["seeds"] == [0, 1, 2]
    page = (out / "seeds.html").read_text()
    assert "double-well, 3 seeds" in page
    assert "3.100 \N{PLUS-MINUS SIGN} 0.058" in page
    # a file's own seed gives way
    (folder / "mine.json").write_text(json.dumps({"seed": 9, "sampling": {"n": 1000}}))
    several = ["run", "double-well", "--config", "mine.json", "--seeds", "0..1", "--out", "b"]
    assert cli.main(several) == 0
    begun.clear()
    # one of them is what a run of that seed alone is
    alone = ["run", "double-well", "--seed", "1", "--set", "sampling.n=1000", "--out", "alone"]
    assert cli.main(alone) == 0
    configs = [runs.load_run(folder / name).config for name in ("alone", out / "seed-1")]
    assert configs[0] == configs[1]


def test_seeds_of_the_same_trajectories_share_their_error():
    """More seeds learn more often from the same frames: the error of the mean is that of one."""
    alone = {seed: results(3.0 + 0.01 * seed) for seed in range(4)}
    shared = {seed: found | {"own_data": {"frames": 100}} for seed, found in alone.items()}
    (apart,) = seeds.spread(alone)["free_energy_differences"]
    (together,) = seeds.spread(shared)["free_energy_differences"]
    assert apart["stderr"] < 0.01
    assert together["stderr"] == together["mean_stderr"] == pytest.approx(0.1)
    assert together["chi2"] is together["p"] is None


def test_what_the_command_refuses(finished, capsys):
    folder, begun = finished
    run = ["run", "double-well", "--seeds"]
    assert cli.main([*run, "0..4", "--dry-run"]) == 0
    assert capsys.readouterr().out.endswith("5 runs of this size, in runs/double-well/seed-*\n")
    assert cli.main([*run, "0..4", "--seed", "3"]) == 2
    assert cli.main([*run, "0"]) == 2
    assert not (folder / "runs").exists()
    assert cli.main(["run", "double-well", "--out", "one"]) == 0
    assert cli.main([*run, "0", "1", "--out", "one"]) == 2
    assert "one holds a single run: choose another --out for --seeds" in capsys.readouterr().err
    assert cli.main(["simulate", "double-well", "--seeds", "0..1"]) == 2
    assert begun == [0]
