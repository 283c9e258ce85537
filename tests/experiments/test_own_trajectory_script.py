"""What a user is given for a seed: an umbrella whose table undoes it, trajectories, and the summary of the
runs."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from jbg.studies.dataset import Dataset
from jbg.systems.frame_weights import log_weights
from jbg.systems.openmm_pool import ContextPool
from jbg.units import beta
from tests import own_trajectories as own
from tests.molecules import peptide

pytestmark = [pytest.mark.study, pytest.mark.openmm]

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "alanine" / "own_trajectory.py"


def load():
    spec = importlib.util.spec_from_file_location("own_trajectory", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_umbrella_is_what_the_table_says(tmp_path):
    script, molecule = load(), peptide(own.SEQUENCE)
    x = own.chains()[:6, ::20]
    energies = []
    for each in (molecule, script.umbrella(molecule)):
        with ContextPool(each.system_xml, platform="Reference") as pool:
            energies.append(pool.energies(x.reshape(-1, 22, 3)))
    bias = script.bias_of(molecule, x.reshape(-1, 66))
    np.testing.assert_allclose(energies[1] - energies[0], bias, atol=1e-8)
    data = Dataset.of_chains(x.reshape(6, -1, 66))
    given = script.user_files(molecule, data, "biased", 0, tmp_path / "files")
    assert [path.name for path in given["data"]] == [f"chain-{i}.xtc" for i in range(6)]
    found = log_weights(given["weights"], [6] * 6, [np.full(6, np.nan)] * 6, 300.0)
    np.testing.assert_allclose(found, beta(300.0) * bias, atol=1e-6)
    assert "weights" not in script.user_files(molecule, data, "unbiased", 0, tmp_path / "others")


def test_the_summary_counts_what_is_given():
    rows = [{"z": 1.0}, {"z": None}, {"z": -2.0}]
    found = load().summary(rows)
    assert found == {"runs": 3, "given": 2, "chi2": 5.0, "largest": 2.0}
