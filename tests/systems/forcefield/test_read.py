"""What cannot be compiled is refused by name, with the way out."""

import numpy as np
import openmm
import pytest
from openmm import unit
from openmm.app.internal import customgbforces

from jbg.interfaces import ConfigError
from jbg.systems.forcefield import compiled_potential, read_system


@pytest.fixture
def system(alanine_dipeptide):
    return openmm.XmlSerializer.deserialize(alanine_dipeptide.system_xml)


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


def _half_space():
    force = openmm.NonbondedForce()
    force.setIncludeDirectSpace(False)
    for _ in range(2):
        force.addParticle(1.0, 0.3, 0.5)
    return force


def _lennard_jones(*names, table=(1.0, 2.0, 2.0, 3.0)):
    force = openmm.CustomNonbondedForce("acoef(type1, type2)/r^12 - bcoef(type1, type2)/r^6")
    for name in names:
        force.addPerParticleParameter(name)
    for name in ("acoef", "bcoef"):
        force.addTabulatedFunction(name, openmm.Discrete2DFunction(2, 2, table))
    for kind in (0, 1):
        force.addParticle([kind] * len(names))
    return force


def _order_minus_one():
    force = openmm.PeriodicTorsionForce()
    force.addTorsion(0, 1, 0, 1, -1, 0.0, 1.0)
    return force


def _born():
    force = openmm.CustomGBForce()
    force.addPerParticleParameter("charge")
    force.addComputedValue("B", "charge1*charge2/r", force.ParticlePair)
    force.addEnergyTerm("charge/B", force.SingleParticle)
    force.addParticle([1.0])
    force.addParticle([1.0])
    return force


def _pairs(expression):
    force = openmm.CustomNonbondedForce(expression)
    force.addParticle([])
    force.addParticle([])
    return force


@pytest.mark.parametrize(
    ("force", "message"),
    [
        (
            openmm.CustomAngleForce("0"),
            "CustomAngleForce cannot be compiled: use the OpenMM callback",
        ),
        (openmm.CustomExternalForce("x^2"), "CustomExternalForce cannot be compiled"),
        (_periodic(), "HarmonicBondForce is periodic: create the System without a box"),
        (_cut_off(), "NonbondedForce has a cut-off.*nonbondedMethod=NoCutoff"),
        (_custom(openmm.CustomBondForce, "k*r^4", "k"), r"CustomBondForce.*unknown 'k\*r\^4'"),
        (_custom(openmm.CustomTorsionForce, "k*theta", "k"), r"CustomTorsionForce.*unknown"),
        (_pairs("1/r"), "CustomNonbondedForce.*unknown '1/r'"),
        (_offset(), "NonbondedForce has parameter offsets"),
        (openmm.NonbondedForce(), "OpenMM refuses the System: NonbondedForce must have exactly"),
        (_half_space(), "NonbondedForce leaves out its direct space"),
        (_lennard_jones("other", "type"), "CustomNonbondedForce.*unknown"),
        (_lennard_jones("type", table=(1.0, 2.0, 9.0, 3.0)), "unknown 'a table that is not symm"),
        (_order_minus_one(), "OpenMM refuses the System: "),
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
    from jbg.systems.peptide import peptide_pdb
    from jbg.systems.sequences import parse_sequence

    modeller = complete_molecule(peptide_pdb(parse_sequence("ACE-ALA-NME")), "test")
    salty = load_forcefield(("amber14-all.xml", "implicit/obc2.xml")).createSystem(
        modeller.topology,
        nonbondedMethod=app.NoCutoff,
        implicitSolventKappa=1.0 / unit.nanometer,
    )
    with pytest.raises(ConfigError, match=r"CustomGBForce: not one of.*\(without salt\)"):
        read_system(salty)


def test_dielectric_constants_that_differ_between_terms_are_refused():
    force = customgbforces.GBSAOBC1Force()
    force.addParticles([[0.1, 0.15, 0.12]] * 2)
    force.finalize()
    xml = openmm.XmlSerializer.serialize(force)  # a System takes the force away
    assert read_system(two_particles(force)).born[0].coulomb == pytest.approx(137.1656, abs=1e-3)
    head, last = xml.rsplit("soluteDielectric=1;", 1)
    other = openmm.XmlSerializer.deserialize(f"{head}soluteDielectric=4;{last}")
    with pytest.raises(ConfigError, match="CustomGBForce: not one of"):
        read_system(two_particles(other))


def test_what_is_no_xml_is_one_line():
    with pytest.raises(ConfigError, match="not the XML of an OpenMM System") as caught:
        compiled_potential("nonsense")
    assert "\n" not in str(caught.value)


def test_no_particles():
    with pytest.raises(ConfigError, match="the System has no particles"):
        read_system(openmm.System())


def test_a_system_without_forces_has_no_energy():
    assert float(compiled_potential(two_particles())(np.zeros(6, np.float32))) == 0.0
