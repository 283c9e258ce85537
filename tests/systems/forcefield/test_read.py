"""What cannot be compiled is refused by name, with the way out."""

import numpy as np
import openmm
import pytest
from openmm import unit

from jbg.interfaces import ConfigError
from jbg.systems.forcefield import compiled_potential, read_system
from jbg.systems.molecule import molecule_from_sequence


@pytest.fixture
def system():
    return openmm.XmlSerializer.deserialize(molecule_from_sequence("ACE-ALA-NME").system_xml)


def two_particles(force=None):
    system = openmm.System()
    for _ in range(2):
        system.addParticle(1.0)
    if force is not None:
        system.addForce(force)
    return system


def test_a_centre_of_mass_remover_is_ignored(system):
    system.addForce(openmm.CMMotionRemover())
    assert len(read_system(system).bonded) == 3


def test_constraints_are_dropped_only_when_asked(system):
    system.addConstraint(0, 1, 0.1)
    with pytest.raises(ConfigError, match="constrains 1 distances.*constraints=None.*drop_constr"):
        read_system(system)
    assert read_system(system, drop_constraints=True).n_atoms == 22


def test_virtual_sites(system):
    system.setVirtualSite(3, openmm.TwoParticleAverageSite(0, 1, 0.5, 0.5))
    with pytest.raises(ConfigError, match="particle 3 is a virtual site.*callback"):
        read_system(system)


def _periodic():
    force = openmm.HarmonicBondForce()
    force.setUsesPeriodicBoundaryConditions(True)
    return force


def _cut_off():
    force = openmm.NonbondedForce()
    force.setNonbondedMethod(force.CutoffNonPeriodic)
    return force


def _custom(kind, expression, *names):
    force = kind(expression)
    for name in names:
        getattr(force, f"addPer{kind.__name__[6:-5]}Parameter")(name)
    return force


def _offset():
    force = openmm.NonbondedForce()
    force.addParticle(1.0, 0.3, 0.5)
    force.addParticle(1.0, 0.3, 0.5)
    force.addGlobalParameter("lambda", 0.0)
    return force


def _born():
    force = openmm.CustomGBForce()
    force.addPerParticleParameter("charge")
    force.addComputedValue("B", "charge", force.SingleParticle)
    force.addEnergyTerm("charge/B", force.SingleParticle)
    return force


@pytest.mark.parametrize(
    ("force", "message"),
    [
        (openmm.RBTorsionForce(), "RBTorsionForce cannot be compiled: use the OpenMM callback"),
        (openmm.CustomExternalForce("x^2"), "CustomExternalForce cannot be compiled"),
        (_periodic(), "HarmonicBondForce is periodic: create the System without a box"),
        (_cut_off(), "NonbondedForce has a cut-off.*nonbondedMethod=NoCutoff"),
        (_custom(openmm.CustomBondForce, "k*r^4", "k"), r"CustomBondForce.*unknown 'k\*r\^4'"),
        (_custom(openmm.CustomTorsionForce, "k*theta", "k"), r"CustomTorsionForce.*unknown"),
        (openmm.CustomNonbondedForce("1/r"), "CustomNonbondedForce.*unknown '1/r'"),
        (_offset(), "NonbondedForce has parameter offsets"),
        (openmm.NonbondedForce(), "parameters of 0 particles, the System has 2"),
        (_born(), "CustomGBForce: not one of the implicit solvents hct, obc1, obc2, gbn, gbn2"),
    ],
)
def test_other_forces_are_refused_by_name(force, message):
    with pytest.raises(ConfigError, match=message) as caught:
        compiled_potential(two_particles(force))
    assert "\n" not in str(caught.value)


def test_a_solvent_with_salt_is_refused(system):
    from openmm import app

    from jbg.systems.pdb_input import complete_molecule, load_forcefield
    from jbg.systems.peptide import parse_sequence, peptide_pdb

    modeller = complete_molecule(peptide_pdb(parse_sequence("ACE-ALA-NME")), "test")
    salty = load_forcefield(("amber14-all.xml", "implicit/obc2.xml")).createSystem(
        modeller.topology,
        nonbondedMethod=app.NoCutoff,
        implicitSolventKappa=1.0 / unit.nanometer,
    )
    with pytest.raises(ConfigError, match=r"CustomGBForce: not one of.*\(without salt\)"):
        read_system(salty)


def test_no_particles():
    with pytest.raises(ConfigError, match="the System has no particles"):
        read_system(openmm.System())


def test_a_system_without_forces_has_no_energy():
    assert float(compiled_potential(two_particles())(np.zeros(6, np.float32))) == 0.0
