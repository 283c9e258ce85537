"""Builds the molecule that the options name, and validates it early."""

import functools
import hashlib
import logging
from pathlib import Path
from typing import Protocol

from jbg.studies.molecule.energies import ENERGIES
from jbg.studies.molecule.options import EnergyChoice
from jbg.systems.given_molecule import GivenMolecule
from jbg.systems.implicit_solvent import has_solvent
from jbg.systems.molecule import Molecule, molecule_of

logger = logging.getLogger(__name__)


class Chosen(Protocol):
    """The options that say which molecule it is."""

    @property
    def given(self) -> GivenMolecule: ...

    @property
    def energies(self) -> EnergyChoice: ...


def build(options: Chosen) -> Molecule:
    """The molecule that the options name; the last one is remembered.

    Raises:
        ConfigError: a molecule that cannot be built.
    """
    given = options.given
    names = (*map(str, given.files), *given.forcefield)
    return _build(given, tuple(_digest(name) for name in names))


@functools.lru_cache(maxsize=1)
def _build(given: GivenMolecule, contents: tuple) -> Molecule:
    del contents  # of the files: part of what is remembered
    return molecule_of(given)


def files_digest(options: Chosen) -> str | None:
    """SHA-256 of the input files, so that an edited one is another run; None without a file."""
    digests = [_digest(str(path)) for path in options.given.files]
    if len(digests) < 2:
        return digests[0] if digests else None
    return hashlib.sha256(" ".join(map(str, digests)).encode()).hexdigest()


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
    if options.given.implicit != "none" and not has_solvent(molecule.system_xml):
        files = " ".join(molecule.forcefield)
        logger.warning(
            "no solvent model in %s: %s is in vacuum; implicit/obc2.xml is one for AMBER's force fields",
            files,
            molecule.name,
        )
    return molecule
