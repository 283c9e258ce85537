"""Every script of the plane runs from nothing to its table and figure, with few steps."""

import importlib.util
import json
import math
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest

from jbg.report.comparison import Row
from tests import tiny

pytestmark = pytest.mark.study

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
PNG = b"\x89PNG\r\n\x1a\n"


def load(name: str):
    """A script as a module; experiments are no package, and a script finds those beside it."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, EXPERIMENTS / name)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str((EXPERIMENTS / name).parent))
        spec.loader.exec_module(module)
    return module


def check_table(path: Path, script) -> list[dict]:
    """Every system and training has its rows, every row its columns, every number is finite."""
    rows = json.loads(path.read_text())
    assert {tuple(row) for row in rows} == {Row._fields}
    found = {(row["system"], row["training"]) for row in rows}
    assert found == {(s, t) for s in script.SYSTEMS for t in script.TRAININGS}
    for row in rows:
        numbers = [row[k] for k in ("published", "reference", "value", "stderr")]
        assert all(n is None or math.isfinite(n) for n in numbers)
        assert any(n is not None for n in numbers)
    return rows


def check_png(path: Path) -> None:
    """A picture of a sensible size."""
    start = path.read_bytes()[:24]
    assert start[:8] == PNG
    width, height = struct.unpack(">II", start[16:24])
    assert 300 < width < 3000
    assert 300 < height < 3000


def only(monkeypatch, script, system: str, trainings: tuple[str, ...]) -> None:
    """One system and some of the trainings: each costs a compilation."""
    monkeypatch.setattr(script, "SYSTEMS", {system: script.SYSTEMS[system]})
    monkeypatch.setattr(script, "TRAININGS", {name: script.TRAININGS[name] for name in trainings})


@pytest.mark.slow
def test_figure_2(tmp_path, capsys, monkeypatch):
    script = load("noe2019/fig2.py")
    only(monkeypatch, script, "double-well", ("with RC",))
    script.main(seeds=1, out=tmp_path, fast=True)
    rows = check_table(tmp_path / "table.json", script)
    check_png(tmp_path / "fig2.png")
    exact = {r["quantity"]: r["reference"] for r in rows}
    assert exact["F(right) - F(left)"] == pytest.approx(3.380, abs=1e-3)
    # U of the top and of the left minimum are 10.794 apart; bins of 0.05 change it by U'' 0.05^2 / 24 and less
    assert exact["barrier along x"] == pytest.approx(10.794, abs=0.02)
    shown = capsys.readouterr().out
    assert all(row["quantity"] in shown for row in rows)

    def refuse(*args, **kwargs):
        raise AssertionError("what is there must be read back")

    monkeypatch.setattr(script.engine, "run_all", refuse)
    script.main(seeds=1, out=tmp_path, fast=True)
    assert check_table(tmp_path / "table.json", script) == rows


@pytest.mark.slow
def test_loss_combinations(tmp_path, monkeypatch):
    script = load("hsu_fobe/plane.py")
    only(monkeypatch, script, "mueller-brown", ("ML+KL+RC",))
    script.main(seeds=1, out=tmp_path, fast=True)
    rows = check_table(tmp_path / "table.json", script)
    check_png(tmp_path / "profiles.png")
    exact = {r["quantity"]: r["reference"] for r in rows}
    assert exact["F(B) - F(A)"] == pytest.approx(3.77, abs=0.03)  # as published, digitised


def test_lost_states_stand_beside_the_difference():
    script = load("hsu_fobe/plane.py")
    grid = script.GRID["double-well"]
    exact = grid**4 - 6 * grid**2 + grid
    p = {"centers": grid, "reference": exact, "reweighted": exact, "stderr": 0 * grid}
    entry = {"states": ["left", "right"], "reference": 3.38, "value": None, "stderr": None}
    warnings = ["one sample holds 6 %", "state right is nearly missing from the samples: 0.0"]
    results = {"free_energy_differences": [entry], "ess_fraction": 0.9, "warnings": warnings}
    run = SimpleNamespace(read_json=lambda name: results)
    rows = script.rows_of(run, p, "double-well", "KL", 0)
    assert [row.note for row in rows if "missing" in row.note] == [warnings[1]]
    assert rows[0].value is None
    assert rows[0].published == 3.463
    assert rows[1].value == pytest.approx(10.794, abs=0.01)


@pytest.mark.slow
def test_seeds(tmp_path):
    script = load("plane_seeds.py")
    script.main("double-well", seeds=2, first=3, out=tmp_path, fast=True)
    found = json.loads((tmp_path / "summary.json").read_text())
    assert [row["seed"] for row in found["rows"]] == [3, 4]
    assert len({tuple(row) for row in found["rows"]}) == 1
    (entry,) = found["summary"]
    assert entry["seeds"] == 2
    assert entry["reference"] == pytest.approx(3.380, abs=1e-3)
    assert math.isfinite(entry["largest_log_z_error"])
    assert entry["refused"] == 2 or math.isfinite(entry["largest_error"])


def test_each_temperature_has_its_own_row():
    script = load("plane_seeds.py")
    entry = {"states": ["A", "B"], "reference": 3.0, "value": 3.1, "interval95": [2.9, 3.3]}
    at = {"log_z": {"value": 1.0, "reference": 1.5}, "ess_fraction": 0.7}
    results = {
        "seed": 5,
        "wall_seconds": {"train": 2.0, "sample": 1.0},
        "free_energy_differences": [entry | {"tau": 1.0}, entry | {"tau": 2.0, "value": None}],
        "temperatures": [at | {"tau": 1.0}, at | {"tau": 2.0, "ess_fraction": 0.2}],
    }
    first, second = script.rows_of(results)
    assert first["error"] == pytest.approx(0.1)
    assert first["half_width"] == pytest.approx(0.2)
    assert first["covers"]
    assert first["log_z_error"] == pytest.approx(-0.5)
    assert second["error"] is None
    assert second["ess_fraction"] == 0.2
    assert not second["covers"]


def test_the_summary_counts_intervals():
    script = load("plane_seeds.py")
    row = {"states": "a b", "tau": 1.0, "reference": 1.0, "log_z_error": -0.2, "seconds": 3.0}
    rows = [
        row | {"error": 0.1, "half_width": 0.2, "covers": True, "ess_fraction": 0.5},
        row | {"error": -0.3, "half_width": 0.2, "covers": False, "ess_fraction": 0.4},
        row | {"error": None, "half_width": None, "covers": False, "ess_fraction": 0.9},
    ]
    summary = script.summary_of(rows)
    assert summary["refused"] == 1
    assert summary["intervals_that_cover"] == "1 of 2"
    assert summary["mean_error"] == pytest.approx(-0.1)
    assert summary["mean_error_stderr"] == pytest.approx(0.2)  # spread 0.2 sqrt 2 of two values
    assert summary["largest_error"] == 0.3
    assert summary["smallest_ess_fraction"] == 0.4
    assert summary["largest_log_z_error"] == 0.2


@pytest.mark.slow
def test_alanine_from_energies_alone(tmp_path, monkeypatch, capsys):
    script = load("alanine/energy_only.py")
    tiny_plan = lambda name, *, preset, **options: tiny.molecule(name, steps=20, **options)
    monkeypatch.setattr(script.jbg, "make_plan", tiny_plan)
    arguments = dict(out=tmp_path, recipes=("own-samples",), reference_rounds=100, n=3000)
    script.main(**arguments)
    found = json.loads((tmp_path / "energy-only-quick.json").read_text())
    (row,) = found["rows"].values()
    assert row["n_samples"] == 3000
    assert 0 < row["ess_fraction"] <= row["ess_fraction_clipped"] <= 1
    assert 0 < row["ramachandran_tv_noise"] <= 1  # one sample may hold all the weight
    assert "| own-samples |" in capsys.readouterr().out

    def refuse(*args, **kwargs):
        raise AssertionError("what is there must be read back")

    monkeypatch.setattr(script.engine, "train_in", refuse)
    script.main(**arguments)
