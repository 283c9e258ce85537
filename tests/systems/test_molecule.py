"""Molecules: all atoms placed, none moved that was given, OpenMM's energies, every time."""

import io
from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import app, unit

from jbg.systems.molecule import (
    FORCEFIELD,
    molecular_system,
    molecule_from_pdb,
    molecule_from_sequence,
)
from jbg.systems.openmm_pool import ContextPool
from jbg.systems.peptide import peptide_pdb
from jbg.systems.sequences import parse_sequence

pytestmark = pytest.mark.openmm

STRUCTURES = Path(__file__).parents[3] / "shared" / "structures"


@pytest.fixture(scope="module")
def dipeptide(alanine_dipeptide):
    return alanine_dipeptide


def test_the_same_molecule_comes_out_every_time(dipeptide):
    again = molecule_from_sequence("ACE-ALA-NME")
    np.testing.assert_array_equal(again.positions, dipeptide.positions)
    assert again.system_xml == dipeptide.system_xml


def test_nothing_keeps_an_atom_from_moving(dipeptide):
    system = openmm.XmlSerializer.deserialize(dipeptide.system_xml)
    assert system.getNumConstraints() == 0
    assert not any(isinstance(f, openmm.CMMotionRemover) for f in system.getForces())
    assert not system.usesPeriodicBoundaryConditions()
    assert (dipeptide.masses > 1).all()


def test_energy_is_that_of_an_independently_built_openmm_system(dipeptide):
    pdb = app.PDBFile(io.StringIO(dipeptide.pdb))
    system = app.ForceField(*FORCEFIELD).createSystem(pdb.topology, nonbondedMethod=app.NoCutoff)
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
    )
    context.setPositions(dipeptide.positions)
    expected = context.getState(energy=True).getPotentialEnergy()
    with ContextPool(dipeptide.system_xml, platform="Reference") as pool:
        got = pool.energies(dipeptide.positions[None])[0]
    assert got == pytest.approx(expected.value_in_unit(unit.kilojoule_per_mole), abs=1e-3)


def test_start_is_a_minimum_and_written_to_pdb(dipeptide):
    with ContextPool(dipeptide.system_xml, platform="Reference") as pool:
        energy, force = pool.energies_and_forces(dipeptide.positions[None])
    assert np.sqrt((force**2).sum(-1)).max() < 20  # kJ/mol/nm; thousands at built_positions
    atoms = list(app.PDBFile(io.StringIO(dipeptide.pdb)).topology.atoms())
    assert tuple(atom.name for atom in atoms) == dipeptide.topology.atom_names


def test_a_file_without_hydrogens_keeps_its_heavy_atoms(tmp_path, dipeptide):
    path = tmp_path / "dipeptide.pdb"
    path.write_text(peptide_pdb(parse_sequence("ACE-ALA-NME")))
    molecule = molecule_from_pdb(path)
    assert molecule.name == "dipeptide"
    assert molecule.topology.atom_names == dipeptide.topology.atom_names
    given = app.PDBFile(str(path))
    heavy = [i for i, element in enumerate(molecule.topology.elements) if element != "H"]
    np.testing.assert_allclose(
        molecule.built_positions[heavy],
        given.getPositions(asNumpy=True).value_in_unit(unit.nanometer),
        atol=1e-9,
    )


def test_a_file_with_hydrogens_is_read_as_it_is(tmp_path, dipeptide):
    path = tmp_path / "whole.pdb"
    path.write_text(dipeptide.pdb)
    molecule = molecule_from_pdb(path)
    assert molecule.topology.atom_names == dipeptide.topology.atom_names
    np.testing.assert_allclose(molecule.built_positions, dipeptide.positions, atol=6e-5)


def test_system_is_flat_and_in_kj(dipeptide):
    system = molecular_system(dipeptide, lambda x: x[0])
    assert (system.dim, system.energy_unit, system.start.shape) == (66, "kJ/mol", (1, 66))


@pytest.mark.skipif(not STRUCTURES.is_dir(), reason="needs the folder ../shared/structures")
def test_chignolin_gets_charged_ends_and_all_hydrogens():
    molecule = molecule_from_pdb(STRUCTURES / "chignolin_1uao_exp.pdb")
    topology = molecule.topology
    assert topology.n_atoms == 138
    assert topology.atom_names.count("OXT") == 1
    first = [n for n, r in zip(topology.atom_names, topology.residue_ids, strict=True) if r == 0]
    assert {"H", "H2", "H3"} <= set(first)
    assert abs(molecule.positions - molecule.built_positions).max() < 0.5


@pytest.mark.skipif(not STRUCTURES.is_dir(), reason="needs the folder ../shared/structures")
def test_a_residue_the_force_field_lacks_is_named():
    from jbg.interfaces import ConfigError

    with pytest.raises(ConfigError, match="NLE 24"):
        molecule_from_pdb(STRUCTURES / "hp35_nle_2f4k_with_hydrogens.pdb")
