"""Reading force fields and PDB files that users hand over, refused in one clear line if bad."""

import difflib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import openmm
import pdbfixer
from openmm import app, unit
from openmm.app.internal.pdbstructure import PdbStructure

from jbg.interfaces import ConfigError
from jbg.systems.forcefield_files import require_parameters_only
from jbg.systems.handedness import check_named_handedness
from jbg.systems.pdb_links import check_links
from jbg.systems.protonation import Protonation, add_hydrogens, label, one_line
from jbg.systems.residue_names import ONE_LETTER, is_modified, standard_name, with_standard_names

# OpenMM makes its prefixed units when it is imported, out of sight of type checkers
NANOMETER = unit.nanometer  # pyright: ignore[reportAttributeAccessIssue]
_WATERS = {"HOH", "WAT", "H2O", "DOD", "TIP", "TIP3", "TIP4", "SOL", "SPC"}
_LONGEST_BOND = 0.3  # nm; any covalent bond is shorter, S-S is 0.205


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
        raise ConfigError(f"{path}: no such PDB file")
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {one_line(error)}") from error
    if not text.strip():
        raise ConfigError(f"{path}: the file is empty; give a PDB file with the molecule's atoms")
    if not any(line.startswith(("ATOM  ", "HETATM")) for line in text.splitlines()):
        raise ConfigError(f"{path}: not a PDB file (no ATOM records)")
    return text


class Completed(NamedTuple):
    """A whole molecule, and what was done to make it one."""

    modeller: app.Modeller
    protonation: Protonation
    heavy_added: list[str]  # "OXT of GLY 10"
    left_out: dict[str, int]  # further "models", further places of atoms ("alternate_locations")


def complete_molecule(text: str, where: str) -> app.Modeller:
    """`complete`, the molecule alone."""
    return complete(text, where).modeller


def complete(text: str, where: str) -> Completed:
    """One whole molecule with all its hydrogens from PDB text.

    Heavy atoms keep their places. A missing OXT is added; other missing heavy atoms are refused. Forms of
    protonation that residues are named after (HIE, ASH) or show by their hydrogens are kept, the others are
    those of pH 7.

    Args:
        text: PDB text, first model used.
        where: how messages call the source.

    Raises:
        ConfigError: anything about the structure that a molecule cannot be built from.
    """
    fixer, named, left_out = _read(text, where)
    _check_coordinates(fixer, where)
    _check_residues(fixer.topology, named, where)
    fixer.missingResidues = {}
    fixer.findMissingAtoms()
    if fixer.missingAtoms:
        lacking = "; ".join(
            f"{label(residue)}: {' '.join(atom.name for atom in atoms)}"
            for residue, atoms in fixer.missingAtoms.items()
        )
        raise ConfigError(
            f"{where}: missing heavy atoms ({lacking}); repair the file, e.g. with PDBFixer"
        )
    _check_connected(fixer, where)
    check_links(text, fixer.topology, _positions(fixer), where)
    check_named_handedness(fixer.topology, _positions(fixer), named, where)
    heavy = [
        f"{name} of {label(residue)}"
        for residue, names in fixer.missingTerminals.items()
        for name in names
    ]
    fixer.addMissingAtoms(seed=1)
    modeller = app.Modeller(fixer.topology, fixer.positions)
    return Completed(modeller, add_hydrogens(modeller, named, where), heavy, left_out)


def _read(text: str, where: str) -> tuple[pdbfixer.PDBFixer, list[str], dict[str, int]]:
    """The molecule as OpenMM reads it, what the file calls each residue, and what is left out."""
    # one thread: the same result every time
    reference = openmm.Platform.getPlatformByName("Reference")
    standard = with_standard_names(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of duplicate atoms, as PDBFixer does again below
            as_named, structure = (PdbStructure(io.StringIO(each)) for each in (text, standard))
        fixer = pdbfixer.PDBFixer(pdbfile=io.StringIO(standard), platform=reference)
    except Exception as error:  # noqa: BLE001  the parser raises whatever the text provokes
        raise ConfigError(f"{where}: not a readable PDB file: {one_line(error)}") from error
    named = [residue.get_name() for residue in as_named.iter_residues()]
    if len(named) != fixer.topology.getNumResidues():
        raise ConfigError(
            f"{where}: one residue number is used for residues of different names; number them apart"
        )
    residues = list(structure.iter_residues())
    places = sum(len(atom.locations) for residue in residues for atom in residue.atoms)
    models = sum(line.startswith("MODEL ") for line in text.splitlines())
    left_out = {
        "models": max(0, models - 1),
        "alternate_locations": places - fixer.topology.getNumAtoms(),
    }
    return fixer, named, left_out


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
        if residue.name in _WATERS:
            waters.append(residue)
        elif loose and len(list(residue.atoms())) == 1:
            ions.append(residue)
        elif loose:
            unknown.append(f"{label(residue)} ({' '.join(atom.name for atom in loose[:6])})")
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


def _check_connected(fixer, where: str) -> None:
    """Refuse more than one molecule, and bonds far too long to be bonds (a chain break)."""
    positions = _positions(fixer)
    parent = list(range(fixer.topology.getNumAtoms()))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    for a, b in fixer.topology.bonds():
        length = np.linalg.norm(positions[a.index] - positions[b.index])
        if length > _LONGEST_BOND:
            raise ConfigError(
                f"{where}: {a.name} of {label(a.residue)} and {b.name} of {label(b.residue)} "
                f"should be bonded but are {length:.2f} nm apart: residues are missing between "
                "them, or these are two molecules; give one whole molecule"
            )
        parent[root(a.index)] = root(b.index)
    roots = {root(atom.index): atom for atom in reversed(list(fixer.topology.atoms()))}
    if len(roots) > 1:
        names = ", ".join(
            label(atom.residue) for atom in sorted(roots.values(), key=lambda a: a.index)[:4]
        )
        raise ConfigError(
            f"{where}: {len(roots)} molecules that no bond connects (they start at {names}); "
            "give a file with one molecule"
        )
