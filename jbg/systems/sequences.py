"""Sequences of peptides as people write them: residues, disulfides by labels, rings of head and tail."""

import difflib
import itertools
import re
from collections import Counter
from typing import NamedTuple

from jbg.interfaces import ConfigError
from jbg.systems.residue_names import (
    ALIASES,
    BUILT_FROM,
    C_CAPS,
    MIRROR_OF,
    MIRRORED,
    N_CAPS,
    NAMED_FORMS,
    ONE_LETTER,
    is_modified,
    standard_name,
)

SMALLEST_RING = 5  # residues; smaller ones have bent amides
_NAMES = (*ONE_LETTER, *MIRRORED, *NAMED_FORMS, *ALIASES, *BUILT_FROM, *N_CAPS, *C_CAPS)
_BY_LETTER = {letter: name for name, letter in ONE_LETTER.items()}
_D_NAMES = {f"D{name}": mirrored for name, mirrored in MIRROR_OF.items()}  # DALA


class Peptide(NamedTuple):
    """Names of residues, pairs of cysteines whose sulfurs are bonded, and whether head and tail are."""

    names: tuple[str, ...]
    bridges: tuple[tuple[int, int], ...] = ()
    ring: bool = False


def parse_peptide(sequence: str) -> Peptide:
    """Residues and bonds of a sequence.

    Beside what `parse_sequence` reads: two cysteines with the same number after them are bonded ("C1GGC1",
    "ACE-CYS1-GLY-DCY1-NME"), as are the only two that are called CYX; "cyclo(...)" bonds the last residue to the
    first.

    Raises:
        ConfigError: also a number that is not on exactly two cysteines, caps in a ring, or too small a ring.
    """
    words = sequence.strip()
    inside = re.fullmatch(r"cyclo\((.*)\)", words, re.IGNORECASE)
    ring = inside is not None
    plain = words if inside is None else inside[1].strip()
    parts = plain.split("-") if "-" in plain else re.findall(r"\D\d*|\d+", plain)
    if not all(re.fullmatch(r"\D*|\D+\d+", part) for part in parts):
        raise ConfigError(
            f"sequence {sequence!r}: a number stands after a cysteine and marks an end of a disulfide (C1GGC1)"
        )
    labels = [re.sub(r"\D", "", part) for part in parts]
    names = parse_sequence(re.sub(r"\d", "", plain))
    if ring and ({names[0], names[-1]} & {*N_CAPS, *C_CAPS}):
        raise ConfigError(f"sequence {sequence!r}: a ring has no ends, so no caps; leave them out")
    if ring and len(names) < SMALLEST_RING:
        raise ConfigError(
            f"sequence {sequence!r}: rings of {SMALLEST_RING} residues and more are built; give a smaller one "
            "as a PDB file"
        )
    return Peptide(names, _bridges(sequence, names, labels), ring)


def _bridges(
    sequence: str, names: tuple[str, ...], labels: list[str]
) -> tuple[tuple[int, int], ...]:
    labelled = [(label, i) for i, label in enumerate(labels) if label]
    for label, i in labelled:
        if standard_name(names[i]) != "CYS" or names[i] == "CYM":
            raise ConfigError(
                f"sequence {sequence!r}: {names[i]} {i + 1} has the number {label}, which marks the two ends of a "
                "disulfide; only cysteines have one"
            )
    wrong = [label for label, n in Counter(label for label, _ in labelled).items() if n != 2]
    if wrong:
        raise ConfigError(
            f"sequence {sequence!r}: the number {wrong[0]} must stand after two cysteines, which are then bonded, "
            "as in C1GGC1"
        )
    free = [i for i, name in enumerate(names) if name == "CYX" and not labels[i]]
    if len(free) not in (0, 2):
        raise ConfigError(
            f"sequence {sequence!r}: {len(free)} residue(s) named CYX; number those that are bonded, as in "
            "CYS1-GLY-GLY-CYS1"
        )
    of_label: dict[str, list[int]] = {}
    for label, i in labelled:
        of_label.setdefault(label, []).append(i)
    return tuple(sorted((a, b) for a, b in [*of_label.values(), *([free] if free else [])]))


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
        if (name in N_CAPS and place > 0) or (name in C_CAPS and place < len(names) - 1):
            raise ConfigError(
                f"sequence {sequence!r}: cap {name} at position {place + 1}; "
                "ACE goes first, NME or NHE last"
            )
    if not any(BUILT_FROM.get(name, standard_name(name)) in ONE_LETTER for name in names):
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
            "give a PDB file and a force field that has it, or --prmtop and --inpcrd"
        )
    near = difflib.get_close_matches(name, _NAMES, n=1)
    hint = f"did you mean {near[0]}?" if near else "use the 20 amino acids, ACE, NME, NHE"
    raise ConfigError(f"sequence {sequence!r}: unknown residue {word!r}; {hint}")


def _refuse_a_name(sequence: str, word: str) -> None:
    """Refuses a word without dashes that is a residue's name, or names run together."""
    name = word.upper()
    one = name in _NAMES or name in _D_NAMES or is_modified(name)
    if one or name[:3] in N_CAPS or name[-3:] in C_CAPS:
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
