"""Heavy atoms that a file lacks: side chains and OXT are added where they fit, anything else is refused.

PDBFixer says which atoms are missing and adds them. Its places for side chains are not used: on protein G it gave
one in three whole side chains the wrong hand at CA, and most of threonine's at CB. Here an atom is placed by its
residue's template superposed on the atoms beside it, and a free torsion is turned to where there is most room.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pdbfixer
from openmm import app, unit

from jbg.interfaces import ConfigError
from jbg.systems.atom_names import is_hydrogen
from jbg.systems.one_molecule import LONGEST_BOND
from jbg.systems.peptide import signed_ca_volume
from jbg.systems.protonation import disulfides, label
from jbg.systems.residue_definitions import neighbours_of, norleucine
from jbg.systems.residue_names import MIRRORED, ONE_LETTER
from jbg.systems.side_chains import build_side_chain

# OpenMM makes its prefixed units when it is imported, out of sight of type checkers
NANOMETER = unit.nanometer  # pyright: ignore[reportAttributeAccessIssue]
_BACKBONE = {"N", "CA", "C", "O"}


def add_heavy_atoms(
    fixer: pdbfixer.PDBFixer, named: Sequence[str], where: str, *, ring: bool = False
) -> list[str]:
    """Adds missing atoms of side chains and a missing OXT, in place; those that are there do not move.

    Args:
        fixer: the structure.
        named: what the file calls each residue.
        where: name of the source in messages.
        ring: whether the last residue is bonded to the first, and has no OXT.

    Returns:
        "CG OD1 OD2 of ASP 3" of each residue that was completed.

    Raises:
        ConfigError: missing atoms of the backbone, of a cap, or of a cysteine that may be in a disulfide;
            hydrogens on atoms that are missing.
    """
    template = norleucine()
    fixer.registerTemplate(template.topology, template.positions)
    fixer.missingResidues = {}
    fixer.findMissingAtoms()
    if ring:
        fixer.missingTerminals = {}
    missing = {
        residue: [atom.name for atom in atoms] for residue, atoms in fixer.missingAtoms.items()
    }
    _check_side_chains_only(missing, where)
    _check_sulfurs(fixer.topology, missing, where)
    added = [f"{' '.join(names)} of {label(residue)}" for residue, names in missing.items()]
    added += [
        f"{' '.join(names)} of {label(residue)}"
        for residue, names in fixer.missingTerminals.items()
    ]
    bonds = [(_key(a), _key(b)) for a, b in fixer.topology.bonds()]
    ends = [residue.index for residue in fixer.missingTerminals]
    places = {residue.index: names for residue, names in missing.items()}
    fixer.addMissingAtoms(seed=1)
    _restore_bonds(fixer.topology, bonds)
    if not places and not ends:
        return added
    positions = np.array(fixer.positions.value_in_unit(NANOMETER), float)
    _place_side_chains(fixer, positions, places, named)
    _place_terminals(fixer.topology, positions, ends)
    fixer.positions = positions * NANOMETER
    return added


def _check_side_chains_only(missing: Mapping, where: str) -> None:
    lacking = [
        f"{label(residue)}: {' '.join(names)}"
        for residue, names in missing.items()
        if (residue.name not in ONE_LETTER and residue.name != "NLE") or _BACKBONE & set(names)
    ]
    if lacking:
        raise ConfigError(
            f"{where}: missing heavy atoms ({'; '.join(lacking)}); only side chains and OXT are added, give "
            "the backbone and caps whole"
        )
    for residue, names in missing.items():
        known = neighbours_of(residue.name)
        for atom in residue.atoms():
            on = set(known.get(atom.name, ())) & set(names)
            if is_hydrogen(atom) and on:
                raise ConfigError(
                    f"{where}: {label(residue)} has {atom.name} but not {' '.join(on)}, which it is bonded to; "
                    "give the heavy atom, or remove the hydrogen"
                )


def _check_sulfurs(topology: app.Topology, missing: Mapping, where: str) -> None:
    """Refuses a missing sulfur that another one may be bonded to."""
    bridged = {atom.residue for pair in disulfides(topology) for atom in pair}
    free = [r for r in topology.residues() if r.name == "CYS" and r not in bridged]
    for residue, names in missing.items():
        others = [label(r) for r in free if r is not residue]
        if "SG" in names and others:
            raise ConfigError(
                f"{where}: {label(residue)} lacks SG, and whether it is bonded to that of {others[0]} cannot be "
                "told; give the atom"
            )


def _key(atom) -> tuple[int, str]:
    return atom.residue.index, atom.name


def _restore_bonds(topology: app.Topology, bonds: Sequence[tuple]) -> None:
    """PDBFixer drops bonds of CONECT records between standard residues."""
    atoms = {_key(atom): atom for atom in topology.atoms()}
    there = {frozenset((_key(a), _key(b))) for a, b in topology.bonds()}
    for a, b in bonds:
        if frozenset((a, b)) not in there:
            topology.addBond(atoms[a], atoms[b])


def _place_side_chains(
    fixer: pdbfixer.PDBFixer,
    positions: np.ndarray,
    missing: Mapping[int, Sequence[str]],
    named: Sequence[str],
) -> None:
    """Places of the atoms added to side chains, in place, one residue after the other.

    Args:
        fixer: the completed structure.
        positions: of its atoms ``(atoms, 3)``, nm.
        missing: names of the added atoms by number of the residue.
        named: what the file calls each residue.
    """
    residues = list(fixer.topology.residues())
    new = {
        atom.index
        for k, names in missing.items()
        for atom in residues[k].atoms()
        if atom.name in names
    }
    heavy = [atom for atom in fixer.topology.atoms() if not is_hydrogen(atom)]
    for k, names in missing.items():
        residue = residues[k]
        own = {atom.name: atom.index for atom in residue.atoms() if not is_hydrogen(atom)}
        there = {name: positions[i] for name, i in own.items() if name not in names}
        others = [a.index for a in heavy if a.residue is not residue and a.index not in new]
        found = build_side_chain(
            residue.name,
            _template(fixer, residue.name),
            there,
            neighbours_of(residue.name),
            positions[others],
            mirrored=_is_mirrored(there, named[k]),
        )
        for name in names:
            positions[own[name]] = found[name]
            new.discard(own[name])


def _place_terminals(topology: app.Topology, positions: np.ndarray, ends: Sequence[int]) -> None:
    """OXT opposite to O, in place, where PDBFixer left it far from its carbon, as in a single amino acid."""
    residues = list(topology.residues())
    for k in ends:
        at = {atom.name: atom.index for atom in residues[k].atoms()}
        ca, c, o, oxt = (positions[at[name]] for name in ("CA", "C", "O", "OXT"))
        if np.linalg.norm(oxt - c) > LONGEST_BOND:
            axis = (c - ca) / np.linalg.norm(c - ca)
            positions[at["OXT"]] = c + 2 * axis * (axis @ (o - c)) - (o - c)


def _template(fixer: pdbfixer.PDBFixer, name: str) -> dict[str, np.ndarray]:
    """Places of the atoms of a residue by name, nm."""
    template = fixer.templates[name]
    positions = np.array(template.positions.value_in_unit(NANOMETER), float)
    return {atom.name: positions[atom.index] for atom in template.topology.atoms()}


def _is_mirrored(there: Mapping[str, np.ndarray], name: str) -> bool:
    """Whether a residue is D: by its coordinates, else by its name in the file."""
    if "CB" in there:
        return signed_ca_volume(dict(there)) < 0
    return name in MIRRORED
