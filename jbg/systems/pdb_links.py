"""Bonds that the reader of PDB files does not make: of SSBOND and LINK records, and of rings of head and tail."""

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


def close_ring(topology: app.Topology, positions: np.ndarray) -> bool:
    """Adds the bond between tail and head of a cyclic peptide, in place; whether there is one.

    A chain is a ring where C of its last residue is as near to N of its first as in an amide, and there is no OXT.

    Args:
        topology: of the molecule.
        positions: ``(atoms, 3)``, nm.
    """
    ends = ring_ends(topology)
    if ends is None or ends[1].residue.index - ends[0].residue.index < 2:
        return False
    n, c = ends
    bonds = {frozenset((a.index, b.index)) for a, b in topology.bonds()}
    if frozenset((n.index, c.index)) not in bonds:
        if not np.linalg.norm(positions[n.index] - positions[c.index]) < CLOSED:
            return False
        topology.addBond(c, n)
    return True


def ring_ends(topology: app.Topology) -> tuple | None:
    """N of the first residue and C of the last, of a chain without OXT; None where there are none."""
    residues = list(topology.residues())
    first, last = ({atom.name: atom for atom in residues[i].atoms()} for i in (0, -1))
    if "N" not in first or "C" not in last or "OXT" in last:
        return None
    return first["N"], last["C"]


def is_ring(topology: app.Topology) -> bool:
    """Whether tail and head are bonded."""
    ends = ring_ends(topology)
    return ends is not None and any({a, b} == {*ends} for a, b in topology.bonds())


def drop_head(modeller: app.Modeller) -> list[str]:
    """Deletes the further hydrogens that a head has without a tail, in place; "H2 of GLY 1" of each."""
    first = next(modeller.topology.residues())
    extra = [atom for atom in first.atoms() if atom.name in ("H2", "H3")]
    modeller.delete(extra)
    return [f"{atom.name} of {label(first)}" for atom in extra]


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
