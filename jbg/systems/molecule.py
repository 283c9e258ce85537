"""A molecule, ready to simulate, from whatever files a user has: `molecule` and `molecule_of` are its doors.

The System it holds is the one the Boltzmann density is defined by: no constraints, no cutoff, no
centre-of-mass motion remover, so every atom has a density in Cartesian space.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import openmm
from openmm import app

from jbg.interfaces import ConfigError, System
from jbg.systems.given_molecule import FORCEFIELD, GivenMolecule, Implicit
from jbg.systems.given_system import (
    load_system,
    read_atoms,
    read_system,
    system_from_xml,
    with_system,
)
from jbg.systems.minimising import minimised
from jbg.systems.molecule_build import Molecule, from_forcefield, from_parameters
from jbg.systems.pdb_input import complete, load_forcefield, read_pdb_text
from jbg.systems.peptide import peptide_pdb
from jbg.systems.sequences import parse_peptide
from jbg.systems.topology_files import read_amber, read_charmm, read_gromacs

__all__ = [
    "FORCEFIELD",
    "Molecule",
    "minimised",
    "molecular_system",
    "molecule",
    "molecule_from_pdb",
    "molecule_from_sequence",
    "molecule_of",
]
logger = logging.getLogger(__name__)

# of a sequence: the extended chain of more takes minutes to minimise, without a word
MAX_RESIDUES = 100
READERS = {
    "prmtop": read_amber,
    "top": read_gromacs,
    "psf": read_charmm,
    "system": read_system,
}


def molecule(
    pdb: str | Path | None = None,
    *,
    sequence: str | None = None,
    forcefield: Sequence[str] = FORCEFIELD,
    prmtop: str | Path | None = None,
    inpcrd: str | Path | None = None,
    top: str | Path | None = None,
    gro: str | Path | None = None,
    include: str | Path | None = None,
    psf: str | Path | None = None,
    crd: str | Path | None = None,
    prm: str | Path | Sequence[str | Path] = (),
    implicit: Implicit | None = None,
    system: openmm.System | str | Path | None = None,
    topology: app.Topology | None = None,
    positions: Any = None,
) -> Molecule:
    """A molecule from one of: a PDB file, a sequence, parameter files, an OpenMM System; energy-minimised.

    Args:
        pdb: one molecule; missing hydrogens are added. With ``system``: its atoms and coordinates.
        sequence: a peptide such as "ACE-ALA-NME" in place of a file (`sequences.parse_peptide`).
        forcefield: OpenMM force field files of ``pdb`` or ``sequence``.
        prmtop, inpcrd: AMBER's files.
        top, gro: GROMACS's files. include: folder of the force fields that ``top`` includes.
        psf, crd, prm: CHARMM's files; ``prm`` may be several.
        implicit: solvent of these files: "obc2" (default), "obc1", "gbn", "gbn2", "hct" or "none".
        system: an ``openmm.System``, its XML or the file of it; with ``pdb``, or ``topology`` and ``positions``.
        topology: ``openmm.app.Topology`` of ``system``.
        positions: (atoms, 3), nm or a Quantity, of ``topology``.

    Raises:
        ConfigError: not exactly one of these, or anything wrong with it, in one line.
    """
    files = {
        "pdb": pdb,
        "sequence": sequence,
        "prmtop": prmtop,
        "inpcrd": inpcrd,
        "top": top,
        "gro": gro,
        "include": include,
        "psf": psf,
        "crd": crd,
        "prm": prm,
        "implicit": implicit,
    }
    if isinstance(system, str) and system.lstrip().startswith("<"):
        system = system_from_xml(system, "system")
    if isinstance(system, openmm.System) or topology is not None or positions is not None:
        return _of_objects(system, topology, positions, files)
    given: dict[str, Any] = files | {"forcefield": forcefield, "system": system}
    return molecule_of(GivenMolecule(**given))


def _of_objects(system: Any, topology: Any, positions: Any, files: dict[str, Any]) -> Molecule:
    """The molecule of an ``openmm.System`` with its atoms, as objects or from a PDB file."""
    if topology is positions is None and files["pdb"] is not None:
        topology, positions = read_atoms(files["pdb"])
        files = files | {"pdb": None}
    others = [name for name, value in files.items() if value]
    if system is None or topology is None or positions is None or others:
        got = f", got {', '.join(others)} too" if others else ""
        raise ConfigError(
            f"molecule: system, topology and positions go together, without files{got}"
        )
    if not isinstance(system, openmm.System):
        system = load_system(system)
    read = with_system(system, topology, positions, "system")
    return from_parameters("molecule", read, where="system")


def molecule_of(given: GivenMolecule) -> Molecule:
    """The molecule that files or a sequence name.

    Raises:
        ConfigError: whatever is wrong with them, in one line.
    """
    door = given.door
    if door == "sequence":
        return molecule_from_sequence(given.sequence or "", forcefield=given.forcefield)
    if door == "pdb":
        return molecule_from_pdb(Path(given.pdb or ""), forcefield=given.forcefield)
    where = str(given.files[0])
    return from_parameters(Path(where).stem, READERS[door](given), where=where)


def molecule_from_pdb(path: str | Path, *, forcefield: Sequence[str] = FORCEFIELD) -> Molecule:
    """The molecule of a PDB file; missing hydrogens (pH 7), atoms of side chains and OXT are added.

    Its ``description`` says what was added, renamed and left out; side chains are logged too.

    Raises:
        ConfigError: whatever is wrong with the file or the force field, in one line.
    """
    loaded = load_forcefield(forcefield)
    completed = complete(read_pdb_text(path), str(path))
    built = [each for each in completed.heavy_added if not each.startswith("OXT ")]
    if built:
        logger.warning(
            "%s: atoms of side chains are missing; built where there is room, rotamers are guesses: %s",
            path,
            ", ".join(built),
        )
    return from_forcefield(Path(path).stem, completed, loaded, forcefield, where=str(path))


def molecule_from_sequence(
    sequence: str, *, forcefield: Sequence[str] = FORCEFIELD, name: str | None = None
) -> Molecule:
    """The extended peptide of "ACE-ALA-NME" or "GYDPETGTWG" (lower-case letters are D), minimised; needs no file.

    Disulfides and rings of head and tail are closed (`sequences.parse_peptide`). Without caps the ends are NH3+
    and COO-. At most MAX_RESIDUES.

    Raises:
        ConfigError: an unknown residue, a misplaced cap, or a force field that lacks something.
    """
    where = f"sequence {sequence if len(sequence) <= 60 else sequence[:57] + '...'}"
    loaded, peptide = load_forcefield(forcefield), parse_peptide(sequence)
    names = peptide.names
    if len(names) > MAX_RESIDUES:
        raise ConfigError(
            f"{where}: {len(names)} residues; at most {MAX_RESIDUES} are built from a sequence, as an extended "
            "chain; give a folded structure with --pdb"
        )
    completed = complete(peptide_pdb(names, peptide.bridges, ring=peptide.ring), where)
    return from_forcefield(name or sequence, completed, loaded, forcefield, where=where)


def molecular_system(molecule: Molecule, potential: Callable) -> System:
    """``molecule`` as the rest of jbg takes it, with a potential: flat x in nm -> kJ/mol."""
    return System(
        name=molecule.name,
        dim=3 * molecule.topology.n_atoms,
        potential=potential,
        energy_unit="kJ/mol",
        start=molecule.positions.reshape(1, -1),
        topology=molecule.topology,
    )
