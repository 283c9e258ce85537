"""``jbg energy``: the numbers OpenMM gives when asked directly; wrong trajectories are refused."""

import mdtraj
import numpy as np
import openmm
import pytest
from openmm import unit

from jbg.interfaces import ConfigError
from jbg.systems import openmm_energies
from jbg.systems.given_molecule import GivenMolecule
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


@pytest.mark.parametrize("backend", ["openmm", "callback", "jax"])
def test_frames_have_the_energies_that_openmm_gives(folder, backend, monkeypatch):
    monkeypatch.setattr(openmm_energies, "CHUNK", 2)
    molecule = molecule_from_pdb(folder / "ala.pdb")
    found = openmm_energies.evaluate(
        GivenMolecule(pdb=folder / "ala.pdb"),
        trajectory=folder / "frames.dcd",
        backend=backend,
    )
    assert found["backend"] == backend
    assert found["platform"] == ("cpu" if backend == "jax" else "Reference")
    frames = mdtraj.load(str(folder / "frames.dcd"), top=str(folder / "ala.pdb")).xyz
    assert len(found["frames"]) == 3
    for frame, positions in zip(found["frames"], frames, strict=True):
        assert frame == pytest.approx(_direct(molecule, positions.astype(float)), rel=1e-6)


def test_the_file_itself_is_not_minimised(folder):
    molecule = molecule_from_pdb(folder / "ala.pdb")
    text = (folder / "frames.pdb").read_text()
    (folder / "moved.pdb").write_text(text)  # the first of three models, off the minimum
    found = openmm_energies.evaluate(GivenMolecule(pdb=folder / "moved.pdb"))["frames"]
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
        openmm_energies.evaluate(GivenMolecule(pdb=folder / "ala.pdb"), trajectory=folder / name)


def test_atoms_on_top_of_each_other_give_null(folder, tmp_path):
    trajectory = mdtraj.load(str(folder / "ala.pdb"))
    trajectory.xyz[0, 1] = trajectory.xyz[0, 0]
    trajectory.save_dcd(str(tmp_path / "clash.dcd"))
    (frame,) = openmm_energies.evaluate(
        GivenMolecule(pdb=folder / "ala.pdb"), trajectory=tmp_path / "clash.dcd"
    )["frames"]
    assert frame["force_norm"] is None


def test_readers_in_c_print_nothing(folder, capfd):
    """mdtraj's reader of dcd files prints two lines, in front of the JSON of `jbg energy`."""
    openmm_energies.evaluate(
        GivenMolecule(pdb=folder / "ala.pdb"), trajectory=folder / "frames.dcd"
    )
    assert capfd.readouterr().out == ""
