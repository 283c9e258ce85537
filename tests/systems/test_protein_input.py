"""Bad proteins: what can be repaired is, and said; anything else is refused in one line; no given atom moves."""

import re
from pathlib import Path

import pytest

from jbg.interfaces import ConfigError
from jbg.systems.description_rows import rows
from jbg.systems.molecule import molecule_from_pdb
from jbg.systems.pdb_input import complete, load_forcefield
from tests.molecules import peptide as molecule_of
from tests.pdb_text import (
    built,
    check_unmoved,
    fields,
    is_atom,
    peptide,
    places,
    renamed,
    whole,
    without,
)

pytestmark = pytest.mark.openmm

FF15IPQ = ("amber14/protein.ff15ipq.xml", "implicit/obc2.xml")
STRUCTURES = Path(__file__).parents[3] / "shared" / "structures"


# --- alternate locations ------------------------------------------------------------------------------------


def alternate(text: str, residue: int, names: str, occupancies: tuple[float, ...], **other) -> str:
    """Atoms of a residue in several places, 0.2 Angstrom along x from each other; B may be another residue."""
    lines = []
    for x in text.splitlines():
        if not (is_atom(x) and fields(x)[0] == residue and fields(x)[1] in names.split()):
            lines.append(x)
            continue
        for k, occupancy in enumerate(occupancies):
            called = other.get("b", x[17:20]) if k else x[17:20]
            at = float(x[30:38]) + 0.2 * k
            lines.append(
                f"{x[:16]}{'ABC'[k]}{called}{x[20:30]}{at:8.3f}{x[38:54]}{occupancy:6.2f}{x[60:]}"
            )
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("occupancies", "letter", "n"),
    [((0.3, 0.7), "B", 2), ((0.5, 0.5), "A", 2), ((0.2, 0.3, 0.5), "C", 4)],
)
def test_the_conformation_of_highest_occupancy_is_kept(occupancies, letter, n):
    text = peptide("ACE-SER-ALA-NME")
    found = complete(alternate(text, 2, "CB OG", occupancies), "test")
    given = places(text)
    for name in ("CB", "OG"):
        given[2, name] = given[2, name] + [0.02 * "ABC".index(letter), 0, 0]
    check_unmoved(given, built(found))
    assert found.left_out["alternate_locations"] == n
    assert found.left_out["alternate_residues"] == [f"SER 2 ({letter})"]


def test_a_residue_is_kept_whole_and_one_with_two_names_is_one_of_them():
    text = peptide("ACE-SER-ALA-NME")
    # the mean decides, so that atoms of A and B are not mixed
    mixed = alternate(alternate(text, 2, "CB", (0.6, 0.4)), 2, "OG", (0.1, 0.9))
    assert complete(mixed, "test").left_out["alternate_residues"] == ["SER 2 (B)"]
    mutated = alternate(text, 2, "N CA C O CB OG", (0.4, 0.6), b="CYS").replace(
        "OG BCYS", "SG BCYS"
    )
    mutated = re.sub(r"(SG BCYS.*)O(\s*)$", r"\1S\2", mutated, flags=re.MULTILINE)
    found = complete(mutated, "test")
    assert [r.name for r in found.modeller.topology.residues()] == ["ACE", "CYS", "ALA", "NME"]
    assert found.left_out["alternate_residues"] == ["CYS 2 (B)"]
    assert found.left_out["alternate_locations"] == 6


def test_alternate_locations_are_named_in_the_rows():
    about = molecule_of("ACE-ALA-NME").description
    left_out = {
        "models": 0,
        "alternate_locations": 4,
        "alternate_residues": ["SER 2 (B)", "VAL 9 (A)"],
    }
    assert dict(rows(about | {"left_out": left_out}))["left out"] == (
        "4 alternate location(s) of atoms in 2 residue(s), kept is the one of highest occupancy: "
        "SER 2 (B), VAL 9 (A)"
    )


# --- names of hydrogens -------------------------------------------------------------------------------------

NAMES = {  # names here -> those of the file; what is said
    "old PDB": (
        "LEU",
        {"HB2": "2HB", "HB3": "1HB", "HD11": "1HD1"},
        ["2HB of LEU 2 is HB2", "1HB of LEU 2 is HB3", "1HD1 of LEU 2 is HD11"],
    ),
    "CHARMM": (
        "LEU",
        {"H": "HN", "HB2": "HB1", "HB3": "HB2"},
        ["HN of LEU 2 is H", "HB1 of LEU 2 is HB3"],
    ),
    "GROMACS": (
        "ILE",
        {"CD1": "CD", "HD11": "HD1", "HD12": "HD2", "HD13": "HD3"},
        [
            *("CD of ILE 2 is CD1", "HD1 of ILE 2 is HD11"),
            *("HD2 of ILE 2 is HD12", "HD3 of ILE 2 is HD13"),
        ],
    ),
    "of no convention": (
        "LEU",
        {"HB2": "HX1", "HB3": "HX2", "HG": "HQ"},
        ["HX1 of LEU 2 is HB2", "HX2 of LEU 2 is HB3", "HQ of LEU 2 is HG"],
    ),
    "of a form of protonation": ("HIE", {"HE2": "HQ2"}, ["HQ2 of HIS 2 is HE2"]),
}


@pytest.mark.parametrize("case", NAMES)
def test_odd_names_of_hydrogens_are_changed_and_said(case):
    residue, names, said = NAMES[case]
    text = whole(f"ACE-{residue}-NME")
    found = complete(renamed(text, 2, **names), "test")
    assert found.protonation.added == 0
    assert [each for each in found.renamed if each.split()[2] == said[0].split()[2]] == said
    now, before = built(found), places(text)
    if case == "CHARMM":  # HB1, HB2 there are HB3, HB2 here
        before[2, "HB2"], before[2, "HB3"] = before[2, "HB3"], before[2, "HB2"]
    assert now.keys() == {
        (int(a.residue.id), a.name) for a in complete(text, "test").modeller.topology.atoms()
    }
    check_unmoved({key: place for key, place in before.items() if key[0] == 2}, now)
    if residue == "HIE":
        (form,) = found.protonation.forms
        assert (form["form"], form["by"]) == ("HIE", "hydrogens")


def test_standard_names_are_not_said_to_be_changed():
    assert complete(peptide("GYDPETGTWG"), "test").renamed == []
    assert complete(whole("ACE-LYS-NME"), "test").renamed == []
    assert "renamed" not in dict(rows(molecule_of("ACE-ALA-NME").description))


# --- norleucine ---------------------------------------------------------------------------------------------


def norleucine(sequence: str) -> str:
    """MET with carbon in the place of sulfur."""
    text = peptide(sequence).replace("MET", "NLE")
    return re.sub(r" SD (.*)S(\s*)$", r" CD \1C\2", text, flags=re.MULTILINE)


def test_norleucine_needs_no_conect_records(tmp_path):
    path = tmp_path / "nle.pdb"
    path.write_text(norleucine("ACE-ALA-MET-ALA-NME"))
    found = molecule_from_pdb(path, forcefield=FF15IPQ)
    assert found.topology.residue_names.count("NLE") == 19
    assert (found.description["n_l"], found.description["heavy_atoms_added"]) == (3, [])
    assert found.description["residues"][2] == "NLE"
    # its side chain is built as any other's
    lacking = without(path.read_text(), 3, "CG CD CE")
    added = complete(lacking, "test")
    assert added.heavy_added == ["CG CD CE of NLE 3"]
    check_unmoved(places(lacking), built(added))
    with pytest.raises(ConfigError, match=r"NLE 3.*amber14/protein\.ff15ipq\.xml or charmm36\.xml"):
        molecule_from_pdb(path)


@pytest.mark.skipif(not STRUCTURES.is_dir(), reason="needs the folder ../shared/structures")
def test_hp35_with_norleucine_has_all_its_atoms():
    text = (STRUCTURES / "hp35_nle_2f4k_exp.pdb").read_text()
    for source in (text, "".join(x for x in text.splitlines(True) if x[:6] != "CONECT")):
        found = complete(source, "2f4k")
        assert found.modeller.topology.getNumAtoms() == 576
        assert (found.heavy_added, found.renamed) == ([], [])
        check_unmoved(places(text), built(found))
    system = load_forcefield(FF15IPQ).createSystem(found.modeller.topology)
    assert system.getNumParticles() == 576


# --- refused ------------------------------------------------------------------------------------------------


def far(text: str, chain: str) -> str:
    """A copy 30 Angstrom away in another chain."""
    move = lambda x: f"{x[:21]}{chain}{x[22:30]}{float(x[30:38]) + 30:8.3f}{x[38:]}"
    return "".join(f"{move(x)}\n" for x in text.splitlines() if x.startswith("ATOM"))


def atoms_of(text: str) -> str:
    return "".join(f"{x}\n" for x in text.splitlines() if x.startswith(("ATOM", "TER")))


LONG = "ACE-ALA-GLY-SER-ALA-NME"
SEQRES = "SEQRES   1 A    6  ACE ALA GLY SER ALA NME\n"
REFUSED = {
    "a gap by numbers": (
        lambda: without(without(peptide(LONG), 3), 4),
        r"C of ALA 2 and N of ALA 5 should be bonded.*2 residue\(s\) missing between them, by their numbers; "
        r"model the loop elsewhere, or cap the pieces \(NME, ACE\) and run them apart",
    ),
    "a gap by SEQRES": (
        lambda: SEQRES + without(without(peptide(LONG), 3), 4),
        r"ALA 2 and N of ALA 5.*2 residue\(s\) missing between them, GLY SER; model",
    ),
    "a gap after TER": (
        lambda: re.sub(r"(ATOM.*  N   SER)", r"TER\n\1", without(peptide(LONG), 3)),
        r"2 molecules.*chain A: 2 residue\(s\), ACE 1 to ALA 2; chain A: 3 residue\(s\), SER 4 to NME 6.*if "
        r"residues are missing between pieces of a chain, model the loop elsewhere, or cap the pieces",
    ),
    "two chains": (
        lambda: atoms_of(peptide(LONG)) + far(peptide("AG"), "B"),
        r"2 molecules that no bond connects \(chain A: 6 residue\(s\), ACE 1 to NME 6; chain B: 2 residue\(s\), "
        r"ALA 1 to GLY 2\); give a file with one molecule: delete the lines of the other chains",
    ),
    "an unknown residue": (
        lambda: peptide(LONG).replace("SER", "XYZ"),
        r"unknown residue.*XYZ 4.*add CONECT records and a force field that has them",
    ),
    "backbone": (
        lambda: without(peptide(LONG), 4, "O"),
        r"missing heavy atoms \(SER 4: O\); only side chains and OXT are added",
    ),
    "a cap": (lambda: without(peptide(LONG), 1, "CH3"), r"missing heavy atoms \(ACE 1: CH3\)"),
    "hydrogens of a missing atom": (
        lambda: without(whole(LONG), 4, "OG"),
        "SER 4 has HG but not OG, which it is bonded to; give the heavy atom, or remove the hydrogen",
    ),
    "sulfur": (
        lambda: without(peptide("ACE-CYS-GLY-CYS-NME"), 2, "SG"),
        "CYS 2 lacks SG, and whether it is bonded to that of CYS 4 cannot be told",
    ),
    "an atom twice": (
        lambda: re.sub(r"(.* CB  SER .*\n)", r"\1\1", peptide(LONG)),
        "CB of SER 4 is given twice; remove one",
    ),
    "a number twice": (
        lambda: peptide(LONG).replace("SER A   4", "SER A   3"),
        r"one residue number is used for residues of different names \(GLY 3, SER 3\)",
    ),
    "strange atom": (
        lambda: renamed(peptide(LONG), 4, OG="OX"),
        r"unknown names: SER 4 \(OX\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_repaired_is_refused_in_one_line(case):
    build, message = REFUSED[case]
    with pytest.raises(ConfigError, match=message) as error:
        complete(build(), "x.pdb")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("x.pdb: ")


def test_residues_of_the_sequence_without_coordinates_are_said():
    found = complete("SEQRES   1 A    5  MET ALA GLY SER LYS\n" + peptide("AGS"), "test")
    assert found.left_out["unresolved"] == ["MET before ALA 1", "LYS after SER 3"]
    about = molecule_of("ACE-ALA-NME").description | {"left_out": found.left_out}
    assert dict(rows(about))["left out"] == (
        "of SEQRES, without coordinates: MET before ALA 1, LYS after SER 3"
    )
