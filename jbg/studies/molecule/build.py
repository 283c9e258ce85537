"""Builds the molecule that the options name, from a PDB file or a sequence, and validates it early."""

import functools
import hashlib
import logging
from pathlib import Path
from typing import Protocol

from jbg.studies.molecule.energies import ENERGIES
from jbg.studies.molecule.options import AlanineOptions, EnergyChoice
from jbg.systems.implicit_solvent import has_solvent
from jbg.systems.molecule import Molecule, molecule_from_pdb, molecule_from_sequence

logger = logging.getLogger(__name__)


class UsersMolecule(Protocol):
    """The options that say which molecule it is; one of pdb and sequence is None."""

    @property
    def pdb(self) -> Path | None: ...

    @property
    def sequence(self) -> str | None: ...

    @property
    def forcefield(self) -> tuple[str, ...]: ...

    @property
    def energies(self) -> EnergyChoice: ...


Chosen = UsersMolecule | AlanineOptions


def build(options: Chosen) -> Molecule:
    """The molecule that the options name; the last one is remembered.

    Raises:
        ConfigError: a molecule that cannot be built.
    """
    pdb = None if options.pdb is None else str(options.pdb)
    contents = tuple(_digest(name) for name in (pdb, *options.forcefield) if name)
    return _build(options.sequence, pdb, options.forcefield, contents)


@functools.lru_cache(maxsize=1)
def _build(
    sequence: str | None, pdb: str | None, forcefield: tuple[str, ...], contents: tuple
) -> Molecule:
    del contents  # of the files: part of what is remembered
    if pdb is not None:
        return molecule_from_pdb(pdb, forcefield=forcefield)
    return molecule_from_sequence(sequence or "", forcefield=forcefield)


def pdb_digest(options: Chosen) -> str | None:
    """SHA-256 of the input file, so that an edited one is another run; None without a file."""
    return None if options.pdb is None else _digest(str(options.pdb))


def _digest(name: str) -> str | None:
    """SHA-256 of a file on disk; None for files that OpenMM ships and for unreadable ones."""
    try:
        return hashlib.sha256(Path(name).read_bytes()).hexdigest()
    except OSError:
        return None


def build_checked(options: Chosen) -> Molecule:
    """Build the molecule and validate ``energies``; logs a warning if there is no solvent model.

    Raises:
        ConfigError: a molecule that cannot be built, or a force field that cannot be compiled.
    """
    molecule = build(options)
    ENERGIES[options.energies].check(molecule.system_xml)
    if not has_solvent(molecule.system_xml):
        files = " ".join(molecule.forcefield)
        logger.warning(
            "no solvent model in %s: %s is in vacuum; implicit/obc2.xml is one for AMBER's force fields",
            files,
            molecule.name,
        )
    return molecule
