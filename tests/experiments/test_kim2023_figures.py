"""The figures of Kim et al. 2023: the torsions drawn, errors, and (slow) all of them from a tiny table."""

import json
import shutil

import numpy as np
import pytest

from jbg.coords import HEAVY, KIM, fit_reduced, reduced_from_fit, ring_flips
from jbg.runs import load_run
from jbg.studies.dataset import LEARN
from jbg.studies.molecule.stored import load_molecule
from jbg.studies.protein.source import load_coordinates
from tests.coords.conftest import load as load_peptide
from tests.experiments.test_kim2023_table import FOLDER, run
from tests.experiments.test_scripts import check_png, load

PICTURES = ("fig3a.png", "fig4a.png", "fig4b.png", "fig4c.png", "chi.png")


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return load("kim2023/figures.py")


@pytest.mark.parametrize("which", [KIM, HEAVY])
def test_side_chain_torsions_are_named_from_ca_outwards(script, which):
    peptide = load_peptide("chignolin")  # GYDPETGTWG
    topology, zmatrix = peptide.topology, peptide.zmatrix
    options = {"rotors": peptide.rotors, "flips": ring_flips(topology, zmatrix), "which": which}
    coords = reduced_from_fit(topology, fit_reduced(topology, zmatrix, peptide.frames, **options))
    quads, folds, names = script.torsions_of(coords, topology)
    assert names == [
        *("chi1 TYR2", "chi2 TYR2", "chi1 ASP3", "chi2 ASP3", "chi1 GLU5", "chi2 GLU5"),
        *("chi3 GLU5", "chi1 THR6", "chi1 THR8", "chi1 TRP9", "chi2 TRP9"),
    ]
    axes = [tuple(topology.atom_names[i] for i in quad[2:0:-1]) for quad in quads[-11:]]
    assert axes == [
        *[("CA", "CB"), ("CB", "CG")] * 3,
        *[("CG", "CD"), ("CA", "CB"), ("CA", "CB"), ("CA", "CB"), ("CB", "CG")],
    ]
    symmetric = {name for name, fold in zip(names, folds[-11:], strict=True) if fold == 2}
    assert symmetric == {"chi2 TYR2", "chi2 ASP3", "chi3 GLU5"}
    assert set(folds[:-11]) == {1}
    assert len(quads) == 9 + 9 + 11  # phi, psi, chi


def test_missing_rows_and_samples(script, tmp_path):
    with pytest.raises(SystemExit, match="no row of seed 0 in .* table1.py"):
        script.rows_of(tmp_path, 0)
    (tmp_path / "nsf-nll-0.json").write_text(json.dumps({"row": "nsf-nll", "asked": {}}))
    with pytest.raises(SystemExit, match=r"nsf-nll-0\.npz is missing: delete .*nsf-nll-0\.json"):
        script.rows_of(tmp_path, 0)


def test_rows_come_in_the_order_of_the_paper_and_without_broken_samples(script, tmp_path):
    for name in ("attention-all", "mlp-nll", "nsf-nll"):
        x = np.zeros((3, 6), np.float32)
        x[1, 0] = np.nan
        (tmp_path / f"{name}-4.json").write_text(json.dumps({"row": name, "asked": {"within": 0}}))
        np.savez(tmp_path / f"{name}-4.npz", x=x, u=np.arange(5))
    rows, asked = script.rows_of(tmp_path, 4)
    assert list(rows) == ["nsf-nll", "attention-all", "mlp-nll"]
    assert asked == {"within": 0}
    assert rows["mlp-nll"].x.shape == (2, 2, 3)
    assert len(rows["mlp-nll"].u) == 5


def finite(value):
    """Whether all numbers in nested dictionaries and lists are finite."""
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    if isinstance(value, list):
        return all(map(finite, value))
    return not isinstance(value, float) or np.isfinite(value)


def check_numbers(found):
    """Every number is finite, and floors and references stand beside."""
    assert finite(found)
    parts = ("rmsf", "map", "novelty", "energies", "chi")
    assert all("dynamics" in found[part]["reference"] for part in parts)
    assert found["rmsf"]["residue"] == [2, 3]  # SER and ALA, after the cap
    for name in ("test", "nsf-nll"):
        assert len(found["rmsf"]["sets"][name]) == 2
    overlap = found["map"]["sets"]["nsf-nll"]
    assert 0 <= overlap["overlap"] <= 1
    assert 0 < overlap["floor_overlap"] < 1
    assert found["chi"]["torsions"] == ["chi1 SER2"]
    assert found["chi"]["sets"]["nsf-nll"]["floor"][0] > 0
    assert set(found["energies"]["sets"]) >= {"training", "test", "nsf-nll"}
    assert found["frames"]["nsf-nll"] == [200, 200]


@pytest.mark.slow
@pytest.mark.study
@pytest.mark.openmm
def test_from_a_tiny_table(script, tmp_path):
    out, seed = tmp_path / "a", ("--seeds", "3")
    tiny = ("--sequence", "ACE-SER-ALA-NME", "--scale", "tiny", "--preset", "tiny", "--quiet")
    status, _, err = run("table1.py", *tiny, *seed, "--rows", "nsf-nll", "--out", out)
    assert status == 0, err
    # rows whose numbers are known: the training frames themselves, and the test frames
    data = load_run(out / "data")
    coords = load_coordinates(data, load_molecule(data), "dynamics")
    known, stretch = script.simulated(data, coords, "dynamics")
    for name, frames in known.items():
        x = frames.x.reshape(len(frames.x), -1)
        np.savez(out / f"{name}-copied-3.npz", x=x, u=frames.u)
        row = json.loads((out / "nsf-nll-3.json").read_text()) | {"row": f"{name}-copied"}
        (out / f"{name}-copied-3.json").write_text(json.dumps(row))
    # nothing is left out where the target is everywhere: each chain is one stretch
    assert len(np.unique(stretch)) == len(np.unique(known["training"].chain))
    assert not set(known["training"].chain) & set(known["test"].chain)
    assert set(data.load_arrays("data/dynamics.npz")["role"][known["training"].chain]) == {LEARN}

    base = ("--rows-in", out, "--seed-of-rows", "3")
    status, text, err = run("figures.py", *base)
    assert status == 0, err
    assert "nsf-nll | " in text
    for name in PICTURES:
        check_png(out / "figures" / name)
    found = json.loads((out / "figures/figures.json").read_text())
    check_numbers(found)
    novelty, maps = found["novelty"]["sets"], found["map"]["sets"]
    assert found["novelty"]["atoms"] == "backbone"  # two CA atoms are too few
    assert novelty["training-copied"]["median"] < 1e-3 < novelty["nsf-nll"]["median"]
    assert novelty["training-copied"]["closer"] == 1.0
    copied = novelty["test-copied"]
    assert copied["median"] == pytest.approx(copied["heldout_median"], rel=1e-3)
    assert copied["median"] > 1e-3
    assert maps["test-copied"]["overlap"] == pytest.approx(1.0, abs=1e-3)
    assert maps["training-copied"] == pytest.approx(maps["training"], abs=1e-3)
    assert found["chi"]["sets"]["test-copied"]["total_variation"][0] < 1e-3
    rmsf = found["rmsf"]["sets"]
    np.testing.assert_allclose(rmsf["test-copied"], rmsf["test"], rtol=1e-4)
    energies = found["energies"]["sets"]
    assert energies["test-copied"]["quantiles"] == energies["test"]["quantiles"]

    other = ("--projection", "tica", "--lag", "2", "--reference", "slice", "--figures", tmp_path)
    status, _, err = run("figures.py", *base, *other)
    assert status == 0, err
    tica = json.loads((tmp_path / "figures.json").read_text())
    assert tica["map"]["lag"] == 2
    assert "slice" in tica["map"]["reference"]
    assert "dynamics" in tica["learned_from"]
    for file in out.glob("*-3.json"):
        row = json.loads(file.read_text())
        row["asked"]["simulations"] = "of others"
        file.write_text(json.dumps(row))
    status, _, err = run("figures.py", *base)
    assert status != 0
    assert "does not hold the data of these rows" in err
    shutil.rmtree(out / "data")
    status, _, err = run("figures.py", *base)
    assert status != 0
    assert "is not a run folder" in err.splitlines()[-1]
