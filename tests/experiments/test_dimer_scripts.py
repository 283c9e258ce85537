"""The dimer's scripts: their tables from numbers that are known, and (slow) whole in their fast setting."""

import importlib
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from jbg.runs import load_run
from jbg.sampling.generate import SampleSet
from jbg.studies.dataset import FRAMES
from jbg.studies.evidence import Weighted
from tests.experiments.test_scripts import check_png, load

pytestmark = pytest.mark.study

TAUS = (0.5, 1.0, 2.0)


def check_rows(path) -> list[dict]:
    rows = json.loads(path.read_text())
    for row in rows:
        numbers = [row[k] for k in ("published", "reference", "value", "stderr")]
        assert all(n is None or math.isfinite(n) for n in numbers)
    return rows


def test_differences_stand_beside_published_ones():
    script = load("noe2019/fig3.py")
    entry = {"tau": 1.0, "value": 6.8, "stderr": 0.03, "reference": 6.74}
    refused = entry | {"value": None, "stderr": None, "reason": "few effective samples"}
    results = {"free_energy_differences": [entry], "reweighted_differences": [refused]}
    rows, series = script.differences(SimpleNamespace(read_json=lambda name: results, seed=3))
    bar, plain = rows
    assert (bar.published, bar.reference, bar.value, bar.stderr, bar.seed) == (
        7.51,
        6.74,
        6.8,
        0.03,
        3,
    )
    assert "6.15; 7.1 +- 0.27" in bar.note  # both published references
    assert (plain.value, plain.note) == (None, "few effective samples")
    assert series["umbrella sampling"] == ([1.0], [6.74], None)
    assert series["BAR through the flow"] == ([1.0], [6.8], [0.03])
    assert series["reweighting"] == ([], [], [])
    assert set(series) == set(importlib.import_module("jbg.plotting.dimer").MARKS)
    repeats = {0.5: (14.29, 15.26, 13.63), 1.0: (6.63, 7.12, 7.55), 2.0: (3.37, 3.30, 3.07)}
    for tau, (mean, error) in script.STORED.items():  # of the stored repeats
        assert mean == pytest.approx(np.mean(repeats[tau]), abs=0.01)
        assert error == pytest.approx(np.std(repeats[tau], ddof=1) / math.sqrt(3), abs=0.01)


def test_published_totals_are_root_sums_of_squares():
    for row in load("noe2019/tableS1.py").PUBLISHED:
        *errors, total = row[5:]
        assert len(errors) == len(TAUS)
        assert math.sqrt(sum(e**2 for e in errors)) == pytest.approx(total, abs=0.05)


def test_the_standard_error_of_a_known_profile():
    """Equal weights, d even on [0.5, 2.5]: -ln p of a bin has the error sqrt((1 - p) / (n p))."""
    script, n = load("noe2019/tableS1.py"), 20_000
    d = np.random.default_rng(0).uniform(*script.BOUNDS, n)
    x = np.zeros((n, 76))
    x[:, 2] = d
    edges = np.linspace(0.5, 2.5, 101)
    flat = np.full(100, math.log(2.0))  # -ln of the density 1/2
    arrays = {f"edges_{t}": edges for t in range(3)} | {f"profile_{t}": flat for t in range(3)}
    run = SimpleNamespace(
        load_arrays=lambda name: arrays,
        seed_for=lambda name: 1,
        seed=0,
        config={"sampling": {"taus": list(TAUS)}},
    )
    samples = SampleSet(x, np.zeros(n), np.zeros(n))
    weighted = [Weighted(tau, samples, np.zeros(n), {}) for tau in TAUS]
    rows = script.rows_of(run, weighted, "flat", [1.0, 2.0, 3.0, 4.0], "")
    p = 1 / script.BINS
    exact = math.sqrt((1 - p) / (n * p))
    # 200 replicas in each of 50 bins: 1 / sqrt(2 * 200 * 50); the counts scatter by 0.05 / sqrt(50) more
    for row, published in zip(rows, (1.0, 2.0, 3.0), strict=False):
        assert row.value == pytest.approx(exact, rel=0.05)
        assert row.published == published
        assert f"{n} effective samples" in row.note
        assert float(row.note.split("rms error ")[1].split(" ")[0]) == pytest.approx(
            exact, abs=0.03
        )
    assert rows[-1].quantity == "total"
    assert rows[-1].value == pytest.approx(math.sqrt(3) * exact, rel=0.05)
    assert rows[-1].published == 4.0


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Figure 3 in its fast setting."""
    out = tmp_path_factory.mktemp("fig3")
    load("noe2019/fig3.py").main(out=out, fast=True)
    return out


@pytest.mark.slow
def test_figure_3(shown, monkeypatch):
    rows = check_rows(shown / "table.json")
    check_png(shown / "fig3.png")
    kinds = {(row["training"], row["quantity"]) for row in rows}
    for stage in ("by-example", "by-example-and-energy"):
        assert (f"after {stage}", "ESS fraction") in kinds
        assert (f"after {stage}", "forward gap") in kinds
    assert all(row["value"] is not None or row["note"] for row in rows)
    script = load("noe2019/fig3.py")

    def refuse(*args, **kwargs):
        raise AssertionError("what is there must be read back")

    monkeypatch.setattr(script.engine, "run_all", refuse)
    script.main(run=shown / "run-seed-0", out=shown / "again", fast=True)
    assert check_rows(shown / "again" / "table.json") == rows


@pytest.mark.slow
def test_table_s1(shown, tmp_path, monkeypatch):
    script = load("noe2019/tableS1.py")
    monkeypatch.setattr(script, "PUBLISHED", ((1, 1, 8, *script.PUBLISHED[0][3:]),))
    go = lambda: script.main(run=shown / "run-seed-0", out=tmp_path, fast=True)
    go()
    rows = check_rows(tmp_path / "table.json")
    assert len({row["training"] for row in rows}) == 2
    assert [row["quantity"] for row in rows] == ["s.e. of F(d), tau 1", "total"] * 2
    monkeypatch.setattr(
        script.two_generators, "train_generator", None
    )  # what is there is read back
    go()
    assert check_rows(tmp_path / "table.json") == rows


@pytest.mark.slow
def test_the_dimer_of_hsu_and_fobe(tmp_path):
    script = load("hsu_fobe/dimer.py")
    script.main(out=tmp_path, fast=True)
    rows = check_rows(tmp_path / "table.json")
    assert {row["training"] for row in rows} == {"ML", "ML+KL"}
    of_ml = {row["quantity"]: row for row in rows if row["training"] == "ML"}
    assert of_ml["lowest energy"]["published"] == 119.3
    assert (
        of_ml["lowest energy"]["value"] > of_ml["lowest energy"]["reference"]
    )  # of an untrained flow
    assert 0 < of_ml["step, each sample"]["value"] < 1
    for row in rows:
        if row["quantity"].startswith("F(open)"):
            assert row["value"] is not None or row["note"]
    run = load_run(tmp_path / "data-seed-0")
    assert run.config["options"] == run.config["options"] | {"dimer": "hsu-fobe", "wall": 100.0}
    assert (run.path / FRAMES).exists()
