"""The named torsions and chiral centres of peptides, found from atom names and bonds, for
analysis.
"""

import numpy as np

from jbg.coords.zmatrix import bonded_neighbours
from jbg.interfaces import Topology


def backbone_torsions(topology: Topology) -> dict[str, np.ndarray]:
    """Atom quadruples ``(n, 4)`` of "phi" C-N-CA-C, "psi" N-CA-C-N and "omega" CA-C-N-CA.

    Caps count: phi of the first residue after ACE, psi of the last before NME, and the omegas to
    both (there the methyl carbon stands for CA). A torsion belongs to the residue of column 2 for
    phi and omega, of column 1 for psi (``topology.residue_ids``).
    """
    names, elements = topology.atom_names, topology.elements
    neighbours = bonded_neighbours(topology)

    def bonded(atom, name):
        return [i for i in neighbours[atom] if names[i] == name]

    def carbon_of(atom, other):
        """The alpha (or methyl) carbon at one end of the amide bond atom-other."""
        carbons = [i for i in neighbours[atom] if elements[i] == "C" and i != other]
        return sorted(carbons, key=lambda i: (names[i] not in ("CA", "CH3"), i))[:1]

    amides = [
        (c, n)
        for c in range(topology.n_atoms)
        if names[c] == "C" and bonded(c, "O")
        for n in bonded(c, "N")
        if topology.residue_ids[n] != topology.residue_ids[c]
    ]
    phi = [(c, n, ca, c2) for c, n in amides for ca in bonded(n, "CA") for c2 in bonded(ca, "C")]
    psi = [(n0, ca, c, n) for c, n in amides for ca in bonded(c, "CA") for n0 in bonded(ca, "N")]
    omega = [(a, c, n, b) for c, n in amides for a in carbon_of(c, n) for b in carbon_of(n, c)]
    found = {"phi": phi, "psi": psi, "omega": omega}
    return {name: np.array(quads, int).reshape(-1, 4) for name, quads in found.items()}


def chiral_centres(topology: Topology) -> np.ndarray:
    """``(n, 4)`` atoms CA, N, C, CB of every residue that has them (all amino acids but
    glycine).
    """
    neighbours = bonded_neighbours(topology)
    found = []
    for ca, name in enumerate(topology.atom_names):
        around = {topology.atom_names[i]: i for i in neighbours[ca]}
        if name == "CA" and {"N", "C", "CB"} <= set(around):
            found.append((ca, around["N"], around["C"], around["CB"]))
    return np.array(found, int).reshape(-1, 4)


def side_chain_centres(topology: Topology) -> np.ndarray:
    """``(n, 4)`` atoms of the chiral CB of every threonine (CB, CA, OG1, CG2) and isoleucine (CB, CA, CG1,
    CG2).
    """
    neighbours = bonded_neighbours(topology)
    found = []
    for cb, name in enumerate(topology.atom_names):
        around = {topology.atom_names[i]: i for i in neighbours[cb]}
        if name != "CB" or not {"CA", "CG2"} <= set(around):
            continue
        if "OG1" in around:
            found.append((cb, around["CA"], around["OG1"], around["CG2"]))
        elif "CG1" in around and any(
            topology.elements[i] == "C" and i != cb for i in neighbours[around["CG1"]]
        ):
            found.append((cb, around["CA"], around["CG1"], around["CG2"]))
    return np.array(found, int).reshape(-1, 4)


def signed_volume(frames: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """(N - CA) . ((C - CA) x (CB - CA)) in nm^3, positive for L amino acids, or the same of other centres.

    Args:
        frames: ``(n, atoms, 3)``, nm.
        centres: from ``chiral_centres`` or ``side_chain_centres``, ``(m, 4)``.

    Returns:
        ``(n, m)``.
    """
    frames = np.asarray(frames)
    n, c, cb = (frames[:, centres[:, k]] - frames[:, centres[:, 0]] for k in (1, 2, 3))
    return np.sum(n * np.cross(c, cb), axis=-1)
