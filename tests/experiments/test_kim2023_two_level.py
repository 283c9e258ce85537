"""The generator of two levels on alanine dipeptide: what it keeps, its table, and (slow) the whole, tiny."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from jbg.coords import coordinates_from_fit, fit_coordinates
from jbg.coords.whitening import whitening
from tests.coords.conftest import load as load_peptide
from tests.experiments.test_scripts import load

SCRIPT = "kim2023/two_level.py"


def test_kept_variables_come_first_and_describe_the_same_density():
    peptide = load_peptide("dialanine")
    fit = fit_coordinates(peptide.zmatrix, peptide.frames, rotors=peptide.rotors)
    ordered, n_kept = load(SCRIPT).kept_first_fit(peptide.topology, fit, "kim")
    labels = coordinates_from_fit(peptide.topology, ordered).labels
    backbone = [i for i, label in enumerate(labels) if label.startswith(("phi", "psi", "omega"))]
    assert max(backbone) < n_kept < len(labels)
    assert not any(label.startswith("bond") for label in labels[:n_kept])
    sums = [np.log(np.diag(f.factor)).sum() for f in (fit, ordered)]
    assert sums[1] == pytest.approx(sums[0], abs=1e-8)
    assert whitening(ordered.whitening).dim_in == len(labels)


def test_a_heldout_likelihood_counts_frames_as_training_does():
    script = load(SCRIPT)
    examples = SimpleNamespace(
        heldout=np.array([[1.0], [3.0]], np.float32), heldout_copies=np.array([3, 1])
    )
    problem = SimpleNamespace(examples=examples)
    assert script.heldout_nll(problem, lambda v: -2 * v[0]) == pytest.approx(2 * (3 + 3) / 4)


def test_the_table():
    row = {
        "recipe": "two-level", "seed": 5, "ess_fraction": 0.25, "pareto_k": 0.3, "largest_weight_share": 0.001,
        "free_energy_difference": {"value": 2.0, "stderr": 0.05}, "heldout_nll": 40.0,
        "heldout_nll_by_level": {"kept": 10.0, "rest": 30.0}, "cpu_seconds": {"train": 60.4},
    }  # fmt: skip
    script = load(SCRIPT)
    last = script.text([row]).splitlines()[-1]
    assert last == (
        "| two-level | 5 | 25.0 | 0.30 | 0.10 | 2.00 +- 0.05 | 40.00 | 10.00 + 30.00 | 60 |"
    )
    with pytest.raises(SystemExit, match="--recipes: three-level is none of one-level, two-level"):
        script.main(recipes=("three-level",))


@pytest.mark.study
@pytest.mark.slow
@pytest.mark.openmm
def test_from_nothing_and_read_back(tmp_path, monkeypatch):
    script = load(SCRIPT)
    script.main(seeds=(1,), n=1000, steps=20, scale="tiny", out=tmp_path)
    found = json.loads((tmp_path / "two-level.json").read_text())
    one, two = found["rows"]
    assert (one["recipe"], two["recipe"]) == ("one-level", "two-level")
    assert len(two["kept"]) + two["n_rest"] == 60
    assert any(label.startswith("phi") for label in two["kept"])
    # the levels add up, and the variables of the two recipes are a rotation of each other's
    assert sum(two["heldout_nll_by_level"].values()) == pytest.approx(two["heldout_nll"], abs=1e-2)
    assert abs(two["heldout_nll"] - one["heldout_nll"]) < 10
    for row in found["rows"]:
        assert 0 < row["ess_fraction"] <= 1
        assert math.isfinite(row["ln_z"]["value"])
        assert row["cpu_seconds"]["train"] > 0

    def refuse(*args, **kwargs):
        raise AssertionError("a finished row must be read back")

    monkeypatch.setattr(script.engine, "train", refuse)
    script.main(seeds=(1,), n=1000, steps=20, scale="tiny", out=tmp_path)
    assert json.loads((tmp_path / "two-level.json").read_text()) == found
