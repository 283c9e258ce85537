"""What residues are called: mirror images and forms of protonation, which share the atoms of one amino acid.

Readers of PDB files turn HIP, HIE and HID into HIS, and ASH into ASP. Here a name keeps what it says.
"""

import re
import warnings
from typing import NamedTuple

ONE_LETTER = {
    "ALA": "A", "ARG": "R", "ASN": "N", "ASP": "D", "CYS": "C", "GLN": "Q", "GLU": "E",
    "GLY": "G", "HIS": "H", "ILE": "I", "LEU": "L", "LYS": "K", "MET": "M", "PHE": "F",
    "PRO": "P", "SER": "S", "THR": "T", "TRP": "W", "TYR": "Y", "VAL": "V",
}  # fmt: skip
# The Protein Data Bank's names of D-amino acids.
MIRRORED = {
    "DAL": "ALA", "DAR": "ARG", "DSG": "ASN", "DAS": "ASP", "DCY": "CYS", "DGN": "GLN", "DGL": "GLU",
    "DHI": "HIS", "DIL": "ILE", "DLE": "LEU", "DLY": "LYS", "MED": "MET", "DPN": "PHE", "DPR": "PRO",
    "DSN": "SER", "DTH": "THR", "DTR": "TRP", "DTY": "TYR", "DVA": "VAL",
}  # fmt: skip
MIRROR_OF = {name: mirrored for mirrored, name in MIRRORED.items()}


class Form(NamedTuple):
    """A form of protonation: hydrogens on each group of titratable atoms (any of the group may have them), and
    what OpenMM's Modeller calls it."""

    residue: str
    hydrogens: dict[tuple[str, ...], int]
    variant: str


FORMS = {
    "HID": Form("HIS", {("ND1",): 1, ("NE2",): 0}, "HID"),
    "HIE": Form("HIS", {("ND1",): 0, ("NE2",): 1}, "HIE"),
    "HIP": Form("HIS", {("ND1",): 1, ("NE2",): 1}, "HIP"),
    "ASP": Form("ASP", {("OD1", "OD2"): 0}, "ASP"),
    "ASH": Form("ASP", {("OD1", "OD2"): 1}, "ASH"),
    "GLU": Form("GLU", {("OE1", "OE2"): 0}, "GLU"),
    "GLH": Form("GLU", {("OE1", "OE2"): 1}, "GLH"),
    "LYS": Form("LYS", {("NZ",): 3}, "LYS"),
    "LYN": Form("LYS", {("NZ",): 2}, "LYN"),
    "CYS": Form("CYS", {("SG",): 1}, "CYS"),
    "CYM": Form("CYS", {("SG",): 0}, "CYX"),  # to Modeller a thiolate is a CYX without its bond
    "CYX": Form("CYS", {("SG",): 0}, "CYX"),
}  # fmt: skip
NAMED_FORMS = {name: form for name, form in FORMS.items() if name != form.residue}
ALIASES = {
    "HSD": "HID",
    "HSE": "HIE",
    "HSP": "HIP",
    "LSN": "LYN",
    "ASPP": "ASH",
    "GLUP": "GLH",
}  # fmt: skip  CHARMM's
# Residues of no letter that are built from another, whose atoms they share.
BUILT_FROM = {"NLE": "LYS", "AIB": "ALA"}
# A cap is a glycine with these atoms kept under these names; what is not named is dropped.
N_CAPS = {"ACE": {"CA": "CH3", "C": "C", "O": "O"}}
C_CAPS = {"NME": {"N": "N", "CA": "C"}, "NHE": {"N": "N"}}
_RECORD = re.compile(r"^(?:ATOM  |HETATM|ANISOU|TER   ).{11}")


def standard_name(name: str) -> str:
    """The amino acid that a D-amino acid or a form of protonation has the heavy atoms of; other names as they
    are."""
    form = NAMED_FORMS.get(ALIASES.get(name, name))
    return form.residue if form else MIRRORED.get(name, name)


def with_standard_names(text: str) -> str:
    """PDB text with the residue names that readers know the bonds of."""
    lines = []
    for line in text.splitlines():
        if _RECORD.match(line):
            name = line[17:21].strip()
            standard = standard_name(name)
            if standard != name:
                line = f"{line[:17]}{standard} {line[21:]}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def is_modified(name: str) -> bool:
    """Whether the Protein Data Bank has a modified amino acid of this name, such as MSE."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Biopython warns about its own deprecated imports
        from Bio.Data.PDBData import protein_letters_3to1_extended

    return name in protein_letters_3to1_extended and name not in ONE_LETTER
