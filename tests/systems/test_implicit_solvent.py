"""The native implicit solvent equals the interpreted one, and only OBC2 is replaced."""

import io

import numpy as np
import openmm
import pytest
from openmm import app, unit

from jbg.systems.implicit_solvent import has_solvent, use_native_obc2
from tests.molecules import peptide

pytestmark = pytest.mark.openmm


@pytest.fixture(scope="module")
def molecule():
    return peptide("ACE-LYS-ASP-NME")


def build(molecule, solvent: str) -> openmm.System:
    topology = app.PDBFile(io.StringIO(molecule.pdb)).topology
    return app.ForceField("amber14-all.xml", f"implicit/{solvent}.xml").createSystem(topology)


def energies_and_forces(system, frames):
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
    )
    energies, forces = [], []
    for frame in frames:
        context.setPositions(frame)
        state = context.getState(energy=True, forces=True)
        energies.append(state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole))
        forces.append(state.getForces(asNumpy=True)._value)
    return np.array(energies), np.array(forces)


def test_native_force_equals_the_original_on_distorted_frames(molecule):
    rng = np.random.default_rng(0)
    frames = molecule.positions + 0.01 * rng.normal(size=(10, *molecule.positions.shape))
    frames[5:] = 1.3 * frames[5:]  # far from any structure it was tuned on
    original, native = build(molecule, "obc2"), build(molecule, "obc2")
    assert use_native_obc2(native)
    assert any(isinstance(force, openmm.GBSAOBCForce) for force in native.getForces())
    assert not any(isinstance(force, openmm.CustomGBForce) for force in native.getForces())
    (e0, f0), (e1, f1) = (energies_and_forces(s, frames) for s in (original, native))
    np.testing.assert_allclose(e1, e0, rtol=1e-7, atol=1e-3)
    np.testing.assert_allclose(f1, f0, atol=2e-2)  # of forces up to 1e5: radii differ in digit 8


def has(molecule, *files) -> bool:
    topology = app.PDBFile(io.StringIO(molecule.pdb)).topology
    return has_solvent(
        openmm.XmlSerializer.serialize(app.ForceField(*files).createSystem(topology))
    )


@pytest.mark.parametrize("solvent", ["hct", "obc1", "obc2", "gbn", "gbn2"])
def test_every_model_counts_as_solvent(molecule, solvent):
    assert has(molecule, "amber14-all.xml", f"implicit/{solvent}.xml")


def test_the_native_force_and_amoeba_s_count_and_vacuum_does_not(molecule):
    assert has_solvent(molecule.system_xml)
    glycine = peptide("ACE-GLY-NME")
    assert not has(glycine, "amber14-all.xml")
    assert not has(glycine, "amoeba2018.xml")
    assert has(glycine, "amoeba2018.xml", "amoeba2018_gk.xml")


@pytest.mark.parametrize("solvent", ["obc1", "hct", "gbn", "gbn2"])
def test_other_models_are_left_alone(molecule, solvent):
    system = build(molecule, solvent)
    before = openmm.XmlSerializer.serialize(system)
    assert not use_native_obc2(system)
    assert openmm.XmlSerializer.serialize(system) == before


def test_another_dielectric_is_not_obc2_in_water(molecule):
    topology = app.PDBFile(io.StringIO(molecule.pdb)).topology
    field = app.ForceField("amber14-all.xml", "implicit/obc2.xml")
    assert not use_native_obc2(field.createSystem(topology, solventDielectric=4.0))
