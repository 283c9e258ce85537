"""Names of internal coordinates for people."""

from collections.abc import Sequence

import numpy as np

from jbg.coords.backbone import backbone_torsions
from jbg.coords.directions import DIRECTIONS, interpolated_rotors
from jbg.coords.rings import ring_bonds
from jbg.coords.torsions import Rotors, proper_torsions, sibling_leads
from jbg.coords.zmatrix import ZMatrix, atom_label
from jbg.interfaces import Topology

ALONG = "ABGDEZ"  # remoteness of side-chain atoms: CA, CB, CG, ...


def coordinate_labels(
    topology: Topology, zmatrix: ZMatrix, rotors: Rotors, interpolated: Rotors = ()
) -> tuple[str, ...]:
    """Names of the cell variables [bonds | angles | torsions]: phi, psi, omega, chi, hydroxyl by residue, others
    by atoms.

    Args:
        topology: names of atoms and residues.
        zmatrix: whose rows the coordinates are.
        rotors: symmetric ones, whose first torsion stands for all of their atoms.
        interpolated: rotors with values at directions (`coords.directions`).
    """
    named = {}
    for name, quads in backbone_torsions(topology).items():
        for quad in quads.tolist():
            at = quad[1] if name == "psi" else quad[2]
            residue = f"{topology.residue_names[at]}{topology.residue_ids[at] + 1}"
            named[tuple(quad)] = named[tuple(quad[::-1])] = f"{name} {residue}"
    rows = np.stack(zmatrix, 1).tolist()
    first_of_rotor = {int(rotor[0]) for rotor in rotors}
    leads, in_rings = sibling_leads(zmatrix), ring_bonds(topology)
    proper = proper_torsions(zmatrix)
    at = {
        int(zmatrix.order[3 + t]): degrees
        for members in interpolated_rotors(zmatrix, interpolated)
        for t, degrees in zip(members, DIRECTIONS, strict=True)
    }

    def describe(kind, atoms):
        first, *others = (atom_label(topology, i) for i in atoms)
        if atoms[0] not in at:
            return f"{kind} " + "-".join((first, *others))
        element = topology.elements[atoms[0]]  # of no atom in particular
        return f"{kind} " + "-".join((element, *others)) + f" at {at[atoms[0]]} degrees"

    labels = [describe("bond", row[:2]) for row in rows[1:]]
    labels += [describe("angle", row[:3]) for row in rows[2:]]
    for t, row in enumerate(rows[3:]):
        if row[0] in first_of_rotor:
            labels.append(describe("rotor", (row[2], row[1])))
        else:
            lead = leads[t] == t
            turns = lead and proper[t] and frozenset(row[1:3]) not in in_rings
            side = _side_chain_torsion(topology, row) if turns else None
            usual = describe("torsion" if lead else "offset", row)
            labels.append(named.get(tuple(row)) or side or usual)
    return tuple(labels)


def _side_chain_torsion(topology: Topology, row: Sequence[int]) -> str | None:
    """chi1 ... chi5 or the hydroxyl of an amino acid, by the bond that a torsion turns about; None for others.

    The variable may be counted from another atom than the chi of textbooks, which shifts it by a constant.
    """
    end, *bond, _ = row
    residue = topology.residue_ids[end]
    if any(topology.residue_ids[i] != residue for i in row):
        return None
    own = {
        topology.atom_names[i] for i in np.flatnonzero(np.asarray(topology.residue_ids) == residue)
    }
    name = f"{topology.residue_names[end]}{residue + 1}"
    if not {"N", "CA", "C", "CB"} <= own:
        return None
    if topology.elements[end] == "H":
        oxygen = topology.elements[bond[0]] == "O" and topology.elements[bond[1]] == "C"
        return f"hydroxyl {name}:{topology.atom_names[bond[0]]}" if oxygen else None
    near, remote = sorted(ALONG.find(topology.atom_names[i][1:2] or "-") for i in bond)
    return f"chi{remote} {name}" if near >= 0 and remote == near + 1 else None
