"""Every door: energies of OpenMM's own reader, both as OpenMM computes them and compiled; what each door says."""

from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import app, unit

import jbg
from jbg.systems import openmm_energies
from jbg.systems.given_molecule import GivenMolecule
from jbg.systems.molecule import molecule_of
from jbg.systems.openmm_pool import ContextPool

pytestmark = pytest.mark.openmm

FILES = Path(__file__).parents[1] / "data" / "doors"
WHOLE = {"nonbondedMethod": app.NoCutoff, "constraints": None, "rigidWater": False}
AMBER = {"prmtop": FILES / "butane.prmtop", "inpcrd": FILES / "butane.inpcrd"}
GROMACS = {"top": FILES / "butane.top", "gro": FILES / "butane.gro"}
CHARMM = {
    name: FILES / f"tripeptide.{'prm' if name == 'prm' else name}" for name in ("psf", "crd", "prm")
}
SYSTEM = {"system": FILES / "butane_system.xml", "pdb": FILES / "butane.pdb"}
XML = {
    "pdb": FILES / "butane.pdb",
    "forcefield": (str(FILES / "butane.xml"), "implicit/obc2.xml"),
}
MODELS = {"obc1": app.OBC1, "obc2": app.OBC2, "gbn": app.GBn, "gbn2": app.GBn2, "hct": app.HCT}


def energy_of(system, positions) -> float:
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(positions)
    return context.getState(energy=True).getPotentialEnergy()._value


def by_jbg(given, backend):
    """(energy at the coordinates given, description), as `jbg energy` has them."""
    molecule = molecule_of(given)
    frames = molecule.built_positions[None]
    said, found = openmm_energies.evaluate(molecule, frames, backend=backend)
    return float(found.energy[0]), said["molecule"]


def by_openmm(files, implicit) -> float:
    """OpenMM's reader, called here."""
    model = {"implicitSolvent": MODELS.get(implicit), "sasaMethod": "ACE"}
    if "prmtop" in files:
        read = app.AmberPrmtopFile(str(files["prmtop"]))
        positions = app.AmberInpcrdFile(str(files["inpcrd"])).positions
        return energy_of(read.createSystem(**WHOLE, **model), positions)
    if "psf" in files:
        read = app.CharmmPsfFile(str(files["psf"]))
        system = read.createSystem(app.CharmmParameterSet(str(files["prm"])), **WHOLE, **model)
        return energy_of(system, app.CharmmCrdFile(str(files["crd"])).positions)
    read = app.GromacsTopFile(str(files["top"]))
    positions = app.GromacsGroFile(str(files["gro"])).positions
    system = read.createSystem(**WHOLE)
    if implicit == "none":
        return energy_of(system, positions)
    # with the solvent of a force field: the same atoms in GAFF2's XML file, less the same in vacuum
    loaded = [str(FILES / "butane.xml")]
    topology = app.PDBFile(str(FILES / "butane.pdb")).topology
    solvated, vacuum = (
        energy_of(app.ForceField(*loaded, *more).createSystem(topology, **WHOLE), positions)
        for more in ((f"implicit/{implicit}.xml",), ())
    )
    return energy_of(system, positions) + solvated - vacuum


@pytest.mark.filterwarnings("ignore:Non-optimal GB")
@pytest.mark.parametrize("backend", ["openmm", "jax"])
@pytest.mark.parametrize("implicit", ["none", "obc2", "gbn2"])
@pytest.mark.parametrize("files", [AMBER, GROMACS, CHARMM], ids=["amber", "gromacs", "charmm"])
def test_energies_are_those_of_openmms_reader(files, implicit, backend):
    given = GivenMolecule(**files, implicit=implicit)
    assert by_jbg(given, backend)[0] == pytest.approx(by_openmm(files, implicit), rel=1e-6)


@pytest.mark.parametrize("backend", ["openmm", "jax"])
def test_a_system_is_used_as_it_is(backend):
    system = openmm.XmlSerializer.deserialize(SYSTEM["system"].read_text())
    expected = energy_of(system, app.PDBFile(str(SYSTEM["pdb"])).positions)
    assert by_jbg(GivenMolecule(**SYSTEM), backend)[0] == pytest.approx(expected, rel=1e-6)


def test_a_system_in_python_is_that_of_its_files():
    system = openmm.XmlSerializer.deserialize(SYSTEM["system"].read_text())
    pdb = app.PDBFile(str(SYSTEM["pdb"]))
    found = jbg.molecule(system=system, topology=pdb.topology, positions=pdb.positions)
    plain = jbg.molecule(
        system=SYSTEM["system"],
        topology=pdb.topology,
        positions=pdb.positions.value_in_unit(unit.nanometer),
    )
    files = jbg.molecule(**SYSTEM)
    mixed = jbg.molecule(SYSTEM["pdb"], system=system)
    text = jbg.molecule(SYSTEM["pdb"], system=SYSTEM["system"].read_text())
    for other in (plain, files, mixed, text):
        np.testing.assert_array_equal(found.positions, other.positions)
        assert found.system_xml == other.system_xml
    assert found.description["formula"] == "C4H10"
    assert files.name == "butane_system"


def test_two_solvents_of_one_ligand_are_told_apart():
    """GAFF2 butane: one energy in vacuum, two in OBC2, and the sets of radii are said."""
    alone = {**XML, "forcefield": XML["forcefield"][:1]}
    frames = {
        name: by_jbg(GivenMolecule(**files), "openmm")
        for name, files in {
            "prmtop": AMBER,
            "xml": XML,
            "prmtop, vacuum": AMBER | {"implicit": "none"},
            "xml, vacuum": alone,
        }.items()
    }
    energy = {name: found[0] for name, found in frames.items()}
    assert energy["prmtop, vacuum"] == pytest.approx(energy["xml, vacuum"], abs=2e-4)
    assert energy["xml"] == pytest.approx(16.867, abs=1e-3)
    assert energy["prmtop"] == pytest.approx(15.262, abs=1e-3)
    solvent = {name: found[1]["solvent"] for name, found in frames.items()}
    assert "radii of butane.prmtop, modified Bondi radii (mbondi)" in solvent["prmtop"]
    assert "not those that OBC2 was made for (mbondi2)" in solvent["prmtop"]
    assert "the default" in solvent["prmtop"]
    assert solvent["xml"] == "OBC2, surface term, radii of the force field files"
    assert solvent["prmtop, vacuum"] == solvent["xml, vacuum"] == "vacuum"


def test_what_was_read_is_described():
    found = jbg.molecule(**CHARMM).description
    assert found["residues"] == ["GLY", "ALA", "GLY"]
    assert found["ends"] == ["NH3+", "COO-"]
    assert (found["n_l"], found["n_d"], found["charge"]) == (1, 0, 0)
    assert found["forcefield"] == ["tripeptide.psf", "tripeptide.prm"]
    assert found["ph"] is None
    assert found["hydrogens_added"] == 0


def test_forms_of_protonation_are_read_from_the_hydrogens():
    peptide = jbg.molecule(sequence="ACE-HIE-ASH-NME")
    pdb = app.PDBFile(_text(peptide))
    for residue, name in zip(pdb.topology.residues(), ("ACE", "HIE", "ASH", "NME"), strict=True):
        residue.name = name  # as LEaP calls them
    system = openmm.XmlSerializer.deserialize(peptide.system_xml)
    found = jbg.molecule(system=system, topology=pdb.topology, positions=peptide.positions)
    assert [each["form"] for each in found.description["protonation"]] == ["HIE", "ASH"]
    assert {each["by"] for each in found.description["protonation"]} == {"hydrogens"}
    with ContextPool(peptide.system_xml, platform="Reference") as pool:
        expected = pool.energies(peptide.positions[None])
    with ContextPool(found.system_xml, platform="Reference") as pool:
        np.testing.assert_allclose(pool.energies(peptide.positions[None]), expected, rtol=1e-6)


def _text(molecule):
    import io

    return io.StringIO(molecule.pdb)
