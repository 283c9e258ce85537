"""Every bad PDB file and force field is refused with one line that names the fault."""

import re

import pytest

from jbg.interfaces import ConfigError
from jbg.systems.molecule import FORCEFIELD, molecule_from_pdb, molecule_from_sequence
from jbg.systems.peptide import peptide_pdb
from jbg.systems.sequences import parse_sequence

pytestmark = pytest.mark.openmm


@pytest.fixture(scope="module")
def good() -> str:
    """Alanine dipeptide, heavy atoms only."""
    return peptide_pdb(parse_sequence("ACE-ALA-NME"))


def without(text: str, *names: str) -> str:
    return "\n".join(line for line in text.splitlines() if line[12:16].strip() not in names)


def only(text: str, name: str) -> str:
    return "\n".join(line for line in text.splitlines() if line[12:16].strip() == name)


def shifted(text: str, dx: float) -> str:
    """The molecule moved by ``dx`` Angstrom along x."""
    lines = []
    for line in text.splitlines():
        if line.startswith(("ATOM", "HETATM")):
            line = f"{line[:30]}{float(line[30:38]) + dx:8.3f}{line[38:]}"
        lines.append(line)
    return "\n".join(lines)


def atoms_only(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.startswith(("ATOM", "TER"))) + "\n"


WATER = "HETATM  900  O   HOH B   1      20.000  20.000  20.000  1.00  0.00           O\n"
SODIUM = "HETATM  900 NA    NA B   1      20.000  20.000  20.000  1.00  0.00          NA\n"

BAD = {
    "empty": (lambda good: "", "the file is empty"),
    "blank": (lambda good: " \n\n", "the file is empty"),
    "not_pdb": (lambda good: "hello\nworld\n", "not a PDB file"),
    "cif": (lambda good: "data_X\nATOM   1    N N   . MET A 1 1 ? 27.3\n", "not a readable PDB"),
    "unknown_residue": (lambda good: good.replace("ALA", "XYZ"), r"unknown residue.*XYZ 2"),
    "missing_oxygen": (
        lambda good: without(good, "O"),
        r"missing heavy atoms \(ACE 1: O; ALA 2: O\)",
    ),
    "missing_cap_atom": (lambda good: without(good, "CH3"), r"missing heavy atoms \(ACE 1: CH3\)"),
    "two_molecules": (
        lambda good: atoms_only(good) + atoms_only(shifted(good, 30.0)).replace(" A ", " B "),
        "2 molecules that no bond connects",
    ),
    "two_in_one_chain": (
        lambda good: atoms_only(without(good, "TER")) + atoms_only(shifted(good, 30.0)),
        "2 molecules|missing between|not a readable|missing heavy",
    ),
    "water": (lambda good: atoms_only(good) + WATER, r"1 water molecule.*remove"),
    "ion": (lambda good: atoms_only(good) + SODIUM, r"1 lone atom\(s\) or ion\(s\) \(NA\); remove"),
    "trace": (
        lambda good: only(peptide_pdb(parse_sequence("ACE-ALA-GLY-ALA-NME")), "CA"),
        "only one atom of each residue",
    ),
    "nan": (
        lambda good: re.sub(r"(CA  ALA A   2 {4}).{8}", r"\1     nan", good),
        "coordinates are not finite .* CA of ALA 2",
    ),
    "garbled_numbers": (
        lambda good: re.sub(r"(CA  ALA A   2 {4}).{8}", r"\1 abc.def", good),
        "not a readable PDB",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_in_one_line(case, good, tmp_path):
    change, message = BAD[case]
    path = tmp_path / "bad.pdb"
    path.write_text(change(good))
    with pytest.raises(ConfigError, match=message) as error:
        molecule_from_pdb(path)
    assert "\n" not in str(error.value)
    assert "bad.pdb" in str(error.value)


def test_a_missing_file_a_folder_and_binary_rubbish_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such PDB file"):
        molecule_from_pdb(tmp_path / "none.pdb")
    with pytest.raises(ConfigError, match="no such PDB file"):
        molecule_from_pdb(tmp_path)
    (tmp_path / "rubbish.pdb").write_bytes(bytes(range(256)) * 10)
    with pytest.raises(ConfigError, match="not a PDB file"):
        molecule_from_pdb(tmp_path / "rubbish.pdb")


def test_a_chain_with_a_residue_left_out_is_refused(tmp_path):
    text = peptide_pdb(parse_sequence("ACE-ALA-GLY-ALA-NME"))
    path = tmp_path / "gap.pdb"
    path.write_text("\n".join(line for line in text.splitlines() if " GLY " not in line))
    with pytest.raises(ConfigError, match=r"C of ALA 2 and N of ALA 4 should be bonded"):
        molecule_from_pdb(path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("amber14-al.xml",), "did you mean amber14-all.xml"),
        (("amber14-all.xml", "implicit/obc3.xml"), "did you mean implicit/obc"),
        (("amber14-all.xml,implicit/obc2.xml",), "separated by spaces, not commas"),
        ((), "at least one file"),
        ("amber14-all.xml", "at least one file"),
        (("implicit/obc2.xml",), "no template in implicit/obc2.xml"),
        (("tip3p.xml",), "no template in tip3p.xml"),
    ],
)
def test_unknown_force_fields_are_refused(names, message):
    with pytest.raises(ConfigError, match=message) as error:
        molecule_from_sequence("ACE-ALA-NME", forcefield=names)
    assert "\n" not in str(error.value)


def test_an_amino_acid_by_itself_is_told_to_take_caps():
    with pytest.raises(ConfigError, match="ALA 1 .an amino acid by itself: give it caps"):
        molecule_from_sequence("A")


def test_a_file_that_is_no_force_field_is_refused(tmp_path):
    path = tmp_path / "mine.xml"
    path.write_text("<Force")
    with pytest.raises(ConfigError, match="is no force field file: not XML"):
        molecule_from_sequence("ACE-ALA-NME", forcefield=(*FORCEFIELD, str(path)))
