"""The comparison on alanine dipeptide's data, in its quick form: rows, table, and rows read back."""

import importlib.util
import json
import math
from pathlib import Path

import pytest

from jbg.losses import NLL, LogDispersion, OwnSamples, ReverseKL

pytestmark = pytest.mark.study

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "alanine" / "from_data.py"


def load(path=SCRIPT):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.openmm
def test_rows_from_nothing_and_read_back(tmp_path, capsys, monkeypatch):
    script = load()
    script.main(rows=("log-dispersion",), seeds=1, out=tmp_path, quick=True)
    found = json.loads((tmp_path / "from-data.json").read_text())
    (row,) = found["rows"]
    assert row["frames"] == 480  # of 960, every second
    # ladders x temperatures x (rounds x (start, steps, rotations) + first), however many frames are kept
    # and for starts, 8 at once: 24 angles of two ladders, the given structure, 300 steps of descent
    starts = 8 * (6 + 1 + 301)
    assert row["energy_evaluations"]["data"] == 4 * 2 * (250 * (1 + 3 + 1) + 1) + starts
    assert row["energy_evaluations"]["training"] == 0
    assert row["n_samples"] == row["energy_evaluations"]["samples"] == 1000
    assert row["energy_evaluations"]["frames"] == 120  # of one ladder, held out
    assert 0 <= row["ess_fraction"] <= row["ess_fraction_clipped"] <= 1
    assert math.isfinite(row["forward_nll"])
    assert row["device"]["platform"]
    assert row["versions"]["jax"]
    assert "| 480 | log-dispersion | 20 | 1.25e+04 |" in capsys.readouterr().out

    def refuse(*args, **kwargs):
        raise AssertionError("a finished row must be read back")

    monkeypatch.setattr(script.engine, "train", refuse)
    script.main(rows=("log-dispersion",), seeds=1, out=tmp_path, quick=True)
    assert json.loads((tmp_path / "from-data.json").read_text()) == found


def test_stages_of_each_method():
    script = load()
    n_atoms = script.base_plan(quick=True).data.atoms
    plain, spread, reverse, own = (script.stages_of(m, n_atoms, 0.5) for m in script.METHODS)
    assert [s.steps for s in plain] == [s.steps for s in spread] == [160]
    dispersion = LogDispersion(script.WEIGHT)
    assert [s.losses for s in plain + spread] == [(NLL(),), (NLL(dispersion=dispersion),)]
    assert [s.energy_evaluations > 0 for s in plain + spread + own] == [False, False, False, True]
    assert [s.energy_evaluations for s in reverse] == [s.energy_evaluations for s in own]
    assert reverse[1].losses[1] == ReverseKL(path_gradient=True)
    assert own[1].losses[1] == OwnSamples(forward_kl=1.0, log_variance=0.3, flatten=0.5)
    with pytest.raises(SystemExit, match="--rows: KL is none of likelihood, log-dispersion"):
        script.main(rows=("KL",))


def test_lines_are_means_over_seeds():
    script = load()
    row = {
        "frames": 100, "method": "likelihood", "steps": 20, "forward_nll": -3.0,
        "energy_evaluations": {"data": 1000, "training": 200},
        "ess_fraction_clipped": 0.5, "wall_seconds": {"train": 4.0},
    }  # fmt: skip
    seeds = [row | {"ess_fraction": ess} for ess in (0.1, 0.3)]
    alone = row | {"ess_fraction": 0.2, "method": "own-samples"}
    both, single = script.lines_of([alone, *seeds])
    assert both["energies"] == 1200
    assert both["ess_fraction"]["value"] == pytest.approx(0.2)
    assert both["ess_fraction"]["stderr"] == pytest.approx(0.1)  # spread 0.2 / sqrt 2 of two values
    assert single["ess_fraction"]["stderr"] is None
    assert (
        script.text([both])
        .splitlines()[-1]
        .startswith(
            "| 100 | likelihood | 20 | 1.20e+03 | 20.0 +- 10.0 | 50.0 +- 0.0 | -3.00 +- 0.00 | 4 |"
        )
    )


def test_temperatures_beside_ladders():
    script = load(SCRIPT.with_name("temperatures.py"))
    estimate = lambda value: {"value": value, "stderr": 0.3}
    entry = {
        "temperature": 280.0,
        "energy": estimate(-70.0),
        "heat_capacity": {"value": None, "stderr": None},
        "differences": [{"states": ["a", "b"], "free_energy": estimate(2.0)}],
    }
    known = {
        "differences": {"b - a": [1.0, 0.4, ""]},
        "energy": [-71.0, 0.4],
        "heat_capacity": [0.25, 0.01],
    }
    found = {row["what"]: row for row in script.rows(entry, known)}
    assert found["F: b - a"]["z"] == pytest.approx(2.0)
    assert found["energy"]["z"] == pytest.approx(2.0)
    assert found["heat_capacity"]["z"] is None
