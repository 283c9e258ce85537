"""PDB text of peptides, changed line by line, and places of its atoms."""

import io

import numpy as np
from openmm import app, unit

from jbg.systems.pdb_input import complete
from jbg.systems.peptide import peptide_pdb
from jbg.systems.sequences import parse_sequence


def peptide(sequence: str) -> str:
    return peptide_pdb(parse_sequence(sequence))


def whole(sequence: str) -> str:
    """With all hydrogens."""
    modeller, out = complete(peptide(sequence), "test").modeller, io.StringIO()
    app.PDBFile.writeFile(modeller.topology, modeller.positions, out, keepIds=True)
    return out.getvalue()


def fields(line: str) -> tuple[int, str]:
    return int(line[22:26]), line[12:16].strip()


def is_atom(line: str) -> bool:
    return line.startswith(("ATOM", "HETATM"))


def without(text: str, residue: int, names: str = "") -> str:
    """Without atoms of a residue, or the whole of it."""
    gone = lambda k, name: k == residue and (name in names.split() or not names)
    return "".join(f"{x}\n" for x in text.splitlines() if not (is_atom(x) and gone(*fields(x))))


def renamed(text: str, residue: int, **names: str) -> str:
    lines = []
    for x in text.splitlines():
        if is_atom(x) and fields(x)[0] == residue and fields(x)[1] in names:
            x = f"{x[:12]}{names[fields(x)[1]]:<4s}{x[16:]}"
        lines.append(x)
    return "\n".join(lines) + "\n"


def places(text: str) -> dict[tuple[int, str], np.ndarray]:
    """nm."""
    at = lambda x: np.array([float(x[i : i + 8]) for i in (30, 38, 46)]) / 10
    return {fields(x): at(x) for x in text.splitlines() if is_atom(x)}


def built(found) -> dict[tuple[int, str], np.ndarray]:
    positions = np.array(found.modeller.positions.value_in_unit(unit.nanometer))
    return {
        (int(a.residue.id), a.name): positions[a.index] for a in found.modeller.topology.atoms()
    }


def check_unmoved(given: dict, found: dict) -> None:
    for key, place in given.items():
        np.testing.assert_allclose(found[key], place, atol=1e-9, err_msg=str(key))
