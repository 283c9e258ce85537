"""Whether a structure is one whole molecule: several chains, and chains with gaps, are refused."""

from collections.abc import Mapping, Sequence

import numpy as np
from openmm import app

from jbg.interfaces import ConfigError
from jbg.systems.protonation import label

WATERS = {"HOH", "WAT", "H2O", "DOD", "TIP", "TIP3", "TIP4", "SOL", "SPC"}
LONGEST_BOND = 0.3  # nm; any covalent bond is shorter, S-S is 0.205
_MOST_NAMED = 6
_LOOP = "model the loop elsewhere, or cap the pieces (NME, ACE) and run them apart"


def check_connected(
    topology: app.Topology,
    positions: np.ndarray,
    where: str,
    *,
    missing: Mapping[tuple[int, int], Sequence[str]] | None = None,
    whole: bool = True,
) -> None:
    """Refuses more than one molecule, and bonds far too long to be bonds (residues are missing there).

    Args:
        topology: of the molecule.
        positions: ``(atoms, 3)``, nm.
        where: name of the source in messages.
        missing: residues of SEQRES without coordinates, by chain and the place in it before which they belong.
        whole: whether bonds must connect the atoms of each residue too.

    Raises:
        ConfigError: names the residues on both sides, or the molecules there are.
    """
    parent = list(range(topology.getNumAtoms()))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    if not whole:
        for residue in topology.residues():
            first, *others = [atom.index for atom in residue.atoms()]
            parent[first] = first
            for other in others:
                parent[other] = first
    for a, b in topology.bonds():
        apart = float(np.linalg.norm(positions[a.index] - positions[b.index]))
        if apart > LONGEST_BOND:
            raise ConfigError(f"{where}: {_broken(a, b, apart, missing or {})}")
        parent[root(a.index)] = root(b.index)
    pieces: dict[int, list] = {}
    for atom in topology.atoms():
        pieces.setdefault(root(atom.index), []).append(atom)
    if len(pieces) > 1:
        raise ConfigError(f"{where}: {_apart(list(pieces.values()))}")


def check_solute(topology: app.Topology, where: str) -> None:
    """Refuses solvent, ions, and atoms of no element in the files of other programs.

    Raises:
        ConfigError: says which there are.
    """
    residues = list(topology.residues())
    waters = sum(residue.name in WATERS for residue in residues)
    ions = [r.name for r in residues if len(residues) > 1 and len(list(r.atoms())) == 1]
    if waters or ions:
        what = [f"{waters} water molecule(s)"] if waters else []
        what += (
            [f"{len(ions)} lone atom(s) or ion(s) ({' '.join(sorted(set(ions)))})"] if ions else []
        )
        raise ConfigError(
            f"{where}: {' and '.join(what)}; solvent is implicit, so strip them from topology and coordinates "
            "(cpptraj or ParmEd: strip; GROMACS: gmx make_ndx and a top of the molecule alone)"
        )
    nameless = [atom for atom in topology.atoms() if atom.element is None]
    if nameless:
        raise ConfigError(
            f"{where}: the element of {nameless[0].name} of {label(nameless[0].residue)} is not known; give "
            "atomic numbers (AMBER: ATOMIC_NUMBER), or an atom name that begins with it"
        )


def _broken(a, b, apart: float, missing: Mapping[tuple[int, int], Sequence[str]]) -> str:
    said = (
        f"{a.name} of {label(a.residue)} and {b.name} of {label(b.residue)} should be bonded but are "
        f"{apart:.2f} nm apart"
    )
    if a.residue is b.residue:
        return f"{said}; repair the coordinates, or make the molecule whole if a periodic box splits it"
    if a.residue.index > b.residue.index:
        a, b = b, a
    place = list(a.residue.chain.residues()).index(a.residue) + 1
    lost = missing.get((a.residue.chain.index, place), ())
    by_number = _number(b.residue) - _number(a.residue) - 1
    if lost or by_number > 0:
        count = len(lost) or by_number
        how = f", {' '.join(lost[:_MOST_NAMED])}" if lost else ", by their numbers"
        return f"{said}: {count} residue(s) missing between them{how}; {_LOOP}"
    return (
        f"{said}: residues are missing between them, or these are two molecules; give one whole molecule: "
        f"{_LOOP}"
    )


def _number(residue) -> int:
    try:
        return int(residue.id)
    except ValueError:
        return 0


def _apart(pieces: Sequence[Sequence]) -> str:
    """Atoms of each piece are in the order of the file."""
    said, chains = [], []
    for atoms in pieces:
        residues = list(dict.fromkeys(atom.residue for atom in atoms))
        chains.append(residues[0].chain.id.strip())
        ends = list(
            dict.fromkeys(
                f"{r.name} {r.id}{r.insertionCode.strip()}"
                for r in residues[:: len(residues) - 1 or 1]
            )
        )
        said.append(
            f"chain {chains[-1] or 'without a letter'}: {len(residues)} residue(s), {' to '.join(ends)}"
        )
    more = f"; and {len(said) - _MOST_NAMED} more" if len(said) > _MOST_NAMED else ""
    advice = "give a file with one molecule: delete the lines of the other chains"
    if len(set(chains)) < len(chains):
        advice = f"give a file with one molecule; if residues are missing between pieces of a chain, {_LOOP}"
    return f"{len(pieces)} molecules that no bond connects ({'; '.join(said[:_MOST_NAMED])}{more}); {advice}"
