"""Names of internal coordinates for people."""

import numpy as np

from jbg.coords.backbone import backbone_torsions
from jbg.coords.directions import DIRECTIONS, interpolated_rotors
from jbg.coords.torsions import Rotors, sibling_leads
from jbg.coords.zmatrix import ZMatrix, atom_label
from jbg.interfaces import Topology


def coordinate_labels(
    topology: Topology, zmatrix: ZMatrix, rotors: Rotors, interpolated: Rotors = ()
) -> tuple[str, ...]:
    """Names of the cell variables [bonds | angles | torsions]: phi, psi and omega by residue, others by atoms.

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
    leads = sibling_leads(zmatrix)
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
            kind = "torsion" if leads[t] == t else "offset"
            labels.append(named.get(tuple(row), describe(kind, row)))
    return tuple(labels)
