"""The Z-matrix: in which order a molecule's atoms are placed, and from which three atoms each.

Host numpy only. The tree of bonds is grown breadth first from three seed atoms near the middle of
the molecule, so every atom hangs on a chain bond parent -> angle parent -> torsion parent of atoms
placed before it. Bonds that close a ring are not in the tree: their length follows from the other
coordinates.
"""

from collections import deque
from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from jbg.interfaces import ConfigError, Topology

BACKBONE = ("N", "CA", "C")
MIN_ANGLE = np.deg2rad(5.0)  # a reference angle closer than this to 0 or pi defines no plane


class ZMatrix(NamedTuple):
    """Placement order and parents; row k says how atom ``order[k]`` is placed, -1 where it has no
    such parent.

    Rows 0, 1, 2 are the seed atoms a-b-c. Row k >= 3 has the torsion ``torsion-angle-bond-order``
    about the bond ``angle-bond``; rows with equal bond and angle parents share the torsion parent.
    """

    order: np.ndarray  # (N,) atom indices
    bond: np.ndarray  # (N,)
    angle: np.ndarray  # (N,)
    torsion: np.ndarray  # (N,)

    @property
    def n_atoms(self) -> int:
        return len(self.order)


def atom_label(topology: Topology, atom: int) -> str:
    """Name of an atom for people, e.g. ``ALA2:CB`` (residues counted from 1)."""
    residue = f"{topology.residue_names[atom]}{topology.residue_ids[atom] + 1}"
    return f"{residue}:{topology.atom_names[atom]}"


def bonded_neighbours(topology: Topology) -> list[list[int]]:
    """For each atom the sorted list of atoms bonded to it."""
    neighbours: list[set[int]] = [set() for _ in topology.elements]
    for i, j in np.asarray(topology.bonds, int).reshape(-1, 2):
        neighbours[i].add(int(j))
        neighbours[j].add(int(i))
    return [sorted(group) for group in neighbours]


def disulfides(topology: Topology) -> set[frozenset[int]]:
    """The bonds between two sulphur atoms."""
    sulphur = {i for i, element in enumerate(topology.elements) if element == "S"}
    return {frozenset(bond) for bond in topology.bonds.tolist() if sulphur.issuperset(bond)}


def build_zmatrix(
    topology: Topology,
    positions: np.ndarray,
    *,
    closing: Collection[frozenset[int]] = (),
    first: Collection[int] = (),
) -> ZMatrix:
    """Place every atom of a molecule, heavy atoms before hydrogens, backbone first on each branch.

    Args:
        topology: elements, names and bonds.
        positions: one configuration ``(N, 3)``, nm; used only to find collinear references.
        closing: bonds that close rings: the tree leaves them out. Without the disulfides it follows the backbone
            from end to end.
        first: atoms that are placed before all others, joined by bonds that close no ring.

    Raises:
        ConfigError: fewer than 3 atoms, no bonds, several molecules, bad positions, collinear atoms, or atoms to
            place first that bonds do not join.
    """
    positions = np.asarray(positions, np.float64)
    left = [bond for bond in topology.bonds.tolist() if frozenset(bond) not in closing]
    neighbours = bonded_neighbours(topology._replace(bonds=np.array(left, int).reshape(-1, 2)))
    _check_molecule(topology, positions, neighbours)
    key, first = _branch_key(topology, neighbours), set(first)
    inside = [[j for j in around if j in first] for around in neighbours]
    if first:
        _check_joined(topology, first, inside)
        inside = [around if i in first else [] for i, around in enumerate(inside)]
    a, b, c = _seeds(topology, positions, inside if first else neighbours, key)

    rows = {a: (-1, -1, -1), b: (a, -1, -1), c: (b, a, -1)}
    heavy = {i for i, element in enumerate(topology.elements) if element != "H"}
    for allowed in (first, heavy, set(range(topology.n_atoms))):
        queue = deque(rows)
        while queue:
            parent = queue.popleft()
            for child in sorted(neighbours[parent], key=key):
                if child in rows or child not in allowed:
                    continue
                if parent == a:
                    rows[child] = (a, b, c)
                elif parent == b:  # improper: the torsion about b-a that turns c into the child
                    rows[child] = (b, a, c)
                else:
                    rows[child] = (parent, rows[parent][0], rows[parent][1])
                queue.append(child)
    parents = np.array(list(rows.values()))
    zmatrix = ZMatrix(np.array(list(rows)), parents[:, 0], parents[:, 1], parents[:, 2])
    _check_angles(topology, zmatrix, positions)
    return zmatrix


def _check_molecule(topology: Topology, positions: np.ndarray, neighbours: list[list[int]]) -> None:
    n = topology.n_atoms
    if n < 3:
        raise ConfigError(f"Z-matrix: internal coordinates need at least 3 atoms, got {n}")
    if positions.shape != (n, 3) or not np.all(np.isfinite(positions)):
        raise ConfigError(
            f"Z-matrix: positions must be {n} x 3 finite numbers (nm), got shape "
            f"{positions.shape}; check the structure file"
        )
    if not any(neighbours):
        raise ConfigError(
            f"Z-matrix: the topology of {n} atoms has no bonds; give a PDB file with CONECT "
            "records or known residues"
        )
    unseen, pieces = set(range(n)), 0
    while unseen:
        unseen -= set(_distances(neighbours, min(unseen)))
        pieces += 1
    if pieces > 1:
        raise ConfigError(
            f"Z-matrix: the structure has {pieces} pieces that no bond connects; give one "
            "molecule, without solvent, ions or ligands"
        )


def _check_joined(topology: Topology, first: set[int], inside: list[list[int]]) -> None:
    """``inside``: for each atom its neighbours among ``first``."""
    wrong = sorted(i for i in first if not 0 <= i < topology.n_atoms)
    if wrong or len(first) < 3:
        raise ConfigError(
            f"Z-matrix: the atoms placed first must be 3 or more of 0 .. {topology.n_atoms - 1}, got "
            f"{len(first)}{f', among them {wrong[0]}' if wrong else ''}"
        )
    apart = sorted(first - set(_distances(inside, min(first))))
    if apart:
        raise ConfigError(
            f"Z-matrix: the atoms placed first must be joined by bonds, but {atom_label(topology, apart[0])} "
            f"and {atom_label(topology, min(first))} are not: add the atoms between them"
        )


def _distances(neighbours: list[list[int]], start: int) -> dict[int, int]:
    """Number of bonds from ``start`` to each atom that can be reached."""
    found = {start: 0}
    queue = deque([start])
    while queue:
        atom = queue.popleft()
        for other in neighbours[atom]:
            if other not in found:
                found[other] = found[atom] + 1
                queue.append(other)
    return found


def _branch_key(topology: Topology, neighbours: list[list[int]]):
    """Order of the branches at an atom: the first becomes the lead of its bond (phi, psi, omega in
    peptides).
    """

    def key(atom: int) -> tuple:
        return (
            topology.elements[atom] == "H",
            topology.atom_names[atom] not in BACKBONE,
            len(neighbours[atom]) == 1,
            atom,
        )

    return key


def _seeds(topology, positions, neighbours, key) -> tuple[int, int, int]:
    """Three bonded atoms a-b-c, heavy where possible, not collinear, as central as possible."""
    ranked = []
    for b, around in enumerate(neighbours):
        if len(around) < 2:
            continue
        a, c = sorted(around, key=key)[:2]
        angle = _angle(positions[a], positions[b], positions[c])
        rank = (
            sum(topology.elements[i] == "H" for i in (a, b, c)),
            not MIN_ANGLE < angle < np.pi - MIN_ANGLE,
            max(_distances(neighbours, b).values()),
            sum(topology.atom_names[i] not in BACKBONE for i in (a, b, c)),
            b,
        )
        ranked.append((rank, (a, b, c)))
    return min(ranked)[1]


def _check_angles(topology: Topology, zmatrix: ZMatrix, positions: np.ndarray) -> None:
    for atom, bond, angle in zip(
        zmatrix.order[2:], zmatrix.bond[2:], zmatrix.angle[2:], strict=True
    ):
        value = _angle(positions[atom], positions[bond], positions[angle])
        if not MIN_ANGLE < value < np.pi - MIN_ANGLE:
            names = ", ".join(atom_label(topology, i) for i in (atom, bond, angle))
            raise ConfigError(
                f"Z-matrix: atoms {names} are collinear or coincide (angle "
                f"{np.rad2deg(value):.1f} degrees); linear groups such as nitriles and alkynes "
                "have no internal coordinates here"
            )


def _angle(i: np.ndarray, j: np.ndarray, k: np.ndarray) -> float:
    u, v = i - j, k - j
    return float(np.arctan2(np.linalg.norm(np.cross(u, v)), u @ v))
