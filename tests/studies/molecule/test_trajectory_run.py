"""Whole runs that learn from trajectories of the user, to the report."""

import numpy as np
import pytest

from jbg.studies import engine
from tests import own_trajectories as own
from tests import tiny

pytestmark = [pytest.mark.openmm, pytest.mark.slow]


def results_of(folder, **options):
    run = engine.open_run(folder, tiny.molecule("alanine-dipeptide", steps=20, **options))
    engine.run_all(run, quiet=True)
    results = run.read_json("results.json")
    tiny.check_results(results)
    return results, (run.path / "report.html").read_text()


def test_one_trajectory_gives_a_report_that_says_so(tmp_path):
    """Rounded, with rigid bonds and a broken frame."""
    x = own.rigid(own.chains().reshape(-1, 22, 3))
    x[5] *= np.array([1, 1, -1])
    results, report = results_of(tmp_path / "a", data=own.write(tmp_path / "a.xtc", x))
    found = results["own_data"]
    assert (found["files"], found["blocks"], found["left_out"], found["restored"]) == (1, 24, 1, 12)
    assert found["reasons"] == []
    assert found["effective"] is None
    assert "Your trajectories" in report
    assert "in 24 blocks of one trajectory. Errors rest on blocks of one chain." in report
    assert "12 bonds with hydrogen are constrained" in report
    (entry,) = results["free_energy_differences"]
    assert (
        entry["reference"] is None
    )  # twelve chains one after the other cross at their seams alone
    assert results["worth"]["differences"][0]["factor"] is None
    assert results["gap"]["frames"] > 0


def test_biased_trajectories_are_not_taken_for_the_ensemble(tmp_path):
    """No BAR, no reference, no distance between maps; the reason says what the weights give."""
    phi = np.arange(12) % 2 == 1
    np.save(tmp_path / "w.npy", np.repeat(np.where(phi, 0.04, 1.96), 120))
    options = {"data": own.write_chains(tmp_path, 12, ".dcd"), "weights": tmp_path / "w.npy"}
    results, report = results_of(tmp_path / "a", **options)
    (entry,) = results["free_energy_differences"]
    assert entry["reference"] is None
    assert entry["reference_reason"].startswith("the frames are of a biased simulation")
    assert "their weights give" in entry["reference_reason"]
    assert "no BAR: the frames are of a biased simulation" in entry["estimator_reason"]
    assert entry.get("estimator") != "bar"
    assert results["ramachandran_tv"] is None
    assert "biased simulation" in results["ramachandran_tv_reason"]
    assert results["own_data"]["effective"] == pytest.approx(749.4, abs=1)
    assert results["forward_nll"] is not None
    assert not any("no reference" in warning for warning in results["warnings"])
    assert "Effective frames" in report
