"""Heavy-atom coordinates of a peptide from its sequence, as PDB text; needs no file."""

import difflib
import io
import itertools
import warnings

import numpy as np

from jbg.interfaces import ConfigError
from jbg.systems.residue_names import (
    ALIASES,
    MIRROR_OF,
    MIRRORED,
    NAMED_FORMS,
    ONE_LETTER,
    is_modified,
    standard_name,
)

# A cap is a glycine with these atoms kept under these names; what is not named is dropped.
_N_CAPS = {"ACE": {"CA": "CH3", "C": "C", "O": "O"}}
_C_CAPS = {"NME": {"N": "N", "CA": "C"}, "NHE": {"N": "N"}}


_NAMES = (*ONE_LETTER, *MIRRORED, *NAMED_FORMS, *ALIASES, *_N_CAPS, *_C_CAPS)
_BY_LETTER = {letter: name for name, letter in ONE_LETTER.items()}
_D_NAMES = {f"D{name}": mirrored for name, mirrored in MIRROR_OF.items()}  # DALA


def parse_sequence(sequence: str) -> tuple[str, ...]:
    """Residue names of "ACE-ALA-NME" (names joined by dashes) or "GYDPETGTWG" (one-letter codes).

    Lower-case letters are D: "aAa" is DAL-ALA-DAL. D-alanine by name is DAL or DALA. Forms of protonation have
    names too (HIE, ASH). A word without dashes is read as one-letter codes, and refused if it is a residue's
    name; letters among names are refused. Caps: ACE at the start, NME or NHE at the end.

    Raises:
        ConfigError: an unknown residue, what may be read in two ways, a cap in the wrong place, or no amino acid
            at all.
    """
    words = sequence.strip()
    parts = words.split("-") if "-" in words else list(words)
    letters = all(len(part) == 1 for part in parts)
    if "-" not in words:
        _refuse_a_name(sequence, words)
    elif not letters and any(len(part) == 1 for part in parts):
        _refuse_letters_among_names(sequence, parts)
    names = tuple((_of_letter if letters else _of_name)(sequence, part) for part in parts)
    for place, name in enumerate(names):
        if (name in _N_CAPS and place > 0) or (name in _C_CAPS and place < len(names) - 1):
            raise ConfigError(
                f"sequence {sequence!r}: cap {name} at position {place + 1}; "
                "ACE goes first, NME or NHE last"
            )
    if not any(standard_name(name) in ONE_LETTER for name in names):
        raise ConfigError(
            f"sequence {sequence!r}: no amino acid; write e.g. ACE-ALA-NME or GYDPETGTWG"
        )
    return names


def _of_letter(sequence: str, letter: str) -> str:
    """The residue of a one-letter code, D of a lower-case one."""
    if letter.upper() not in _BY_LETTER:
        raise ConfigError(
            f"sequence {sequence!r}: unknown residue {letter!r}; use the letters of the 20 amino acids, "
            "lower case for D"
        )
    name = _BY_LETTER[letter.upper()]
    return MIRROR_OF.get(name, name) if letter.islower() else name


def _of_name(sequence: str, word: str) -> str:
    """The residue of a name, as ALA, Ala, DAL, DALA, dALA, or HIE."""
    name = word.upper()
    if name in _D_NAMES and word[1:] != word[1:].lower():
        return _D_NAMES[name]
    if name in _NAMES and word not in (name, name.capitalize()):
        also = f", or {MIRROR_OF[name]} for D" if name in MIRROR_OF else ""
        raise ConfigError(
            f"sequence {sequence!r}: {word!r} is in lower case, which is for D; write {name}{also}"
        )
    if name in _NAMES:
        return name
    if is_modified(name):
        raise ConfigError(
            f"sequence {sequence!r}: {name} is a modified residue, which cannot be built from a sequence; "
            "give a PDB file and a force field that has it"
        )
    near = difflib.get_close_matches(name, _NAMES, n=1)
    hint = f"did you mean {near[0]}?" if near else "use the 20 amino acids, ACE, NME, NHE"
    raise ConfigError(f"sequence {sequence!r}: unknown residue {word!r}; {hint}")


def _refuse_a_name(sequence: str, word: str) -> None:
    """Refuses a word without dashes that is a residue's name, or names run together."""
    name = word.upper()
    one = name in _NAMES or name in _D_NAMES or is_modified(name)
    if one or name[:3] in _N_CAPS or name[-3:] in _C_CAPS:
        known = all(letter in _BY_LETTER for letter in name)
        letters = "-".join(_of_letter(sequence, letter) for letter in word) if known else ""
        by_letter = f"Write {letters} for the letters, or put" if known else "Put"
        raise ConfigError(
            f"sequence {sequence!r}: three-letter names or letters? {by_letter} dashes between the names, "
            "as in ACE-ALA-NME"
        )


def _refuse_letters_among_names(sequence: str, parts: list[str]) -> None:
    """Refuses ACE-D-ALA-NME, which may be of aspartic acid or of D-alanine."""
    plain = "-".join(
        _BY_LETTER.get(part.upper(), part) if len(part) == 1 else part for part in parts
    )
    hint = f"write {plain}"
    for place, (part, following) in enumerate(itertools.pairwise(parts)):
        if part.upper() in ("D", "L") and following.upper() in MIRROR_OF:
            kind = part.upper()
            chosen = MIRROR_OF[following.upper()] if kind == "D" else following
            meant = "-".join([*parts[:place], chosen, *parts[place + 2 :]])
            hint = f"write {meant} for {kind}-{following.upper()}, or {plain} for {_BY_LETTER[kind]} before it"
            break
    raise ConfigError(f"sequence {sequence!r}: one-letter codes among names; {hint}")


def peptide_pdb(names: tuple[str, ...]) -> str:
    """PDB text of the extended peptide, heavy atoms only, built from ideal internal coordinates.

    A D residue is the mirror image of the L one: its side chain reflected in the plane of N, CA and C, its
    backbone torsions with the other sign.

    Args:
        names: residue names as :func:`parse_sequence` returns them.

    Raises:
        RuntimeError: a CA came out with the wrong hand (never seen; the check costs nothing).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Biopython warns about its own deprecated imports
        from Bio.PDB.PDBIO import PDBIO

    structure = _extended(names)
    chain = next(structure.get_chains())
    for residue, name in zip(chain, names, strict=True):
        residue.resname = name
        renamed = {**_N_CAPS, **_C_CAPS}.get(name)
        if renamed is not None:
            _turn_into_cap(residue, name, renamed)
        elif name != "GLY":
            if name in MIRRORED:
                _reflect_side_chain(residue)
            volume = signed_ca_volume({a.name: a.coord for a in residue})
            if not volume * (-1 if name in MIRRORED else 1) > 0:
                raise RuntimeError(
                    f"residue {name} {residue.id[1]} was built with the wrong chirality"
                )
    out = io.StringIO()
    writer = PDBIO()
    writer.set_structure(structure)
    writer.save(out)
    return out.getvalue()


def _extended(names: tuple[str, ...]):
    """Biopython's structure of L residues, caps as glycines; where a residue is to be D its phi and psi have
    the other sign."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import PeptideBuilder
        from PeptideBuilder.Geometry import geometry

    letters = [ONE_LETTER.get(standard_name(name), "G") for name in names]
    structure = PeptideBuilder.initialize_res(geometry(letters[0]))
    for letter, before, name in zip(letters[1:], names, names[1:], strict=False):
        geo = geometry(letter)
        geo.phi *= -1 if name in MIRRORED else 1
        geo.psi_im1 *= -1 if before in MIRRORED else 1
        PeptideBuilder.add_residue(structure, geo)
    return structure


def _reflect_side_chain(residue) -> None:
    """All but the backbone to the other side of the plane through N, CA and C, in place."""
    origin = residue["CA"].coord
    normal = np.cross(residue["N"].coord - origin, residue["C"].coord - origin)
    normal = normal / np.linalg.norm(normal)
    for atom in residue:
        if atom.name not in ("N", "CA", "C", "O"):
            atom.coord = atom.coord - 2 * np.dot(atom.coord - origin, normal) * normal


def signed_ca_volume(atoms: dict[str, np.ndarray]) -> float:
    """(N-CA) x (C-CA) . (CB-CA) of one residue's atoms by PDB name; positive for L."""
    return signed_volume(atoms, "CA", ("N", "C", "CB"))


def signed_volume(atoms: dict[str, np.ndarray], centre: str, around: tuple[str, ...]) -> float:
    """a x b . c of the three atoms ``around``, seen from ``centre``."""
    a, b, c = (np.asarray(atoms[name], float) - atoms[centre] for name in around)
    return float(np.dot(np.cross(a, b), c))


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
