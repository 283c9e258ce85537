"""What a molecule is, as plain values: nothing about it changes unsaid."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import openmm
from openmm import app, unit

from jbg.systems.handedness import Handedness
from jbg.systems.pdb_input import Completed
from jbg.systems.pdb_links import is_ring
from jbg.systems.protonation import PH, disulfides, label
from jbg.systems.residue_names import MIRROR_OF


def describe(
    completed: Completed,
    hands: Handedness,
    system: openmm.System,
    forcefield: Sequence[str],
    *,
    solvent: str,
    ph: float | None = PH,
) -> dict[str, Any]:
    """The ``molecule`` of results.json, plain JSON values.

    Args:
        completed: the molecule with all its atoms, and what was added to it or left out.
        hands: its L and D residues.
        system: gives the charge.
        forcefield: names of the files of the force field.
        solvent: the model and where its radii are from, or vacuum.
        ph: of what the molecule was completed at; None where it was whole.
    """
    topology = completed.modeller.topology
    residues, ring = list(topology.residues()), is_ring(topology)
    right, forms = set(hands.right), completed.protonation.forms
    form_of = {each["residue"]: each["form"] for each in forms}
    names = [
        MIRROR_OF.get(r.name, r.name) if label(r) in right else form_of.get(label(r), r.name)
        for r in residues
    ]
    return {
        "formula": _formula(topology),
        "n_atoms": topology.getNumAtoms(),
        "charge": _charge(system),
        "residues": names,
        "ends": ["", ""] if ring else [_first_end(residues[0]), _last_end(residues[-1])],
        "ring": ring,
        "n_l": len(hands.left),
        "n_d": len(hands.right),
        "d_residues": list(hands.right),
        "allo_residues": list(hands.allo),
        "ph": ph,
        "protonation": forms,
        "disulfides": [[label(a.residue), label(b.residue)] for a, b in disulfides(topology)],
        "hydrogens_added": completed.protonation.added,
        "hydrogens_completed": completed.protonation.completed,
        "heavy_atoms_added": completed.heavy_added,
        "renamed": completed.renamed,
        "left_out": completed.left_out,
        "forcefield": list(forcefield),
        "solvent": solvent,
    }


def _formula(topology: app.Topology) -> str:
    """Hill's order: carbon, hydrogen, the others by alphabet."""
    count = Counter(atom.element.symbol for atom in topology.atoms() if atom.element)
    first = ["C", "H"] if "C" in count else []
    order = [*(e for e in first if e in count), *sorted(e for e in count if e not in first)]
    return "".join(f"{element}{count[element] if count[element] > 1 else ''}" for element in order)


def _charge(system: openmm.System) -> float | None:
    """In e, to a thousandth; None where the force field has no charges of the usual kind."""
    for force in system.getForces():
        if isinstance(force, openmm.NonbondedForce):
            charges = (force.getParticleParameters(i)[0] for i in range(force.getNumParticles()))
            total = sum(charge.value_in_unit(unit.elementary_charge) for charge in charges)
            total = round(total, 3)
            return int(total) if total == int(total) else total
    return None


def _first_end(residue) -> str:
    """NH3+ (or NH2+, of proline), NH2, or nothing where there is no amino acid's nitrogen."""
    names = {atom.name for atom in residue.atoms()}
    n = len(names & {"H", "H1", "H2", "H3", "HN", "HT1", "HT2", "HT3"})
    if not {"N", "CA", "C"} <= names or n < 1:
        return ""
    return f"NH{n}+" if n == (2 if residue.name == "PRO" else 3) else f"NH{n}"


def _last_end(residue) -> str:
    names = {atom.name for atom in residue.atoms()}
    if not ({"C", "O", "OXT"} <= names or {"C", "OT1", "OT2"} <= names):
        return ""
    return "COOH" if names & {"HXT", "HO"} else "COO-"
