"""Which internal coordinates of a protein a reduced description keeps, and what each of them is.

Kim et al. 2023 (arXiv:2401.04246, section 3.2) keep the three bond angles at the backbone atoms of each residue
(3n - 2), the backbone torsions and those about rotatable bonds of side chains; bond lengths, other angles,
improper torsions and rings stay at their means. That displaces the backbone by little, but packs side chains
worse: with all heavy-atom angles, impropers and ring torsions free as well (set together: alone each may make it
worse), rebuilt structures hardly clash.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from jbg.coords.backbone import backbone_torsions
from jbg.coords.rings import ring_bonds
from jbg.coords.torsions import Rotors, proper_torsions, rotor_torsions, sibling_leads
from jbg.coords.zmatrix import ZMatrix, bonded_neighbours
from jbg.interfaces import ConfigError, Topology

KINDS = (
    "angle at N",
    "angle at CA",
    "angle at C",
    "phi",
    "psi",
    "omega",
    "side-chain torsion",
    "hydrogen rotor",
    "angle",
    "improper",
    "ring torsion",
)  # fmt: skip
_KIND = {name: i for i, name in enumerate(KINDS)}
BACKBONE_NAMES = ("N", "CA", "C")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CoordinateSet:
    """What is kept beside backbone angles, backbone torsions and side-chain torsions.

    Attributes:
        hydrogen_rotors: torsions that turn hydrogens alone (OH, SH, CH3, NH3+, methyls of caps).
        heavy_angles: the angles of all heavy atoms.
        impropers: out-of-line and planar torsions of heavy atoms: offsets between atoms that turn about one bond,
            and torsions about bonds between two planar atoms.
        ring_torsions: torsions about bonds of small rings.
    """

    hydrogen_rotors: bool = True
    heavy_angles: bool = False
    impropers: bool = False
    ring_torsions: bool = False


KIM = CoordinateSet()
HEAVY = CoordinateSet(heavy_angles=True, impropers=True, ring_torsions=True)
SETS = {"kim": KIM, "heavy": HEAVY}


class Kept(NamedTuple):
    """Coordinates kept, in the order of the Z-matrix: angles, then torsions (host arrays ``(d,)``)."""

    index: np.ndarray  # int, among the 3N-6 of [bonds | angles | torsions]
    kind: np.ndarray  # int, of KINDS
    residue: np.ndarray  # int
    backbone: np.ndarray  # bool: moves backbone atoms


def kept_coordinates(
    topology: Topology, zmatrix: ZMatrix, rotors: Rotors, which: CoordinateSet = KIM
) -> Kept:
    """The coordinates that ``which`` keeps.

    Args:
        topology: elements, names and bonds.
        zmatrix: from `build_zmatrix`.
        rotors: groups of exchangeable atoms; the first torsion of each stands for all, the others are offsets.
        which: what is kept beside the backbone and side-chain torsions.

    Raises:
        ConfigError: nothing would be kept.
    """
    tree = _Tree(topology, zmatrix, rotors)
    n, found = zmatrix.n_atoms, []
    for k in range(n - 2):
        kind = tree.kind_of_angle(k, which)
        if kind is not None:
            atom = int(zmatrix.bond[k + 2])
            found.append((n - 1 + k, kind, topology.residue_ids[atom], kind in KINDS[:3]))
    for t in range(n - 3):
        kind = tree.kind_of_torsion(t, which)
        if kind is not None:
            residue = max(topology.residue_ids[int(a)] for a in tree.axis(t))
            found.append((2 * n - 3 + t, kind, residue, kind in KINDS[3:6]))
    if not found:
        raise ConfigError("reduced coordinates: the molecule has no torsion or angle to keep")
    index, kind, residue, backbone = zip(*found, strict=True)
    codes = np.array([_KIND[name] for name in kind])
    return Kept(np.array(index), codes, np.array(residue), np.array(backbone, bool))


class _Tree:
    """Questions to the rows of a Z-matrix."""

    def __init__(self, topology: Topology, zmatrix: ZMatrix, rotors: Rotors):
        self.zmatrix, self.elements = zmatrix, topology.elements
        self.neighbours = bonded_neighbours(topology)
        self.rings = ring_bonds(topology)
        self.backbone = backbone_atoms(topology)
        self.omegas = _omega_bonds(topology)
        self.names = topology.atom_names
        self.leads, self.proper = sibling_leads(zmatrix), proper_torsions(zmatrix)
        members = rotor_torsions(zmatrix, rotors)
        self.first_of_rotor = {int(rotor[0]) for rotor in members}
        self.others_of_rotor = {int(t) for rotor in members for t in rotor[1:]}

    def axis(self, t: int) -> tuple[int, int]:
        return int(self.zmatrix.bond[t + 3]), int(self.zmatrix.angle[t + 3])

    def heavy(self, atom: int) -> bool:
        return self.elements[atom] != "H"

    def planar(self, atom: int) -> bool:
        """Whether the atom is trigonal, by its number of neighbours."""
        return len(self.neighbours[atom]) == 3

    def kind_of_angle(self, k: int, which: CoordinateSet) -> str | None:
        atoms = [int(column[k + 2]) for column in self.zmatrix[:3]]
        if all(atom in self.backbone for atom in atoms):
            name = self.names[atoms[1]]
            return f"angle at {name}" if name in BACKBONE_NAMES else "angle at CA"
        return "angle" if which.heavy_angles and all(map(self.heavy, atoms)) else None

    def kind_of_torsion(self, t: int, which: CoordinateSet) -> str | None:
        atom, (a, b) = int(self.zmatrix.order[t + 3]), self.axis(t)
        first = t in self.first_of_rotor
        leads = (first or int(self.leads[t]) == t) and t not in self.others_of_rotor
        if not (leads and self.proper[t]):
            return "improper" if which.impropers and self.heavy(atom) else None
        bond = frozenset((a, b))
        if {a, b} <= self.backbone:
            if bond in self.omegas:
                return "omega"
            if not self._turns_heavy(t):  # of NH3+, or of the methyl of a cap
                return "hydrogen rotor" if which.hydrogen_rotors else None
            return "phi" if "N" in (self.names[a], self.names[b]) else "psi"
        if bond in self.rings:
            return "ring torsion" if which.ring_torsions and self.heavy(atom) else None
        if self.planar(a) and self.planar(b):
            return "improper" if which.impropers and self.heavy(atom) else None
        if not self._turns_heavy(t):
            return "hydrogen rotor" if which.hydrogen_rotors else None
        return "side-chain torsion"

    def _turns_heavy(self, t: int) -> bool:
        a, b = self.axis(t)
        return any(self.heavy(k) for k in self.neighbours[a] if k != b)


def backbone_atoms(topology: Topology) -> set[int]:
    """N, CA and C of every residue, and the carbons of caps that stand for CA in omega."""
    quads = backbone_torsions(topology)
    found = {int(atom) for named in quads.values() for atom in named.ravel()}
    neighbours = bonded_neighbours(topology)
    alpha = [i for i, name in enumerate(topology.atom_names) if name == "CA"]
    for atom in alpha:
        around = {topology.atom_names[k]: k for k in neighbours[atom]}
        if {"N", "C"} <= set(around):
            found |= {atom, around["N"], around["C"]}
    return found


def _omega_bonds(topology: Topology) -> set[frozenset[int]]:
    return {frozenset(quad[1:3]) for quad in backbone_torsions(topology)["omega"].tolist()}
