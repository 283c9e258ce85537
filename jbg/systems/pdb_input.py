"""Reading force fields and PDB files that users hand over, refused in one clear line if bad."""

import difflib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openmm
import pdbfixer
from openmm import app, unit
from openmm.app.internal.pdbstructure import PdbStructure

from jbg.interfaces import ConfigError
from jbg.systems.alternate_places import OnePlace, one_place
from jbg.systems.atom_names import name_hydrogens, renamed
from jbg.systems.forcefield_files import require_parameters_only
from jbg.systems.handedness import check_named_handedness
from jbg.systems.heavy_atoms import add_heavy_atoms
from jbg.systems.one_molecule import WATERS, check_connected
from jbg.systems.pdb_links import check_links, close_ring, drop_head
from jbg.systems.protonation import Protonation, add_hydrogens, label, one_line
from jbg.systems.residue_definitions import load_definitions, neighbours_of
from jbg.systems.residue_names import ONE_LETTER, is_modified, standard_name, with_standard_names

# OpenMM makes its prefixed units when it is imported, out of sight of type checkers
NANOMETER = unit.nanometer  # pyright: ignore[reportAttributeAccessIssue]


# what files are by their names
OTHER_FILES = {
    ".prmtop": "--prmtop and --inpcrd",
    ".parm7": "--prmtop and --inpcrd",
    ".top": "--top and --gro",
    ".gro": "--top and --gro",
    ".psf": "--psf, --crd and --prm",
    ".xml": "--system, or --forcefield",
    ".sdf": "--prmtop or --system, with a force field (docs/molecules.md)",
    ".mol2": "--prmtop or --system, with a force field (docs/molecules.md)",
}


def load_forcefield(names: Sequence[str]) -> app.ForceField:
    """OpenMM force field from the files it ships with, or files on disk.

    Raises:
        ConfigError: no names, an unknown file (the nearest name is suggested), a file that is
            no force field, or one not shipped that holds code (`forcefield_files`).
    """
    if isinstance(names, str) or not names:
        raise ConfigError(
            "forcefield: give at least one file, e.g. amber14-all.xml implicit/obc2.xml"
        )
    shipped = [
        str(path.relative_to(folder))
        for folder in map(Path, app.forcefield._getDataDirectories())
        for path in folder.rglob("*.xml")
    ]
    for name in names:
        if name not in shipped and not Path(name).is_file():
            if "," in name:
                raise ConfigError(
                    f"forcefield: files are separated by spaces, not commas: {name!r}"
                )
            near = difflib.get_close_matches(name, shipped, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}?" if near else "see OpenMM's app/data folder"
            raise ConfigError(f"forcefield: no file {name!r} in OpenMM's data or on disk; {hint}")
    require_parameters_only(names)
    try:
        return app.ForceField(*names)
    except Exception as error:  # noqa: BLE001  the XML decides what can go wrong
        raise ConfigError(
            f"forcefield: cannot load {' '.join(names)}: {one_line(error)}"
        ) from error


def read_pdb_text(path: str | Path) -> str:
    """The text of a PDB file that holds atoms.

    Raises:
        ConfigError: missing, a folder, empty, or without ATOM records.
    """
    path = Path(path)
    if not path.is_file():
        # a pipe can be read only once
        hint = ": a folder or a pipe; save the structure as a file first" if path.exists() else ""
        raise ConfigError(f"{path}: no such PDB file{hint}")
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {one_line(error)}") from error
    if not text.strip():
        raise ConfigError(f"{path}: the file is empty; give a PDB file with the molecule's atoms")
    if not any(line.startswith(("ATOM  ", "HETATM")) for line in text.splitlines()):
        other = OTHER_FILES.get(path.suffix.lower())
        hint = f"; give it with {other}" if other else ""
        raise ConfigError(f"{path}: not a PDB file (no ATOM records){hint}")
    return text


class Completed(NamedTuple):
    """A whole molecule, and what was done to make it one."""

    modeller: app.Modeller
    protonation: Protonation
    heavy_added: list[str]  # "OXT of GLY 10", "CG OD1 OD2 of ASP 3"
    renamed: list[str]  # "HB1 of ASP 3 is HB3"
    # further "models", further places of atoms ("alternate_locations") and the residues that have them with the
    # place kept ("alternate_residues"), residues of SEQRES without coordinates at the ends ("unresolved")
    left_out: dict[str, Any]


def complete_molecule(text: str, where: str) -> app.Modeller:
    """`complete`, the molecule alone."""
    return complete(text, where).modeller


def complete(text: str, where: str) -> Completed:
    """One whole molecule with all its hydrogens from PDB text.

    Heavy atoms keep their places. Missing atoms of side chains and a missing OXT are added; those of the backbone
    and of caps, and missing residues, are refused. Of alternate locations, the conformation of highest occupancy
    in each residue is kept. Hydrogens with unusual names are renamed. Forms of protonation that residues are named
    after (HIE, ASH) or show by their hydrogens are kept, the others are those of pH 7.

    Args:
        text: PDB text, first model used.
        where: how messages call the source.

    Raises:
        ConfigError: anything about the structure that a molecule cannot be built from.
    """
    chosen = one_place(text, where)
    fixer, named, atom_names = _read(chosen.text, where)
    _check_coordinates(fixer, where)
    name_hydrogens(fixer.topology, _positions(fixer))
    _check_residues(fixer.topology, named, where)
    fixer.findMissingResidues()
    missing = dict(fixer.missingResidues)
    check_connected(fixer.topology, _positions(fixer), where, missing=missing, whole=False)
    check_links(text, fixer.topology, _positions(fixer), where)
    ring = close_ring(fixer.topology, _positions(fixer))
    check_named_handedness(fixer.topology, _positions(fixer), named, where)
    names = renamed(atom_names, fixer.topology)
    left_out = _left_out(text, chosen, fixer.topology, missing)
    heavy = add_heavy_atoms(fixer, named, where, ring=ring)
    check_connected(fixer.topology, _positions(fixer), where)
    modeller = app.Modeller(fixer.topology, fixer.positions)
    protonation = add_hydrogens(modeller, named, where)
    if ring:
        dropped = drop_head(modeller)
        kept = [each for each in protonation.completed if each not in dropped]
        added = protonation.added - len(dropped)
        protonation = protonation._replace(added=added, completed=kept)
    return Completed(modeller, protonation, heavy, names, left_out)


def _read(text: str, where: str) -> tuple[pdbfixer.PDBFixer, list[str], list[str]]:
    """The molecule as OpenMM reads it, and what the file calls each residue and each atom."""
    load_definitions()
    # one thread: the same result every time
    reference = openmm.Platform.getPlatformByName("Reference")
    standard = with_standard_names(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of duplicate atoms, as PDBFixer does again below
            as_named = PdbStructure(io.StringIO(text))
        fixer = pdbfixer.PDBFixer(pdbfile=io.StringIO(standard), platform=reference)
    except Exception as error:  # noqa: BLE001  the parser raises whatever the text provokes
        raise ConfigError(f"{where}: not a readable PDB file: {one_line(error)}") from error
    named = [residue.get_name() for residue in as_named.iter_residues()]
    atoms = [atom.get_name() for residue in as_named.iter_residues() for atom in residue.atoms]
    if len(named) != fixer.topology.getNumResidues() or len(atoms) != fixer.topology.getNumAtoms():
        raise ConfigError(
            f"{where}: one residue number is used for residues of different names; number them apart"
        )
    return fixer, named, atoms


def _left_out(text: str, chosen: OnePlace, topology: app.Topology, missing: dict) -> dict[str, Any]:
    """What is in the file and not in the molecule."""
    models = sum(line.startswith("MODEL ") for line in text.splitlines())
    chains = [list(chain.residues()) for chain in topology.chains()]
    unresolved = [
        f"{' '.join(names)} {'before' if place == 0 else 'after'} {label(chains[chain][-1 if place else 0])}"
        for (chain, place), names in missing.items()
        if place in (0, len(chains[chain]))
    ]
    return {
        "models": max(0, models - 1),
        "alternate_locations": chosen.n_left_out,
        "alternate_residues": chosen.residues,
        "unresolved": unresolved,
    }


def _positions(fixer) -> np.ndarray:
    return np.array(fixer.positions.value_in_unit(NANOMETER), float).reshape(-1, 3)


def _check_coordinates(fixer, where: str) -> None:
    positions = _positions(fixer)
    bad = np.flatnonzero(~np.isfinite(positions).all(axis=1))
    if bad.size:
        atom = list(fixer.topology.atoms())[bad[0]]
        raise ConfigError(
            f"{where}: coordinates are not finite for {bad.size} atom(s), first {atom.name} of "
            f"{label(atom.residue)}; repair the file"
        )


def _check_residues(topology: app.Topology, named: Sequence[str], where: str) -> None:
    """Refuse solvent, ions, residues with atoms that OpenMM knows no bonds of, and names that it changes."""
    bonded = {atom for bond in topology.bonds() for atom in bond}
    waters, ions, unknown = [], [], []
    for residue in topology.residues():
        loose = [atom for atom in residue.atoms() if atom not in bonded]
        # an atom without bonds because its neighbour is missing is another matter
        strange = [atom for atom in loose if atom.name not in neighbours_of(residue.name)]
        if residue.name in WATERS:
            waters.append(residue)
        elif loose and len(list(residue.atoms())) == 1:
            ions.append(residue)
        elif strange:
            unknown.append(f"{label(residue)} ({' '.join(atom.name for atom in strange[:6])})")
        elif (
            residue.name in ONE_LETTER and standard_name(named[int(residue.index)]) != residue.name
        ):
            unknown.append(f"{named[residue.index]} {residue.id}")
    if waters:
        raise ConfigError(
            f"{where}: {len(waters)} water molecule(s); remove them, solvent is implicit"
        )
    if ions and _is_trace(topology):
        raise ConfigError(
            f"{where}: only one atom of each residue (a trace of the backbone); give all heavy atoms"
        )
    if ions:
        names = " ".join(sorted({residue.name for residue in ions}))
        raise ConfigError(f"{where}: {len(ions)} lone atom(s) or ion(s) ({names}); remove them")
    modified = sorted({name for name in named if is_modified(name) and standard_name(name) == name})
    if unknown:
        hint = "use standard names, or add CONECT records and a force field that has them"
        if modified:
            hint = f"{' '.join(modified)}: modified, needs CONECT records and a force field that has it"
        raise ConfigError(
            f"{where}: unknown residue(s), or atoms with unknown names: {', '.join(unknown[:5])}; "
            f"{hint}"
        )


def _is_trace(topology: app.Topology) -> bool:
    """Whether every residue is an amino acid's alpha carbon alone."""
    return all(atom.name == "CA" and atom.residue.name in ONE_LETTER for atom in topology.atoms())
