"""Trajectories from run folders: weighted draws of the samples, frames of the data, and what is refused."""

import sys
from types import SimpleNamespace

import mdtraj
import numpy as np
import pytest

from jbg import runs
from jbg.cli import main as cli
from jbg.interfaces import ConfigError
from jbg.runs import trajectory
from jbg.sampling.generate import Ensemble, generate
from jbg.studies import engine
from jbg.studies.dataset import Dataset
from jbg.studies.molecule import export

pytestmark = pytest.mark.study

WEIGHTS = np.array([1.0, 0.0, 3.0])


@pytest.fixture(scope="module")
def molecule(alanine_dipeptide):
    return alanine_dipeptide


@pytest.fixture(scope="module")
def kinds(molecule):
    """Three configurations whose first bond tells them apart."""
    kinds = np.repeat(molecule.positions[None], 3, axis=0)
    kinds[:, 0, 0] += [0.0, 0.1, 0.2]
    return kinds


@pytest.fixture
def run(molecule, kinds, tmp_path, monkeypatch):
    everywhere = SimpleNamespace(restriction=None, symmetry=None)
    monkeypatch.setattr(engine, "load_problem", lambda run: everywhere)
    run = engine.open_run(tmp_path / "run", engine.make_plan("alanine-dipeptide"))
    run.write_text("data/molecule.pdb", molecule.pdb)
    Dataset.of_chains(np.repeat(kinds, 10, axis=0).reshape(1, 30, 66)).save(run)
    turned = kinds[:, :, [1, 2, 0]] + 3.0  # samples lie anywhere

    def draw(params, key):
        return turned.reshape(3, -1), np.zeros(3), -np.log(np.maximum(WEIGHTS, 1e-30))

    generate(
        run.path / Ensemble().folder, draw, (), n=3, dim=66, batch=3, key=np.zeros(2, np.uint32)
    )
    return run


def which(path, run, kinds):
    """Of each frame, the configuration it is."""
    found = mdtraj.load(str(path), top=str(run.path / "data/molecule.pdb")).xyz
    bond = lambda x: np.linalg.norm(x[:, 0] - x[:, 1], axis=1)
    return np.abs(bond(found)[:, None] - bond(kinds)).argmin(1), found


@pytest.mark.parametrize("name", ["\u00fc.xtc", "\u00fc/a.dcd", "\u00fc.pdb"])
def test_names_may_have_letters_that_mdtraj_cannot_spell(run, tmp_path, name):
    assert export.write_trajectory(run, tmp_path / name, n=4).frames == 4
    assert (tmp_path / name).stat().st_size > 500
    assert not list((tmp_path / name).parent.glob("*partial*"))


@pytest.mark.parametrize("suffix", [".dcd", ".xtc", ".trr", ".pdb", ".nc", ".h5"])
def test_samples_are_drawn_by_their_weights(run, kinds, tmp_path, suffix, monkeypatch):
    if suffix == ".h5":
        pytest.importorskip("tables")
    monkeypatch.setattr(trajectory, "CHUNK", 7)  # the last one is not full
    out = tmp_path / f"new/a{suffix}"
    assert export.write_trajectory(run, out, n=40) == (40, 2, None)
    drawn, found = which(out, run, kinds)
    np.testing.assert_array_equal(np.bincount(drawn, minlength=3), [10, 0, 30])
    assert len(set(np.flatnonzero(drawn == 0)) - set(range(10)))  # in no order
    heavy = np.ptp(found[:, 4:], axis=0)
    assert heavy.max() < 0.2  # superposed: all but the first atom nearly coincide


def test_samples_outside_of_the_target_are_left_out(run, kinds, tmp_path, monkeypatch):
    third = kinds[2].ravel()[[1, 2, 0]] + 3.0  # the first atom, turned
    near = SimpleNamespace(
        restriction=lambda x: np.abs(x[:, :3] - third).max(1) > 1e-3, symmetry=None
    )
    monkeypatch.setattr(engine, "load_problem", lambda run: near)
    assert export.write_trajectory(run, tmp_path / "a.dcd", n=40) == (40, 1, None)
    assert set(which(tmp_path / "a.dcd", run, kinds)[0]) == {0}


def test_weighted_samples_have_their_weights_beside_them(run, kinds, tmp_path):
    done = export.write_trajectory(run, tmp_path / "a.nc", n=40, weighted=True)
    assert done == (3, 3, tmp_path / "a.weights.npy")
    np.testing.assert_array_equal(which(tmp_path / "a.nc", run, kinds)[0], [0, 1, 2])
    np.testing.assert_allclose(np.load(done.weights), WEIGHTS / 4, atol=1e-6)
    done = export.write_trajectory(run, tmp_path / "a.dcd", n=2, weighted=True)
    np.testing.assert_allclose(np.load(done.weights), [1, 0], atol=1e-6)
    with pytest.raises(ConfigError, match="weights belong to samples"):
        export.write_trajectory(run, tmp_path / "a.dcd", what="data", weighted=True)


def test_hdf5_needs_its_package(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tables", None)
    with pytest.raises(ConfigError, match="a.h5: HDF5 needs tables: pip install tables"):
        export.write_trajectory(run, tmp_path / "a.h5")


def test_data_are_spread_evenly(run, kinds, tmp_path):
    assert export.write_trajectory(run, tmp_path / "a.dcd", what="data", n=6) == (6, 6, None)
    drawn, _ = which(tmp_path / "a.dcd", run, kinds)
    np.testing.assert_array_equal(drawn, [0, 0, 1, 1, 2, 2])
    assert export.write_trajectory(run, tmp_path / "a.dcd", what="data", n=99).frames == 30


def test_from_the_command_line(run, tmp_path, capsys):
    arguments = [str(run.path), "--out", str(tmp_path / "a.xtc"), "-n", "8"]
    assert cli.main(["export", *arguments]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'a.xtc'}: 8 frames, 2 distinct\n"
    assert "xtc rounds positions to 0.001 nm" in printed.err
    weighted = [str(run.path), "--out", str(tmp_path / "a.nc"), "--weighted"]
    assert cli.main(["export", *weighted]) == 0
    printed = capsys.readouterr()
    assert f"{tmp_path / 'a.weights.npy'}: their weights\n" in printed.out
    assert printed.err == ""
    assert cli.main(["export", str(run.path), "--out", str(tmp_path / "a.abc")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_what_is_refused(run, tmp_path):
    out = tmp_path / "a.dcd"
    with pytest.raises(ConfigError, match="of memory, and .* are free: choose a smaller -n"):
        export.write_trajectory(run, out, n=10**12)
    (run.path / "data/molecule.pdb").write_text("ATOM")
    with pytest.raises(ConfigError, match=r"molecule.pdb: damaged, or changed"):
        export.write_trajectory(run, out)
    run.record("data/molecule.pdb")
    run.note(samples={Ensemble().folder: "of others"})
    with pytest.raises(ConfigError, match="were drawn with other parameters"):
        export.write_trajectory(run, out)
    with pytest.raises(ConfigError, match=r"unknown format '.abc': choose .dcd"):
        export.write_trajectory(run, tmp_path / "a.abc")
    with pytest.raises(ConfigError, match="at least 1 frame, got 0"):
        export.write_trajectory(run, out, n=0)
    with pytest.raises(ConfigError, match="samples or data, got 'all'"):
        export.write_trajectory(run, out, what="all")
    plane = engine.open_run(tmp_path / "plane", engine.make_plan("double-well"))
    with pytest.raises(ConfigError, match="double-well has no atoms"):
        export.write_trajectory(plane, out)
    alone = engine.open_run(tmp_path / "alone", engine.make_plan("alanine-dipeptide", data="none"))
    runs.adopt(alone, run.path / "data")
    with pytest.raises(ConfigError, match="nothing was simulated, .* export the samples"):
        export.write_trajectory(alone, out, what="data")
    (run.path / "data/frames.npz").unlink()
    with pytest.raises(ConfigError, match="no data yet"):
        export.write_trajectory(run, out, what="data")
    (run.path / "samples").rename(tmp_path / "moved")
    with pytest.raises(ConfigError, match="no samples yet"):
        export.write_trajectory(run, out)
