"""Sequences with disulfides, rings of head and tail and unusual residues: read, built, refused."""

import io

import numpy as np
import openmm
import pytest
from openmm import app

import jbg
from jbg.interfaces import ConfigError
from jbg.systems.description_rows import rows
from jbg.systems.molecule import FORCEFIELD
from jbg.systems.openmm_pool import ContextPool
from jbg.systems.sequences import Peptide, parse_peptide

pytestmark = pytest.mark.openmm
FF15IPQ = ("amber14/protein.ff15ipq.xml", "implicit/obc2.xml")


def test_bonds_are_read_from_labels():
    four = ("CYS", "GLY", "GLY", "CYS")
    assert parse_peptide("C1GGC1") == Peptide(four, ((0, 3),))
    assert parse_peptide("CYS1-GLY-GLY-CYS1") == Peptide(four, ((0, 3),))
    assert parse_peptide("CYS7-Gly-Gly-CYS7") == Peptide(four, ((0, 3),))
    assert parse_peptide("c1GGC1") == Peptide(("DCY", "GLY", "GLY", "CYS"), ((0, 3),))
    assert parse_peptide("ACE-CYX-GLY-CYX-NME").bridges == ((1, 3),)
    assert parse_peptide("C1C2GGC2C1").bridges == ((0, 5), (1, 4))
    assert parse_peptide("CGGC") == Peptide(four)
    assert parse_peptide("cyclo(AGAGA)") == Peptide(("ALA", "GLY", "ALA", "GLY", "ALA"), (), True)
    assert parse_peptide("Cyclo(C1AAC1A)").bridges == ((0, 3),)
    assert parse_peptide("cyclo(ALA-GLY-DAL-PRO-NLE)").names[2:] == ("DAL", "PRO", "NLE")


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        ("C1GGC", "the number 1 must stand after two cysteines"),
        ("C1GC1GC1", "the number 1 must stand after two cysteines"),
        ("C1GGA1", "ALA 4 has the number 1.*only cysteines"),
        ("ACE-CYM1-GLY-CYS1-NME", "CYM 2 has the number 1"),
        ("ACE-CYX-GLY-NME", r"1 residue\(s\) named CYX; number those that are bonded"),
        ("ACE-CYX-CYX-CYX-CYX-NME", r"4 residue\(s\) named CYX"),
        ("cyclo(AGA)", "rings of 5 residues and more are built"),
        ("cyclo(ACE-ALA-GLY-ALA-GLY-NME)", "a ring has no ends, so no caps"),
        ("cyclo(AGAGA", "unknown residue"),
        ("cyclo()", "no amino acid"),
        ("1AGA", "a number stands after a cysteine"),
        ("ACE-C2S-NME", "a number stands after a cysteine"),
    ],
)
def test_labels_that_make_no_sense(sequence, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_peptide(sequence)
    assert "\n" not in str(caught.value)


def energies(molecule, forcefield=FORCEFIELD):
    """(jbg's, that of OpenMM's force field for the PDB file that jbg writes)."""
    pdb = app.PDBFile(io.StringIO(molecule.pdb))
    if molecule.description["ring"]:
        residues = list(pdb.topology.residues())
        ends = zip((residues[-1], residues[0]), "CN", strict=True)
        pdb.topology.addBond(*(next(a for a in r.atoms() if a.name == n) for r, n in ends))
    system = app.ForceField(*forcefield).createSystem(pdb.topology, nonbondedMethod=app.NoCutoff)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(molecule.positions)
    expected = context.getState(energy=True).getPotentialEnergy()._value
    with ContextPool(molecule.system_xml, platform="Reference") as pool:
        return pool.energies(molecule.positions[None])[0], expected


def test_a_variant_a_d_residue_and_a_disulfide():
    molecule = jbg.molecule(sequence="ACE-CYS1-HIE-DAL-CYS1-NME")
    found = molecule.description
    assert found["disulfides"] == [["CYS 2", "CYS 5"]]
    assert found["d_residues"] == ["ALA 4"]
    assert [each["form"] for each in found["protonation"]] == ["HIE"]
    assert (found["n_l"], found["n_d"], found["charge"]) == (3, 1, 0)
    ours, expected = energies(molecule)
    assert ours == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("sequence", ["cyclo(PGaGA)", "cyclo(GGGGGG)"])
def test_rings_of_head_and_tail(sequence):
    molecule = jbg.molecule(sequence=sequence)
    topology = molecule.topology
    assert molecule.description["ring"]
    assert "OXT" not in topology.atom_names
    # as many bonds as atoms: one ring, and proline's
    rings = len(topology.bonds) - topology.n_atoms + 1
    assert rings == 1 + sequence.count("P")
    assert dict(rows(molecule.description))["residues"].startswith("cyclo(")
    assert molecule.description["n_d"] == sequence.count("a")
    ours, expected = energies(molecule)
    assert ours == pytest.approx(expected, rel=1e-6)


def test_a_ring_is_read_from_its_file(tmp_path):
    """With hydrogens, and from heavy atoms alone."""
    molecule = jbg.molecule(sequence="cyclo(GAGAG)")
    path = tmp_path / "ring.pdb"
    path.write_text(molecule.pdb)
    again = jbg.molecule(path)
    np.testing.assert_allclose(again.positions, molecule.positions, atol=0.01)
    assert again.description["hydrogens_added"] == 0
    lines = molecule.pdb.splitlines()
    heavy = [x for x in lines if x[76:78].strip() != "H" and not x.startswith("CONECT")]
    path.write_text("\n".join(heavy) + "\n")
    bare = jbg.molecule(path).description
    assert bare["ring"]
    assert bare["formula"] == molecule.description["formula"] == "C12H19N5O5"
    assert bare["hydrogens_added"] == 19


def test_a_ring_that_cannot_be_closed_is_refused():
    with pytest.raises(ConfigError, match="no conformation was found that closes"):
        jbg.molecule(sequence="ACE-CYS1-CYS1-NME")
    with pytest.raises(ConfigError, match="disulfides and rings are built up to 30"):
        jbg.molecule(sequence="C1" + "G" * 30 + "C1")


@pytest.mark.parametrize(
    ("sequence", "forcefield", "formula"),
    [
        ("ACE-NLE-NME", FF15IPQ, "C9H18N2O2"),
        ("ALA-AIB-ALA", ("charmm36.xml",), "C10H19N3O4"),
    ],
)
def test_residues_of_no_letter(sequence, forcefield, formula):
    molecule = jbg.molecule(sequence=sequence, forcefield=forcefield)
    assert molecule.description["formula"] == formula
    with pytest.raises(ConfigError, match="or choose a force field that has them .*charmm36.xml"):
        jbg.molecule(sequence=sequence)


def test_methylated_residues_are_refused():
    """No force field that comes with OpenMM has them."""
    with pytest.raises(ConfigError, match="MVA is a modified residue.*--prmtop and --inpcrd"):
        jbg.molecule(sequence="ACE-MVA-NME")
