"""The scripts of Table 1 and of rebuilt frames, as small as they get."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "experiments/kim2023"


def run(script, *arguments):
    done = subprocess.run(
        [sys.executable, str(FOLDER / script), *map(str, arguments)], capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


def test_published_rows_are_those_of_the_paper(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    from published import PUBLISHED, table

    assert PUBLISHED["protein G"]["attention-all"]["nll"] == -309.10
    floor = {"of_means": 0.02, "printed": 0.4}
    against = {
        "distortion": {"of_means": 0.03, "printed": 0.5},
        "distortion_floor": floor,
        "energies": {"quantiles": [0, 0, -90.0, 0, 0], "clashing": 0.25},
        "reference_energies": {"quantiles": [0, 0, -100.0, 0, 0]},
    }
    for seed in (0, 1):
        row = {
            "row": "nsf-nll",
            "against": {"slice": against, "dynamics": against},
            "nll": {"dynamics": {"value": 10.0 + seed, "base": 20.0}},
        }
        (tmp_path / f"nsf-nll-{seed}.json").write_text(json.dumps(row))
    text = table(tmp_path, ("nsf-nll", "attention-all"), "alanine dipeptide")
    assert "nsf-nll (2) | dynamics | 0.030 +- 0.000 (0.020)" in text
    assert "10.000 +- 0.000, 10.000 +- 0.000" in text  # above both references
    assert "10.500 +- 0.707 (20.0)" in text
    assert "published: distortion 0.09 A" in text
    assert "published: distortion 0.03 A" in text  # of a row that was not run


@pytest.mark.slow
@pytest.mark.study
@pytest.mark.openmm
def test_rows_are_made_once_and_refused_under_other_settings(tmp_path):
    base = ("--sequence", "ACE-SER-ALA-NME", "--seeds", "3", "--quiet")
    base = (*base, "--scale", "tiny", "--preset", "tiny")
    rows = ("--rows", "nsf-nll", "attention-all", "--out", tmp_path / "a")
    status, out, err = run("table1.py", *base, *rows)
    assert status == 0, err
    assert "attention-all (1) | slice" in out
    row = json.loads((tmp_path / "a/attention-all-3.json").read_text())
    assert len(row["stages"]) == 4
    assert np.isfinite(row["nll"]["dynamics"]["value"])
    assert row["cpu_seconds_training"] > 0
    status, _, err = run("table1.py", *base, *rows, "--steps", "30")
    assert status != 0
    assert "choose another --out" in err
    few = (
        "--steps",
        "20",
        "--samples",
        "300",
        "--turn",
        "0.3",
        "--seeds",
        "0",
        "--out",
        tmp_path / "planted.json",
    )
    status, _, err = run("planted.py", "--data", tmp_path / "a/data", *few)
    assert status == 0, err
    found = json.loads((tmp_path / "planted.json").read_text())
    assert found["turned_torsions"] == 4  # phi and psi of two residues
    assert len(found["rows"]) == 6
    assert found["floor"]["of_means"] > 0
