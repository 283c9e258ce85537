"""Which atoms of a trajectory are the molecule, where solvent, ions and other molecules may surround it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import mdtraj
import numpy as np

from jbg.interfaces import ConfigError, Topology


class Solute(NamedTuple):
    """Atoms of the trajectory in the order of the molecule ``(atoms,)``, and what was done, in words; empty where
    the trajectory is of this molecule alone, in this order."""

    atoms: np.ndarray
    words: str


def mdtraj_topology(topology: Topology) -> mdtraj.Topology:
    """The atoms and residues of a molecule as mdtraj names them."""
    found = mdtraj.Topology()
    chain, residue, last = found.add_chain(), None, None
    rows = zip(
        topology.residue_ids,
        topology.residue_names,
        topology.atom_names,
        topology.elements,
        strict=True,
    )
    for number, residue_name, atom_name, symbol in rows:
        if residue is None or number != last:
            residue, last = found.add_residue(residue_name, chain), number
        found.add_atom(atom_name, mdtraj.element.Element.getBySymbol(symbol), residue)
    return found


def find_solute(trajectory: mdtraj.Topology, topology: Topology, where: str) -> Solute:
    """The molecule among the atoms of a trajectory: consecutive residues with its atoms, by name or by element.

    Args:
        trajectory: all atoms.
        topology: of the molecule.
        where: the file, for messages.

    Raises:
        ConfigError: no such residues.
    """
    residues, n = list(trajectory.residues), topology.n_atoms
    found, first, count = [], 0, 0
    for last, residue in enumerate(residues):
        count += residue.n_atoms
        while count > n:
            count -= residues[first].n_atoms
            first += 1
        if count == n and (atoms := _in_order(residues[first : last + 1], topology)) is not None:
            found.append(atoms)
    if not found:
        raise ConfigError(
            f"{where}: among its {trajectory.n_atoms} atoms is no molecule with the {n} of this one, in its order "
            "or with its names, hydrogens included: give the topology of the trajectory with --topology, and the "
            "molecule as the trajectory has it"
        )
    atoms, words = found[0], []
    others = trajectory.n_atoms - n
    if others:
        names = sorted({r.name for r in residues} - {topology.residue_names[i] for i in range(n)})
        of = f" ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})" if names else ""
        words.append(f"{others} other atoms of each frame left out{of}")
    if len(found) > 1:
        words.append(f"the first of {len(found)} such molecules is used")
    if np.any(np.diff(atoms) != 1):
        words.append("atoms put in the molecule's order by their names")
    return Solute(atoms, "; ".join(words))


def _in_order(residues: Sequence[Any], topology: Topology) -> np.ndarray | None:
    """The atoms of residues in the order of the molecule, None where they are another's."""
    given = [atom for residue in residues for atom in residue.atoms]
    ids = np.asarray(topology.residue_ids)
    wanted = [
        {topology.atom_names[i]: i for i in np.flatnonzero(ids == k)} for k in dict.fromkeys(ids)
    ]
    named = [{atom.name: atom.index for atom in residue.atoms} for residue in residues]
    told_apart = sum(map(len, wanted)) == topology.n_atoms == len(given)
    if told_apart and [set(names) for names in wanted] == [set(names) for names in named]:
        atoms = np.zeros(topology.n_atoms, int)
        for names, indices in zip(wanted, named, strict=True):
            for name, i in names.items():
                atoms[i] = indices[name]
        return atoms
    elements = [atom.element.symbol if atom.element else None for atom in given]
    if all(a in (None, b) for a, b in zip(elements, topology.elements, strict=True)):
        return np.array([atom.index for atom in given])
    return None
