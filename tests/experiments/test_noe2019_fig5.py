"""All atoms stage by stage: the table, what it costs, and (slow) the whole on a small peptide."""

import json
from pathlib import Path

import numpy as np
import pytest

import jbg
from jbg.flows import RealNVPConfig
from jbg.studies.protein.published import published_stages
from tests.experiments.test_scripts import load

SCRIPT = "noe2019/fig5.py"


def row(stage, middle, spent):
    geometry = {k: {"median": 0.03, "floor_median": 0.04} for k in ("bonds", "angles", "torsions")}
    return {
        "stage": stage, "energies_spent": spent, "energy_quantiles_above_md_mean": [0, 1, middle, 3, None],
        "within_three_std": 0.5, "clashing": 0.25, "invalid": 0.125, "geometry": geometry,
    }  # fmt: skip


def test_the_table():
    rows = [row("untrained", None, 0), row("by-energy", 12.34, 2e5)]
    lines = load(SCRIPT).text(rows, {"std": 15.0}).splitlines()
    assert lines[2] == ("| untrained | 0 | infinite | 50.0 | 25.0 | 12.5 | 0.030 | 0.030 | 0.030 |")
    assert lines[3].startswith("| by-energy | 2e+05 | 12.3 |")
    assert lines[4] == "| chains |  | 0, std 15 |  |  |  | 0.040 | 0.040 | 0.040 |"


@pytest.mark.openmm
def test_the_published_schedule(tmp_path, capsys):
    """Fifteen stages, those of the scale; and in the words of the script how much of the paper's it is."""
    script = load(SCRIPT)
    asked = {"sequence": "ACE-ALA-NME", "network": "realnvp"}
    plan = script.plan_of(asked | {"strategy": "by-energy"}, "small", 0, "published")
    assert plan.stages == published_stages("fig5", 0.2)
    assert plan.flow == RealNVPConfig()
    assert len(script.plan_of(asked, "small", 0).stages) == 2
    script.main(**asked, schedule="published", scale="paper", dry_run=True, out=tmp_path)
    said = capsys.readouterr().out
    assert "stages of the paper with 1 of its energies" in said
    assert "training 2.8e+06" in said


@pytest.mark.study
@pytest.mark.slow
@pytest.mark.openmm
def test_from_nothing_and_read_back(tmp_path, capsys):
    script = load(SCRIPT)
    asked = {"sequence": "ACE-ALA-NME", "scale": "tiny", "n": 600, "out": tmp_path}
    script.main(**asked, dry_run=True)
    assert not (tmp_path / "run").exists()
    assert "22 atoms; energies: dynamics" in capsys.readouterr().out
    script.main(**asked)
    found = json.loads((tmp_path / "fig5.json").read_text())
    assert [r["stage"] for r in found["rows"]] == ["untrained", "by-example", "by-energy"]
    spent = [r["energies_spent"] for r in found["rows"]]
    assert spent[0] == spent[1] == 0 < spent[2]
    for each in found["rows"]:
        quantiles = [np.inf if q is None else q for q in each["energy_quantiles_above_md_mean"]]
        assert (np.diff(quantiles) >= 0).all()
        assert 0 <= each["within_three_std"] <= 1
    chains = found["chains"]
    assert [row["chain"] for row in chains] == list(range(8))
    assert {row["role"] for row in chains} == {"learn", "watch", "aside"}
    assert all(0 < row["rmsd_nm"] < 0.2 for row in chains)
    assert (tmp_path / "fig5.png").exists()
    assert (tmp_path / "structures.pdb").exists()


@pytest.mark.openmm
def test_bridges_by_their_residues():
    peptide = Path(__file__).parents[2] / "experiments/noe2019/structures/cys-ala-ala-cys.pdb"
    topology = jbg.molecule(pdb=peptide).topology
    found = load("noe2019/chain_table.py").named_bridges(topology)
    assert list(found) == ["2-5"]
    names = [topology.atom_names[i] for i in found["2-5"]]
    assert names == ["CB", "SG", "SG", "CB"]
