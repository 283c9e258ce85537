"""Names of atoms: which ones OpenMM's reader changed, and hydrogens with names that it does not know.

The reader knows the names of the old PDB format (1HB), AMBER, CHARMM and GROMACS (HB1, HN, OT1, CD of ILE). Any
other hydrogen is named after the heavy atom beside it, and stays where it is.
"""

from collections.abc import Sequence

import numpy as np
from openmm import app

from jbg.systems.protonation import label
from jbg.systems.residue_definitions import neighbours_of

LONGEST = 0.13  # nm, from a hydrogen to its heavy atom; S-H is 0.134 at most, in practice 0.1325


def name_hydrogens(topology: app.Topology, positions: np.ndarray) -> None:
    """Gives hydrogens without bonds the free names of their heavy atoms, and their bonds, in place.

    A hydrogen stays as it is where no heavy atom of its residue is within ``LONGEST``, or that one has all the
    hydrogens that its residue's definition knows.

    Args:
        topology: of the molecule.
        positions: ``(atoms, 3)``, nm.
    """
    bonded = {atom for bond in topology.bonds() for atom in bond}
    for residue in topology.residues():
        known = neighbours_of(residue.name)
        atoms = list(residue.atoms())
        heavy = [a for a in atoms if not is_hydrogen(a) and a.name in known]
        for atom in atoms:
            if atom in bonded or not is_hydrogen(atom) or atom.name in known or not heavy:
                continue
            apart = [np.linalg.norm(positions[atom.index] - positions[a.index]) for a in heavy]
            parent = heavy[int(np.argmin(apart))]
            taken = {a.name for a in atoms}
            free = [name for name in known[parent.name] if name[0] == "H" and name not in taken]
            if min(apart) < LONGEST and free:
                atom.name = free[0]
                topology.addBond(parent, atom)


def is_hydrogen(atom) -> bool:
    """Whether an OpenMM atom is a hydrogen."""
    return atom.element is not None and atom.element.symbol == "H"


def renamed(named: Sequence[str], topology: app.Topology) -> list[str]:
    """ "HB1 of ASP 3 is HB3" of each atom with another name than in the file.

    Args:
        named: the names in the file, one for each atom.
        topology: as read.
    """
    return [
        f"{name} of {label(atom.residue)} is {atom.name}"
        for name, atom in zip(named, topology.atoms(), strict=True)
        if name != atom.name
    ]
