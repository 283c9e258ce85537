"""What no door lets in: one line each that says what was found and what to do."""

import copy
import shutil

import openmm
import pytest
from openmm import app

import jbg
from jbg.interfaces import ConfigError
from jbg.systems.given_molecule import DOORS, GivenMolecule
from tests.systems.test_doors import AMBER, CHARMM, FILES, GROMACS, SYSTEM

pytestmark = pytest.mark.openmm


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "which molecule: give one of --pdb, --sequence, --prmtop"),
        ({"pdb": "a.pdb", "sequence": "AA"}, "give one of .*; got --pdb, --sequence"),
        ({"pdb": "a.pdb", "prmtop": "a.prmtop"}, "got --pdb, --prmtop"),
        ({"prmtop": "a", "gro": "b"}, "got --prmtop, --gro"),
        ({"prmtop": "a"}, r"--prmtop needs --inpcrd FILE beside it \(coordinates\)"),
        ({"inpcrd": "a"}, r"--inpcrd needs --prmtop FILE beside it \(topology and parameters\)"),
        ({"gro": "a"}, "--gro needs --top FILE"),
        ({"psf": "a"}, "--psf needs --crd FILE and --prm FILE"),
        ({"system": "a.xml"}, r"--system needs --pdb FILE beside it \(atoms and coordinates\)"),
        ({"include": "a"}, "--include needs --top FILE and --gro FILE"),
        ({"pdb": "a", "implicit": "obc2"}, "with --pdb the solvent is a file of --forcefield"),
        (SYSTEM | {"implicit": "obc2"}, "a System has its solvent already"),
        (AMBER | {"implicit": "gbsa"}, "implicit must be one of obc2, .*none, got 'gbsa'"),
        (AMBER | {"forcefield": ("a.xml",)}, "--prmtop has a force field: leave it out"),
        ({"smiles": "CCO"}, "smiles: jbg assigns no force field.*--prmtop.*--system"),
        ({"sdf": "a.sdf"}, "sdf: jbg assigns no force field.*docs/molecules.md"),
    ],
)
def test_options_that_name_no_door(given, message):
    with pytest.raises(ConfigError, match=message):
        GivenMolecule(**given)


def test_every_door_has_its_fields():
    names = {name for door in DOORS.values() for name in (*door.needs, *door.may)}
    assert names == set(GivenMolecule.__dataclass_fields__)


def edited(tmp_path, name, old, new):
    path = tmp_path / name
    text = (FILES / name).read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize(
    ("door", "field", "old", "new", "message"),
    [
        (AMBER, "inpcrd", "   14", "   13", "coordinates"),
        (AMBER, "prmtop", "%FLAG POINTERS", "%FLAG OTHERS", "cannot be read as an AMBER topology"),
        (GROMACS, "gro", "    1LIG     C2    2", "    1LIG     H1    2", "atom 2 is H1, but C2 in"),
        (GROMACS, "top", " 0.15354 191535.152000", "", "cannot be read as a System"),
        (GROMACS, "top", "LIG                  1", "LIG                  2", "coordinates of 14 atoms"),
        (CHARMM, "crd", "H2      ", "HX      ", "atom 3 is HX, but H2 in tripeptide.psf"),
        (CHARMM, "prm", "NH1 CT1 ", "NH1 XXX ", "cannot be read as a System"),
        (SYSTEM, "system", "<System ", "<Syste ", "not the XML of an OpenMM System"),
        (SYSTEM, "system", 'd="1"', 'd="0"', "bonded in the topology but not in the System"),
        (SYSTEM, "pdb", "HETATM   14", "REMARK   14", "14 particles, the topology 13 atoms"),
    ],
)  # fmt: skip
def test_files_that_are_wrong(tmp_path, door, field, old, new, message):
    path = door[field]
    if old == 'd="1"':
        path = _renumbered(tmp_path, path)
    else:
        path = edited(tmp_path, path.name, old, new)
    with pytest.raises(ConfigError, match=message) as caught:
        jbg.molecule(**{**door, field: path})
    assert "\n" not in str(caught.value)


def _renumbered(tmp_path, path):
    """The bonds of a System between other atoms."""
    system = openmm.XmlSerializer.deserialize(path.read_text())
    (bonds,) = (f for f in system.getForces() if isinstance(f, openmm.HarmonicBondForce))
    a, b, *rest = bonds.getBondParameters(0)
    bonds.setBondParameters(0, 0, 13, *rest)
    out = tmp_path / "other.xml"
    out.write_text(openmm.XmlSerializer.serialize(system))
    return out


@pytest.mark.parametrize("field", ["prmtop", "inpcrd"])
def test_missing_files_are_named(field):
    with pytest.raises(ConfigError, match="nowhere: no such file"):
        jbg.molecule(**{**AMBER, field: "nowhere"})


def test_a_force_field_is_no_system():
    with pytest.raises(ConfigError, match="a force field goes with --forcefield"):
        jbg.molecule(system=FILES / "butane.xml", pdb=FILES / "butane.pdb")


def test_files_at_the_wrong_door_are_sent_to_theirs():
    with pytest.raises(ConfigError, match="not a PDB file.*; give it with --prmtop and --inpcrd"):
        jbg.molecule(AMBER["prmtop"])
    with pytest.raises(ConfigError, match="is an OpenMM System.*give it with --system and --pdb"):
        jbg.molecule(SYSTEM["pdb"], forcefield=[str(SYSTEM["system"])])
    with pytest.raises(
        ConfigError, match=r"LIG 1; .*needs GAFF \(--prmtop and --inpcrd\) or OpenFF"
    ):
        jbg.molecule(SYSTEM["pdb"])
    with pytest.raises(ConfigError) as caught:
        jbg.molecule(sequence="ACE-NLE-NME")
    assert "GAFF" not in str(caught.value)


def test_a_missing_folder_of_includes():
    with pytest.raises(ConfigError, match="--include .*nowhere: no such folder"):
        jbg.molecule(**GROMACS, include="nowhere")


def constrained(system):
    system.addConstraint(0, 4, 0.109)


def periodic(system):
    nonbonded = next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    nonbonded.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)


def fixed(system):
    system.setParticleMass(3, 0.0)


def virtual(system):
    system.setParticleMass(3, 0.0)
    system.setVirtualSite(3, openmm.TwoParticleAverageSite(0, 1, 0.5, 0.5))


def restrained(system):
    force = openmm.CustomExternalForce("100*(x^2+y^2+z^2)")
    force.addParticle(0, [])
    system.addForce(force)


def heavier(system):
    system.addParticle(1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (constrained, r"constrains 1 distance.*constraints=None, rigidWater=False"),
        (periodic, "periodic; create it with nonbondedMethod=NoCutoff"),
        (fixed, "particle 4 is without mass"),
        (virtual, "particle 4 is a virtual site"),
        (restrained, "energy changes by .* when the molecule moves and turns; remove external"),
        (heavier, "15 particles, the topology 14 atoms and 14 positions"),
    ],
)
def test_systems_without_a_density(change, message):
    system = openmm.XmlSerializer.deserialize(SYSTEM["system"].read_text())
    pdb = app.PDBFile(str(SYSTEM["pdb"]))
    change(system)
    with pytest.raises(ConfigError, match=message):
        jbg.molecule(system=system, topology=pdb.topology, positions=pdb.positions)


def test_python_objects_go_together():
    system = openmm.XmlSerializer.deserialize(SYSTEM["system"].read_text())
    pdb = app.PDBFile(str(SYSTEM["pdb"]))
    with pytest.raises(ConfigError, match="system, topology and positions go together"):
        jbg.molecule(system=system, topology=pdb.topology)
    with pytest.raises(ConfigError, match="without files, got pdb too"):
        jbg.molecule(SYSTEM["pdb"], system=system, topology=pdb.topology, positions=pdb.positions)


def test_bonds_that_a_file_lacks_are_the_springs_of_the_system():
    system = openmm.XmlSerializer.deserialize(SYSTEM["system"].read_text())
    pdb = app.PDBFile(str(SYSTEM["pdb"]))
    bare = copy.deepcopy(pdb.topology)
    bare._bonds = []
    found = jbg.molecule(system=system, topology=bare, positions=pdb.positions)
    expected = {frozenset((a.index, b.index)) for a, b in pdb.topology.bonds()}
    assert {frozenset(map(int, pair)) for pair in found.topology.bonds} == expected
    assert not list(bare.bonds())  # the user's own is left alone


def test_forces_without_energy_are_left_out():
    system = openmm.XmlSerializer.deserialize(SYSTEM["system"].read_text())
    pdb = app.PDBFile(str(SYSTEM["pdb"]))
    plain = jbg.molecule(system=system, topology=pdb.topology, positions=pdb.positions)
    system.addForce(openmm.CMMotionRemover())
    found = jbg.molecule(system=system, topology=pdb.topology, positions=pdb.positions)
    assert found.system_xml == plain.system_xml


def test_solvent_in_a_topology_is_refused(tmp_path):
    """A top with water, as gmx solvate leaves it."""
    top, gro = (tmp_path / f"wet.{kind}" for kind in ("top", "gro"))
    shutil.copy(GROMACS["gro"], gro)
    water = "[ moleculetype ]\nSOL 2\n[ atoms ]\n1 hc 1 SOL OW 1 0.0 16.0\n[ system ]"
    text = GROMACS["top"].read_text().replace("[ system ]", water)
    top.write_text(text.rstrip() + "\nSOL 1\n")
    lines = gro.read_text().splitlines()
    lines[1] = "   15"
    lines.insert(-1, "    2SOL     OW   15   1.193   0.004   0.032")
    gro.write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigError, match="1 water molecule.*solvent is implicit, so strip them"):
        jbg.molecule(top=top, gro=gro)
