"""Heavy-atom coordinates of a peptide from its sequence, as PDB text; needs no file."""

import difflib
import io
import warnings

import numpy as np

from jbg.interfaces import ConfigError

ONE_LETTER = {
    "ALA": "A", "ARG": "R", "ASN": "N", "ASP": "D", "CYS": "C", "GLN": "Q", "GLU": "E",
    "GLY": "G", "HIS": "H", "ILE": "I", "LEU": "L", "LYS": "K", "MET": "M", "PHE": "F",
    "PRO": "P", "SER": "S", "THR": "T", "TRP": "W", "TYR": "Y", "VAL": "V",
}  # fmt: skip
# A cap is a glycine with these atoms kept under these names; what is not named is dropped.
_N_CAPS = {"ACE": {"CA": "CH3", "C": "C", "O": "O"}}
_C_CAPS = {"NME": {"N": "N", "CA": "C"}, "NHE": {"N": "N"}}


def parse_sequence(sequence: str) -> tuple[str, ...]:
    """Residue names of "ACE-ALA-NME" (names joined by dashes) or "GYDPETGTWG" (one-letter codes).

    A word without dashes is read as one-letter codes, and refused if it looks like three-letter names;
    one-letter codes may stand between dashes. Caps: ACE at the start, NME or NHE at the end.

    Raises:
        ConfigError: an unknown residue, a cap in the wrong place, or no amino acid at all.
    """
    words = sequence.strip().upper()
    by_letter = {letter: name for name, letter in ONE_LETTER.items()}
    names = tuple(by_letter.get(w, w) for w in (words.split("-") if "-" in words else words))
    known = [*ONE_LETTER, *_N_CAPS, *_C_CAPS]
    if "-" not in words and (words in known or words[:3] in _N_CAPS or words[-3:] in _C_CAPS):
        raise ConfigError(
            f"sequence {sequence!r}: three-letter names or letters? Write {'-'.join(names)} for the letters, "
            "or put dashes between the names, as in ACE-ALA-NME"
        )
    for place, name in enumerate(names):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "use the 20 amino acids, ACE, NME, NHE"
            raise ConfigError(f"sequence {sequence!r}: unknown residue {name!r}; {hint}")
        if (name in _N_CAPS and place > 0) or (name in _C_CAPS and place < len(names) - 1):
            raise ConfigError(
                f"sequence {sequence!r}: cap {name} at position {place + 1}; "
                "ACE goes first, NME or NHE last"
            )
    if not any(name in ONE_LETTER for name in names):
        raise ConfigError(
            f"sequence {sequence!r}: no amino acid; write e.g. ACE-ALA-NME or GYDPETGTWG"
        )
    return names


def peptide_pdb(names: tuple[str, ...]) -> str:
    """PDB text of the extended peptide, heavy atoms only, built from ideal internal coordinates.

    Args:
        names: residue names as :func:`parse_sequence` returns them.

    Raises:
        RuntimeError: a CA did not come out as L (never seen; the check costs nothing).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Biopython warns about its own deprecated imports
        import PeptideBuilder
        from Bio.PDB import PDBIO

    letters = "".join(ONE_LETTER.get(name, "G") for name in names)
    structure = PeptideBuilder.make_extended_structure(letters)
    chain = next(structure.get_chains())
    for residue, name in zip(chain, names, strict=True):
        renamed = {**_N_CAPS, **_C_CAPS}.get(name)
        if renamed is not None:
            _turn_into_cap(residue, name, renamed)
        elif name != "GLY" and signed_ca_volume({a.name: a.coord for a in residue}) <= 0:
            raise RuntimeError(f"residue {name} {residue.id[1]} was built with the wrong chirality")
    out = io.StringIO()
    writer = PDBIO()
    writer.set_structure(structure)
    writer.save(out)
    return out.getvalue()


def signed_ca_volume(atoms: dict[str, np.ndarray]) -> float:
    """(N-CA) x (C-CA) . (CB-CA) of one residue's atoms by PDB name; positive for L."""
    n, c, cb = (np.asarray(atoms[name], float) - atoms["CA"] for name in ("N", "C", "CB"))
    return float(np.dot(np.cross(n, c), cb))


def _turn_into_cap(residue, name: str, renamed: dict[str, str]) -> None:
    """Turn a Biopython glycine into the cap ``name``, in place."""
    residue.resname = name
    atoms = list(residue)
    for atom in atoms:
        residue.detach_child(atom.id)
    for atom in atoms:
        if atom.name in renamed:
            atom.id = atom.name = renamed[atom.name]
            atom.fullname = f" {atom.name:<3s}"
            residue.add(atom)
