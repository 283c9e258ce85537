"""The user's trajectories as data: what is used, what is left out and said, what is refused in one line."""

import dataclasses
import json

import numpy as np
import pytest

import jbg
from jbg.interfaces import ConfigError
from jbg.studies import engine
from jbg.studies.dataset import ASIDE, LEARN, WATCH, load_dataset
from jbg.studies.molecule.consistency import check
from jbg.studies.molecule.files import DOMAIN, TARGET_TEST, TRAJECTORIES
from jbg.studies.molecule.frame_faults import stereocentres
from jbg.studies.molecule.target_check import OTHER_TARGET, mismatch
from jbg.studies.molecule.trajectory_data import make_data
from jbg.studies.molecule.trajectory_reading import lengths_of, read_frames
from tests import own_trajectories as own
from tests.molecules import peptide
from tests.systems.test_trajectory_files import solvated

pytestmark = pytest.mark.openmm
FLAT = lambda x: np.zeros(len(x))


def molecule():
    return peptide(own.SEQUENCE)


def read(*paths, **options):
    return read_frames(molecule(), list(paths), temperature=300.0, **options)


def data_of(given, names=("a.dcd",), energy=FLAT):
    return make_data(molecule(), given, names, energy, temperature=300.0, seed=0)


def test_whole_frames_are_read_as_they_are(tmp_path):
    x = own.chains()[:2].reshape(-1, 22, 3)
    given = read(own.write(tmp_path / "a.dcd", x))
    assert given.words == ()
    assert (given.precision, given.left_out, given.log_w) == (0.0, 0, None)
    centred = x - x.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(given.x, centred, atol=1e-6)
    found = data_of(given)
    assert found.words == ()
    assert found.dataset.n_chains == found.blocks == 24
    assert set(found.dataset.weight) == {1.0}


def test_a_solvated_periodic_trajectory_is_stripped_and_made_whole(tmp_path):
    x, cell = own.chains()[0], np.array([2.0, 2.1, 2.2])
    rng, top = np.random.default_rng(0), solvated(reordered=True)
    every = rng.uniform(0, 2, (len(x), top.n_atoms, 3))
    topology = molecule().topology
    named = {(a.residue.name, a.name): a.index for a in top.atoms}
    rows = [named[p] for p in zip(topology.residue_names, topology.atom_names, strict=True)]
    every[:, rows] = x + np.array([1.9, 0.1, 0.2])
    every %= cell
    pdb = own.write(tmp_path / "solvated.pdb", every[:1], topology=top, cell=cell)
    path = own.write(tmp_path / "a.dcd", every, topology=top, cell=cell)
    given = read(path, topology=pdb)
    np.testing.assert_allclose(given.x, x - x.mean(axis=1, keepdims=True), atol=2e-6)
    words = " ".join(given.words)
    assert "7 other atoms of each frame left out (HOH, NA)" in words
    assert "made whole across the periodic cell in 120 frames" in words
    with pytest.raises(ConfigError, match="where it holds others, name them with --topology FILE"):
        read(path)


def test_broken_frames_are_counted_and_named(tmp_path):
    x = np.array(own.chains()[0])
    x[3, 5, 0] = np.nan
    x[[7, 9], 4] += 0.5
    x[11] *= np.array([1, 1, -1])
    second = np.array(own.chains()[1:4].reshape(-1, 22, 3))
    second[2] *= np.array([1, 1, -1])
    given = read(own.write(tmp_path / "a.dcd", x), own.write(tmp_path / "b.dcd", second))
    assert given.left_out == 5
    assert len(given.x) == 475
    text = "\n".join(given.words)
    assert "left out 2 frames (7 of a.dcd, 9 of a.dcd): the bond of" in text
    assert "left out 2 frames (11 of a.dcd, 2 of b.dcd): CA of ALA 2 is of the other hand" in text
    assert "left out 1 frame (3 of a.dcd): positions are not finite" in text
    assert not np.isin(given.frame[given.file == 0], [3, 7, 9, 11]).any()
    energy = lambda x: np.where(np.arange(len(x)) == 1, np.inf, np.arange(len(x)) == 2) * 1e6
    found = data_of(given, ("a.dcd", "b.dcd"), energy)
    text = "\n".join(found.words)
    assert "left out 1 frame (1 of a.dcd): the energy is not finite" in text
    assert "left out 1 frame (2 of a.dcd): the energy is far above that of the others" in text
    assert found.left_out == 7
    assert "fill no block and are left out" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda x: x * [1, 1, -1],
            r"no frame is usable: 120 frames \(0, 1, 2, 3, 4, ...\): CA of ALA 2",
        ),
        (lambda x: x * 10, "coordinates look like angstrom"),
        (lambda x: x[:, ::-1], "frames disagree with the molecule"),
        (lambda x: x * np.nan, "no frame is usable: 120 frames .* are not finite"),
        (lambda x: np.round(x, 2), "rounded to 0.01 nm, too coarse for energies"),
        (lambda x: np.repeat(x[:1], 120, axis=0), "bonds between heavy atoms are constrained"),
        (lambda x: x[:100], "100 usable frames, need 240 or more"),
    ],
)
def test_trajectories_that_teach_nothing_are_refused(change, message, tmp_path):
    path = own.write(tmp_path / "a.dcd", change(own.chains()[0]))
    with pytest.raises(ConfigError, match=message) as error:
        data_of(read(path))
    assert "\n" not in str(error.value)


def test_a_trajectory_of_another_molecule_is_refused_before_any_work(tmp_path):
    from jbg.systems.solute import mdtraj_topology

    other = peptide("ACE-GLY-NME")
    path = own.write(
        tmp_path / "a.pdb", other.positions[None], topology=mdtraj_topology(other.topology)
    )
    with pytest.raises(ConfigError, match="among its 19 atoms is no molecule with the 22"):
        lengths_of(molecule(), [path], None)
    with pytest.raises(ConfigError, match="b.xtc: no such file"):
        engine.make_plan("alanine-dipeptide", data=tmp_path / "b.xtc")


def test_weights_follow_their_frames(tmp_path):
    x = np.array(own.chains()[0])
    x[5, 0] = np.nan
    second = own.chains()[1:3].reshape(-1, 22, 3)
    paths = [own.write(tmp_path / "a.dcd", x), own.write(tmp_path / "b.dcd", second)]
    np.save(tmp_path / "w.npy", np.arange(360.0) + 1)
    given = read(*paths, weights=[tmp_path / "w.npy"], stride=5)
    expected = np.delete(np.arange(0, 360, 5), 1) + 1.0
    np.testing.assert_allclose(np.exp(given.log_w), expected)
    assert "one in 5 of 360 frames is used" in given.words
    found = data_of(read(*paths, weights=[tmp_path / "w.npy"]), ("a.dcd", "b.dcd"))
    weight, role = found.dataset.weight, found.dataset.role
    assert weight.mean() == pytest.approx(1)
    assert ASIDE not in role
    assert found.effective == pytest.approx(weight.sum() ** 2 / np.sum(weight**2))


def test_a_stereocentre_is_an_atom_with_four_different_neighbours():
    topology = molecule().topology
    assert [topology.atom_names[i] for i in stereocentres(topology)[:, 0]] == ["CA"]
    threonine = peptide("ACE-THR-NME").topology
    assert {threonine.atom_names[i] for i in stereocentres(threonine)[:, 0]} == {"CA", "CB"}


@pytest.mark.study
def test_rounded_trajectories_become_the_data_of_a_run(tmp_path):
    """From files to a problem; set-aside frames are blocks in time, energies are those of the target."""
    paths = own.write_chains(tmp_path, 6)
    run = jbg.open_run(tmp_path / "run", engine.make_plan("alanine-dipeptide", data=paths))
    engine.simulate(run, quiet=True)
    data, problem = load_dataset(run), engine.load_problem(run)
    assert data.x.shape == (720, 66)
    assert data.n_chains == 24
    assert {int(k): int(np.sum(data.role == k)) for k in (LEARN, WATCH, ASIDE)} == {
        LEARN: 300,
        WATCH: 60,
        ASIDE: 360,
    }
    np.testing.assert_allclose(data.u, problem.reduced_energies(data.x), atol=0.02)
    assert problem.simulated is not None
    assert problem.simulated.x.shape[0] == 12
    about = json.loads(str(run.load_arrays(TRAJECTORIES)["about"]))
    assert about["words"] == [
        "positions are rounded to 0.001 nm: drawn anew within that, by their energies"
    ]
    test = json.loads(str(run.load_arrays(TARGET_TEST)["about"]))
    assert test["reasons"] == []
    assert abs(test["temperature"] - 300) < 4 * test["temperature_stderr"] < 12
    assert run.load_arrays(DOMAIN)["inside"].all()
    assert data.evaluations == 720 * (1 + 19)
    # again, with another force field: a run of its own, and a word of warning
    plan = engine.make_plan("alanine-dipeptide", data=paths, forcefield=("amber14-all.xml",))
    vacuum = jbg.open_run(tmp_path / "vacuum", plan)
    engine.simulate(vacuum, quiet=True)
    test = json.loads(str(vacuum.load_arrays(TARGET_TEST)["about"]))
    assert "the frames are of another force field" in test["reasons"][0]
    # no estimate takes them for frames of the target
    assert engine.load_problem(vacuum).simulated is None
    assert mismatch(vacuum) == OTHER_TARGET
    assert mismatch(run) == ""


@pytest.mark.study
def test_a_biased_trajectory_teaches_by_weight(tmp_path):
    """Of chains of which a third is in phi > 0, weights that say 2 %: learnt as `balance` asks, watched by
    weight."""
    paths = own.write_chains(tmp_path, 4, ".dcd")
    np.save(tmp_path / "w.npy", 1.0 + np.arange(480))
    plan = engine.make_plan("alanine-dipeptide", data=paths, weights=tmp_path / "w.npy")
    run = jbg.open_run(tmp_path / "run", plan)
    engine.simulate(run, quiet=True)
    data = load_dataset(run)
    positive = engine.load_problem(run).system.states[1]
    inside = np.asarray(positive.contains(data.x.T), bool)
    assert 0.2 < inside.mean() < 0.6
    weight = np.where(inside, 0.02 / inside.mean(), 0.98 / (1 - inside.mean()))
    data._replace(weight=weight / weight.mean()).save(run)
    problem = engine.load_problem(run)
    assert problem.simulated is None
    at = lambda v: np.asarray(problem.coords.forward((), v.T)[0])
    share = lambda v: np.mean(np.asarray(positive.contains(at(v))))
    assert share(problem.examples.train) == pytest.approx(0.1, abs=0.03)
    assert set(problem.examples.copies) == {1}
    assert share(problem.examples.heldout) < 0.06


def test_trajectory_data_is_what_molecular_problem_takes(tmp_path, monkeypatch):
    from jbg.studies.molecule import trajectory_data

    monkeypatch.setattr(trajectory_data, "compiled_potential", lambda xml: lambda x: 0.0 * x[0])
    paths = own.write_chains(tmp_path, 3, ".dcd")
    data = jbg.trajectory_data(molecule(), paths)
    assert data.x.shape == (360, 66)
    assert (data.n_chains, data.weighted) == (24, False)
    one = jbg.trajectory_data(
        molecule(), str(own.write(tmp_path / "a.dcd", data.x.reshape(-1, 22, 3)))
    )
    np.testing.assert_allclose(one.x, data.x, atol=1e-5)
    with pytest.raises(ConfigError, match="expected a molecule from jbg.molecule"):
        jbg.trajectory_data("a.pdb", paths)


def test_rigid_bonds_are_drawn_anew_with_a_word(tmp_path):
    x = own.rigid(own.chains()[:2].reshape(-1, 22, 3))
    found = data_of(read(own.write(tmp_path / "a.dcd", x)))
    assert found.restored == 12
    assert "12 bonds with hydrogen are constrained: their lengths are drawn anew" in found.words[0]
    topology, new = molecule().topology, found.dataset.x.reshape(-1, 22, 3)
    for a, b in topology.bonds.tolist():
        spread = np.linalg.norm(new[:, a] - new[:, b], axis=-1).std()
        assert spread > 0.002


def test_data_of_another_kind_than_chosen_are_refused(tmp_path):
    plan = engine.make_plan("alanine-dipeptide", data=own.write_chains(tmp_path, 2, ".dcd"))
    check(plan)
    other = engine.make_plan("alanine-dipeptide", data="none").data
    with pytest.raises(ConfigError, match="not of the kind that --data FILE makes"):
        check(dataclasses.replace(plan, data=other))
