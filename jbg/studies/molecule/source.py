"""Which molecule a study is of: from a PDB file or a sequence, refused early where it cannot be used."""

import functools
import hashlib
import logging
from pathlib import Path
from typing import Any

from jbg.interfaces import ConfigError
from jbg.systems.description_rows import rows

logger = logging.getLogger(__name__)


def source(pdb: str | Path | None, sequence: str | None, forcefield) -> tuple[dict[str, Any], Any]:
    """The options that say which molecule it is, and the molecule.

    Raises:
        ConfigError: not exactly one of pdb and sequence, or a molecule that cannot be built.
    """
    from jbg.systems.molecule import FORCEFIELD

    if (pdb is None) == (sequence is None):
        raise ConfigError("which molecule: give one of --pdb FILE and --sequence ACE-ALA-NME")
    named = {"sequence": sequence} if pdb is None else {"pdb": str(Path(pdb).absolute())}
    options = named | {"forcefield": list(forcefield or FORCEFIELD)}
    molecule = build(options)
    if pdb is not None:
        options["sha256"] = hashlib.sha256(Path(pdb).read_bytes()).hexdigest()
    return options, molecule


def build(options: dict[str, Any]):
    """The molecule that the options describe, from its PDB file or its sequence; the last one is remembered."""
    pdb, files = options.get("pdb"), tuple(options["forcefield"])
    contents = tuple(_digest(name) for name in (pdb, *files) if name)
    return _build(options.get("sequence"), pdb, files, contents)


@functools.lru_cache(maxsize=1)
def _build(sequence: str | None, pdb: str | None, forcefield: tuple[str, ...], contents: tuple):
    from jbg.systems.molecule import molecule_from_pdb, molecule_from_sequence

    del contents  # of the files: part of what is remembered
    if sequence is not None:
        return molecule_from_sequence(sequence, forcefield=forcefield)
    return molecule_from_pdb(pdb, forcefield=forcefield)


def _digest(name: str) -> str | None:
    """Of a file on disk; None for one that OpenMM ships with, and for one that building will refuse to read."""
    try:
        return hashlib.sha256(Path(name).read_bytes()).hexdigest()
    except OSError:
        return None


def describe(options: dict[str, Any]) -> list[tuple[str, str]]:
    """What the options' molecule is, to be read before a run."""
    return rows(build(options).description)


def check_force_field(energies: str, molecule) -> None:
    """Refuses a choice that is none, and a force field that cannot be compiled where it has to be; says so where
    there is no solvent."""
    from jbg.systems.forcefield import compiled_potential
    from jbg.systems.implicit_solvent import has_solvent

    if energies not in ("jax", "openmm"):
        raise ConfigError(f"energies must be jax or openmm, got {energies!r}")
    if energies == "jax":
        compiled_potential(molecule.system_xml)
    if not has_solvent(molecule.system_xml):
        files = " ".join(molecule.forcefield)
        logger.warning(
            "no solvent model in %s: %s is in vacuum; implicit/obc2.xml is one for AMBER's force fields",
            files,
            molecule.name,
        )
