"""Alternate locations in PDB text: one conformation of each residue is kept, that of highest occupancy.

A residue is kept as a whole: to mix atoms of conformations A and B would make a geometry that nobody observed.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from jbg.interfaces import ConfigError

_Residue = tuple[int, str, str]  # stretch between TER records, chain, number with insertion code


class _Line(NamedTuple):
    """An atom's line: its number in the text, residue, names, letter of the location and occupancy."""

    line: int
    residue: _Residue
    called: str  # "ALA 2"
    resname: str
    name: str
    letter: str
    occupancy: float


class OnePlace(NamedTuple):
    """PDB text with one location of each atom, and what was left out."""

    text: str
    n_left_out: int  # locations
    residues: list[str]  # "SER 3 (B)": the conformation kept of each residue that had several


def one_place(text: str, where: str) -> OnePlace:
    """Keeps the location of highest mean occupancy in each residue, the first one of equals.

    The first model only; others stay as they are.

    Args:
        text: of a PDB file.
        where: name of the source in messages.

    Raises:
        ConfigError: an atom given twice without letters of locations, or one residue number for two residues.
    """
    lines = text.splitlines()
    atoms = _atoms(lines)
    _check_once(atoms, where)
    residues: dict[_Residue, list[_Line]] = {}
    for atom in atoms:
        residues.setdefault(atom.residue, []).append(atom)
    several = len({atom.residue[1] for atom in atoms}) > 1
    dropped, named = set(), []
    for (_, chain, _), own in residues.items():
        letter = _letter(own)
        if letter is None:
            continue
        shared = _shared(own)
        out = [a for a in own if a.letter != letter and (a.letter or a.name in shared)]
        _check_one_name([atom for atom in own if atom not in out], where)
        dropped |= {atom.line for atom in out}
        called = next(atom.called for atom in own if atom.letter == letter)
        named.append(f"{called}{f' of {chain}' if several else ''} ({letter or 'unlettered'})")
    kept = []
    for k, line in enumerate(lines):
        if k not in dropped:
            kept.append(
                f"{line[:16]} {line[17:]}" if line.startswith(("ATOM  ", "HETATM")) else line
            )
    return OnePlace("\n".join(kept) + "\n", len(dropped), named)


def _atoms(lines: Sequence[str]) -> list[_Line]:
    """Those of the first model."""
    found, stretch = [], 0
    for k, line in enumerate(lines):
        if line.startswith("ENDMDL"):
            break
        if line.startswith("TER"):
            stretch += 1
        if not line.startswith(("ATOM  ", "HETATM")):
            continue
        number = line[22:27].strip()
        resname = line[17:21].strip()
        found.append(
            _Line(
                k,
                (stretch, line[21:22].strip(), number),
                f"{resname} {number}",
                resname,
                line[12:16].strip(),
                line[16:17].strip(),
                _occupancy(line),
            )
        )
    return found


def _occupancy(line: str) -> float:
    try:
        return float(line[54:60])
    except ValueError:
        return 1.0


def _letters(atoms: Sequence[_Line]) -> Mapping[str, list[str]]:
    """Letters of the locations of each atom."""
    found: dict[str, list[str]] = {}
    for atom in atoms:
        found.setdefault(atom.name, []).append(atom.letter)
    return found


def _shared(atoms: Sequence[_Line]) -> set[str]:
    """Names of atoms with several locations."""
    return {name for name, letters in _letters(atoms).items() if len(set(letters)) > 1}


def _letter(atoms: Sequence[_Line]) -> str | None:
    """The conformation to keep; None where there is only one."""
    shared = _shared(atoms)
    mutated = len({atom.resname for atom in atoms if atom.letter}) > 1
    if not shared and not mutated:
        return None
    occupancies: dict[str, list[float]] = {}
    for atom in atoms:
        if atom.letter or atom.name in shared:
            occupancies.setdefault(atom.letter, []).append(atom.occupancy)
    return max(occupancies, key=lambda letter: round(_mean(occupancies[letter]), 6))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _check_one_name(atoms: Sequence[_Line], where: str) -> None:
    names = sorted({atom.called for atom in atoms})
    if len(names) > 1:
        raise ConfigError(
            f"{where}: one residue number is used for residues of different names ({', '.join(names)}); "
            "number them apart"
        )


def _check_once(atoms: Sequence[_Line], where: str) -> None:
    """Within lines that follow each other, where a reader would keep one of two without a word."""
    seen: set[tuple[str, str, str]] = set()
    for before, atom in pairwise([None, *atoms]):
        assert atom is not None
        if before is None or before.residue != atom.residue:
            seen = set()
        elif not atom.letter:
            _check_one_name((before, atom), where)
        one = (atom.resname, atom.name, atom.letter)
        if one in seen:
            raise ConfigError(
                f"{where}: {atom.name} of {atom.called} is given twice; remove one, or give both letters of "
                "alternate locations (column 17)"
            )
        seen.add(one)
