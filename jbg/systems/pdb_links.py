"""Bonds that a PDB file speaks of and its reader does not make: SSBOND, LINK, and rings of head and tail."""

from collections.abc import Iterator

import numpy as np
from openmm import app

from jbg.interfaces import ConfigError
from jbg.systems.protonation import label

CLOSED = 0.17  # nm; an amide bond is 0.133


def check_links(text: str, topology: app.Topology, positions: np.ndarray, where: str) -> None:
    """Refuses a molecule that lacks such a bond, which would be another one.

    Args:
        text: the PDB file.
        topology: as read from it.
        positions: ``(atoms, 3)``, nm.
        where: name of the source in messages.
    """
    bonds = {frozenset((a.index, b.index)) for a, b in topology.bonds()}
    atoms = {
        (atom.name, r.chain.id.strip(), r.id.strip(), r.insertionCode.strip()): atom
        for r in topology.residues()
        for atom in r.atoms()
    }
    for record, first, second in _records(text):
        a, b = atoms.get(first), atoms.get(second)
        if a is None or b is None or frozenset((a.index, b.index)) in bonds:
            continue
        apart = np.linalg.norm(positions[a.index] - positions[b.index])
        raise ConfigError(
            f"{where}: {record} says that {a.name} of {label(a.residue)} and {b.name} of {label(b.residue)} are "
            f"bonded, but no bond is read ({apart:.2f} nm apart); remove the record, or give CONECT records"
        )
    for chain in topology.chains():
        residues = list(chain.residues())
        ends = [{atom.name: atom for atom in residues[i].atoms()} for i in (0, -1)]
        n, c = ends[0].get("N"), ends[1].get("C")
        if n is None or c is None or frozenset((n.index, c.index)) in bonds or len(residues) < 3:
            continue
        if np.linalg.norm(positions[n.index] - positions[c.index]) < CLOSED:
            raise ConfigError(
                f"{where}: N of {label(n.residue)} and C of {label(c.residue)} close a ring: cyclic peptides are "
                "not read; it would become an open chain"
            )


def _records(text: str) -> Iterator[tuple[str, tuple, tuple]]:
    """(record, atom, atom), an atom as (name, chain, number, insertion code); bonds to copies by symmetry are
    left out."""
    for line in text.splitlines():
        line = line.ljust(80)
        if line[59:65].strip() != line[66:72].strip():
            continue
        if line.startswith("SSBOND"):
            sides = (
                ("SG", line[15], line[17:21], line[21]),
                ("SG", line[29], line[31:35], line[35]),
            )
        elif line.startswith("LINK  "):
            sides = (
                (line[12:16], line[21], line[22:26], line[26]),
                (line[42:46], line[51], line[52:56], line[56]),
            )
        else:
            continue
        first, second = (tuple(part.strip() for part in side) for side in sides)
        yield line[:6].strip(), first, second
