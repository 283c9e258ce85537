"""``jbg energies``: the numbers OpenMM gives when asked directly; wrong trajectories are refused."""

import json
import subprocess
import sys

import mdtraj
import numpy as np
import openmm
import pytest
from openmm import unit

import jbg
from jbg.cli import main as cli
from jbg.interfaces import ConfigError
from jbg.systems import energies as batched
from jbg.systems import openmm_energies
from jbg.systems.molecule import molecule_from_pdb
from tests.molecules import peptide

pytestmark = pytest.mark.openmm


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """ala.pdb (22 atoms), frames.xtc and frames.pdb of it, and wrong trajectories."""
    folder = tmp_path_factory.mktemp("energies")
    (folder / "ala.pdb").write_text(peptide("ACE-ALA-NME").pdb)
    (folder / "gly.pdb").write_text(peptide("ACE-GLY-NME").pdb)
    trajectory = mdtraj.load(str(folder / "ala.pdb"))
    noise = np.random.default_rng(0).normal(scale=0.005, size=(3, 22, 3))
    frames = mdtraj.Trajectory(trajectory.xyz + noise, trajectory.topology)
    frames.save_dcd(str(folder / "frames.dcd"))
    frames.save_pdb(str(folder / "frames.pdb"))
    lines = (folder / "ala.pdb").read_text().splitlines(keepends=True)
    atoms = [i for i, line in enumerate(lines) if line.startswith(("ATOM", "HETATM"))]
    lines[atoms[0]], lines[atoms[1]] = lines[atoms[1]], lines[atoms[0]]
    (folder / "swapped.pdb").write_text("".join(lines))
    frames.xyz[1, 4, 2] = np.nan
    frames.save_dcd(str(folder / "nan.dcd"))
    (folder / "text.dcd").write_text("not a trajectory")
    return folder


def _direct(molecule, positions):
    """(energy, force norm) by OpenMM's public interface."""
    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(positions)
    state = context.getState(getEnergy=True, getForces=True)
    force = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    return {"energy": energy, "force_norm": np.linalg.norm(force)}


def _rows(pdb, trajectory=None, **options):
    molecule = molecule_from_pdb(pdb)
    frames = molecule.built_positions[None]
    if trajectory is not None:
        frames = openmm_energies.read_frames(trajectory, molecule)
    said, found = openmm_energies.evaluate(molecule, frames, **options)
    return said, openmm_energies.rows(found)


@pytest.mark.parametrize("backend", ["openmm", "callback", "jax"])
def test_frames_have_the_energies_that_openmm_gives(folder, backend, monkeypatch):
    monkeypatch.setattr(batched, "CHUNK", 2)
    molecule = molecule_from_pdb(folder / "ala.pdb")
    said, rows = _rows(folder / "ala.pdb", folder / "frames.dcd", backend=backend)
    assert said["backend"] == backend
    assert said["platform"] == ("cpu" if backend == "jax" else "Reference")
    assert said["energies_per_second"] > 0
    frames = mdtraj.load(str(folder / "frames.dcd"), top=str(folder / "ala.pdb")).xyz
    assert len(rows) == said["n_frames"] == 3
    for frame, positions in zip(rows, frames, strict=True):
        assert frame == pytest.approx(_direct(molecule, positions.astype(float)), rel=1e-6)


def test_energies_in_python_take_what_users_hold(folder):
    molecule = molecule_from_pdb(folder / "ala.pdb")
    trajectory = mdtraj.load(str(folder / "frames.dcd"), top=str(folder / "ala.pdb"))
    found = jbg.energies(molecule, trajectory, forces=True)
    assert (found.energy.shape, found.forces.shape) == ((3,), (3, 22, 3))
    assert found.energy.dtype == found.forces.dtype == np.float64
    flat = jbg.energies(molecule, trajectory.xyz.reshape(3, 66))
    np.testing.assert_array_equal(flat.energy, found.energy)
    assert flat.forces is None
    for x, direct in zip(trajectory.xyz, found.energy, strict=True):
        np.testing.assert_allclose(direct, _direct(molecule, x.astype(float))["energy"], rtol=1e-10)
    # forces are minus the slope
    x, step = np.float64(trajectory.xyz[:1]), 1e-5
    moved = np.concatenate([x, x])
    moved[:, 3, 1] += [step, -step]
    up, down = jbg.energies(molecule, moved).energy
    np.testing.assert_allclose(found.forces[0, 3, 1], -(up - down) / (2 * step), rtol=1e-5)
    for wrong in (x[0], x[:, :5], x[:0], np.zeros((2, 3))):
        with pytest.raises(ConfigError, match=r"expected configurations \(n, 22, 3\)"):
            jbg.energies(molecule, wrong)
    with pytest.raises(ConfigError, match="backend must be jax, callback, openmm, got 'gpu'"):
        jbg.energies(molecule, x, backend="gpu")


def test_from_the_command_line_beside_openmm(folder, tmp_path, capsys):
    command = ["energies", str(folder / "frames.dcd"), "--pdb", str(folder / "ala.pdb")]
    out = tmp_path / "new/e.npz"
    assert cli.main([*command, "--compare", "--forces", "--out", str(out)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["openmm"]["platform"] == "Reference"
    assert said["openmm"]["largest_energy_difference"] < 1e-8
    assert said["openmm"]["largest_force_difference"] < 1e-6
    with np.load(out) as arrays:
        assert arrays["forces"].shape == (3, 22, 3)
        np.testing.assert_allclose(
            arrays["force_norm"], np.linalg.norm(arrays["forces"], axis=(1, 2))
        )
    assert cli.main([*command, "--out", str(tmp_path / "e.json"), "--backend", "openmm"]) == 0
    written = json.loads((tmp_path / "e.json").read_text())
    energy = [row["energy"] for row in written["frames"]]
    with np.load(out) as arrays:
        np.testing.assert_allclose(energy, arrays["energy"], rtol=1e-10)
    capsys.readouterr()
    for wrong, message in (
        (["--out", "e.csv"], "e.csv: unknown format '.csv': choose .json or .npz"),
        (["--forces"], "--forces are written to a file: give --out FILE.npz"),
        (["--compare", "--backend", "openmm"], "sets OpenMM beside --backend jax or callback"),
    ):
        assert cli.main([*command, *wrong]) == 2
        printed = capsys.readouterr()
        assert message in printed.err
        assert printed.out == ""


@pytest.mark.study
def test_standard_output_is_json_alone(folder):
    """mdtraj's reader of DCD files prints two lines from C."""
    command = [sys.executable, "-m", "jbg", "energy", "--trajectory", "frames.dcd"]
    done = subprocess.run(
        [*command, "--pdb", "ala.pdb", "--backend", "openmm"],
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert len(json.loads(done.stdout)["frames"]) == 3


def test_the_file_itself_is_not_minimised(folder):
    molecule = molecule_from_pdb(folder / "ala.pdb")
    text = (folder / "frames.pdb").read_text()
    (folder / "moved.pdb").write_text(text)  # the first of three models, off the minimum
    _, found = _rows(folder / "moved.pdb")
    first = mdtraj.load(str(folder / "frames.pdb")).xyz[0].astype(float)
    assert found == [pytest.approx(_direct(molecule, first), rel=1e-4)]  # PDB columns: 1e-4 nm
    assert found[0]["energy"] > _direct(molecule, molecule.positions)["energy"] + 10.0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.dcd", "no such trajectory file"),
        ("text.dcd", "not readable as a trajectory of ala"),
        ("gly.pdb", "frames of 19 atoms, but ala has 22"),
        ("swapped.pdb", "atom 0 is H1 .H., but C in ala"),
        ("nan.dcd", "not finite in 1 frame.s., the first is 1"),
    ],
)
def test_wrong_trajectories_are_refused(folder, name, message):
    with pytest.raises(ConfigError, match=message):
        _rows(folder / "ala.pdb", folder / name)


def test_atoms_on_top_of_each_other_give_null(folder, tmp_path):
    trajectory = mdtraj.load(str(folder / "ala.pdb"))
    trajectory.xyz[0, 1] = trajectory.xyz[0, 0]
    trajectory.save_dcd(str(tmp_path / "clash.dcd"))
    _, (frame,) = _rows(folder / "ala.pdb", tmp_path / "clash.dcd", backend="openmm")
    assert frame["force_norm"] is None


def test_readers_in_c_print_nothing(folder, capfd):
    """mdtraj's reader of dcd files prints two lines, in front of the JSON of `jbg energies`."""
    _rows(folder / "ala.pdb", folder / "frames.dcd", backend="openmm")
    assert capfd.readouterr().out == ""
