"""Atoms and torsions of a molecule by the names that people use: 2:CA, phi2, chi1_3; residues as in the file."""

import functools

import numpy as np

from jbg.coords import backbone_torsions
from jbg.interfaces import Topology

SIDE_CHAIN = {
    "chi1": ("N CA CB CG", "N CA CB CG1", "N CA CB OG", "N CA CB OG1", "N CA CB SG"),
    "chi2": (
        *("CA CB CG CD", "CA CB CG CD1", "CA CB CG OD1", "CA CB CG ND1", "CA CB CG SD"),
        *("CA CB CG1 CD1", "CA CB CG1 CD"),
    ),
    "chi3": ("CB CG CD NE", "CB CG CD CE", "CB CG CD OE1", "CB CG SD CE"),
    "chi4": ("CG CD NE CZ", "CG CD CE NZ"),
    "chi5": ("CD NE CZ NH1",),
}


class Names:
    """The names of a molecule's atoms and torsions.

    Attributes:
        topology: of the molecule.
        numbers: of each atom's residue, as in the file; from 1 where it has none.
        atoms: "2:CA" -> the atoms of that name, more than one where the file uses a number twice.
    """

    def __init__(self, topology: Topology):
        self.topology = topology
        self.numbers = topology.residue_numbers or tuple(str(i + 1) for i in topology.residue_ids)
        self.atoms: dict[str, list[int]] = {}
        for i, (number, name) in enumerate(zip(self.numbers, topology.atom_names, strict=True)):
            self.atoms.setdefault(f"{number}:{name}", []).append(i)

    def label(self, atom: int) -> str:
        """The name of an atom, such as 2:CA."""
        return f"{self.numbers[atom]}:{self.topology.atom_names[atom]}"

    def near(self, given: str) -> list[str]:
        """Names of atoms that ``given`` may have meant: those of its residue, or else of all."""
        number = given.partition(":")[0]
        same = [name for name in self.atoms if name.partition(":")[0] == number]
        return same or list(self.atoms)

    @functools.cached_property
    def torsions(self) -> dict[str, list[np.ndarray]]:
        """The torsions of peptides by name, atoms ``(4,)`` each; more than one where a number is used twice.

        phi2 and psi2 are those of residue 2, omega2 is that of the amide bond before it, and chi1_2 to chi5_2 are
        of its side chain.
        """
        found: dict[str, list[np.ndarray]] = {}
        for name, quads in backbone_torsions(self.topology).items():
            for quad in quads:
                number = self.numbers[quad[1 if name == "psi" else 2]]
                found.setdefault(f"{name}{number}", []).append(quad)
        for residue in self._residues():
            number = self.numbers[next(iter(residue.values()))]
            for name, choices in SIDE_CHAIN.items():
                fits = [choice.split() for choice in choices if set(choice.split()) <= set(residue)]
                if fits:
                    quad = np.array([residue[atom] for atom in fits[0]])
                    found.setdefault(f"{name}_{number}", []).append(quad)
        return found

    def _residues(self) -> list[dict[str, int]]:
        """The atoms of each residue by name."""
        found: dict[int, dict[str, int]] = {}
        for i, (residue, name) in enumerate(
            zip(self.topology.residue_ids, self.topology.atom_names, strict=True)
        ):
            found.setdefault(residue, {})[name] = i
        return list(found.values())
