"""Molecules with parameters of other programs: files of AMBER, GROMACS and CHARMM, read by OpenMM."""

import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openmm
from openmm import app, unit

from jbg.interfaces import ConfigError
from jbg.systems.forcefield.read_born import BUILDERS
from jbg.systems.given_molecule import DEFAULT_IMPLICIT, GivenMolecule
from jbg.systems.implicit_solvent import TITLES, use_native_obc2
from jbg.systems.one_molecule import check_solute
from jbg.systems.protonation import one_line
from jbg.systems.unconstrained import check_density

# OpenMM makes its prefixed units when it is imported, out of sight of type checkers
NANOMETER = unit.nanometer  # pyright: ignore[reportAttributeAccessIssue]
_MODELS = {"obc2": app.OBC2, "obc1": app.OBC1, "gbn": app.GBn, "gbn2": app.GBn2, "hct": app.HCT}
_PLAIN: dict[str, Any] = {
    "nonbondedMethod": app.NoCutoff,
    "constraints": None,
    "rigidWater": False,
    "removeCMMotion": False,
}
_STANDARD = "radii by element and neighbours as OpenMM has them for the model"
# sets of radii, as LEaP calls them
_MADE_FOR = {
    "obc2": "mbondi2",
    "obc1": "mbondi2",
    "gbn": "bondi",
    "gbn2": "mbondi3",
    "hct": "mbondi",
}
_SURFACE = "ACE"  # the surface term of OpenMM's implicit/*.xml


class Parametrised(NamedTuple):
    """A molecule with its System; ``positions`` are (atoms, 3) in nm, ``solvent`` says where radii are from."""

    topology: app.Topology
    positions: np.ndarray
    system: openmm.System
    forcefield: tuple[str, ...]
    solvent: str | None


def read_amber(given: GivenMolecule) -> Parametrised:
    """A prmtop with its coordinates.

    Raises:
        ConfigError: files that are missing, unreadable, or do not fit each other.
    """
    prmtop, inpcrd = _there(given.prmtop), _there(given.inpcrd)
    read = _reading(prmtop, "an AMBER topology", lambda: app.AmberPrmtopFile(str(prmtop)))
    check_solute(read.topology, str(prmtop))
    placed = _reading(inpcrd, "AMBER coordinates", lambda: app.AmberInpcrdFile(str(inpcrd)))
    positions = _positions(placed.positions, read.topology, prmtop, inpcrd)
    name = given.implicit or DEFAULT_IMPLICIT
    model = {"implicitSolvent": _MODELS.get(name), "sasaMethod": _SURFACE}
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        system = _reading(prmtop, "a System", lambda: read.createSystem(**_PLAIN, **model))
    check_density(system, str(prmtop))
    source = f"radii of {prmtop.name}, {_radii_of(read)}"
    if any("Non-optimal GB" in str(warning.message) for warning in warned):
        source += f", not those that {TITLES[name]} was made for ({_MADE_FOR[name]})"
    return Parametrised(
        read.topology, positions, system, (prmtop.name,), _solvent(given.implicit, source)
    )


def read_gromacs(given: GivenMolecule) -> Parametrised:
    """A top file with its coordinates; OpenMM reads no implicit solvent there, so its force is added.

    Raises:
        ConfigError: files that are missing, unreadable, or do not fit each other.
    """
    top, gro = _there(given.top), _there(given.gro)
    if given.include is not None and not given.include.is_dir():
        raise ConfigError(f"--include {given.include}: no such folder")
    placed = _reading(gro, "GROMACS coordinates", lambda: app.GromacsGroFile(str(gro)))
    include = None if given.include is None else str(given.include)
    read = _reading(
        top, "a GROMACS topology", lambda: app.GromacsTopFile(str(top), includeDir=include)
    )
    check_solute(read.topology, str(top))
    positions = _positions(placed.positions, read.topology, top, gro)
    _check_names(_names_in(read), placed.atomNames, top, gro)
    system = _reading(top, "a System", lambda: read.createSystem(**_PLAIN))
    check_density(system, str(top))
    _add_solvent(system, read.topology, given.implicit or DEFAULT_IMPLICIT)
    return Parametrised(
        read.topology, positions, system, (top.name,), _solvent(given.implicit, _STANDARD)
    )


def read_charmm(given: GivenMolecule) -> Parametrised:
    """A psf file with its parameters and coordinates.

    Raises:
        ConfigError: files that are missing, unreadable, or do not fit each other.
    """
    psf, crd = _there(given.psf), _there(given.crd)
    files = [_there(path) for path in given.prm]
    read = _reading(psf, "a psf file", lambda: app.CharmmPsfFile(str(psf)))
    check_solute(read.topology, str(psf))
    parameters = _reading(
        files[0], "CHARMM parameters", lambda: app.CharmmParameterSet(*map(str, files))
    )
    names = [atom.name for atom in read.topology.atoms()]
    if crd.suffix.lower() == ".pdb":
        placed = _reading(crd, "a PDB file", lambda: app.PDBFile(str(crd)))
        found = [atom.name for atom in placed.topology.atoms()]
    else:
        placed = _reading(crd, "CHARMM coordinates", lambda: app.CharmmCrdFile(str(crd)))
        found = placed.attype
    positions = _positions(placed.positions, read.topology, psf, crd)
    if crd.suffix.lower() != ".pdb":  # OpenMM changes names of PDB files
        _check_names(names, found, psf, crd)
    name = given.implicit or DEFAULT_IMPLICIT
    system = _reading(
        psf,
        "a System",
        lambda: read.createSystem(
            parameters, **_PLAIN, implicitSolvent=_MODELS.get(name), sasaMethod=_SURFACE
        ),
    )
    check_density(system, str(psf))
    used = (psf.name, *(path.name for path in files))
    return Parametrised(read.topology, positions, system, used, _solvent(given.implicit, _STANDARD))


def _names_in(read: app.GromacsTopFile) -> list[str]:
    """Names of atoms in the file; OpenMM's topology has others for amino acids and water."""
    return [
        fields[4]
        for molecule, count in read._molecules
        for _ in range(count)
        for fields in read._moleculeTypes[molecule].atoms
    ]


def _radii_of(read: app.AmberPrmtopFile) -> str:
    """The set of radii as LEaP calls it."""
    return " ".join(read._prmtop._raw_data.get("RADIUS_SET", ())).strip() or "of a set without name"


def _solvent(implicit: str | None, radii: str) -> str:
    """What is said of the solvent, and that nobody chose it where nobody did."""
    name = implicit or DEFAULT_IMPLICIT
    default = "" if implicit else " (the default; --implicit chooses another, or none)"
    return "vacuum" if name == "none" else f"{TITLES[name]}{default}, surface term, {radii}"


def _add_solvent(system: openmm.System, topology: app.Topology, name: str) -> None:
    """Generalised Born with the System's charges, as OpenMM's force fields of implicit/ add it."""
    if name == "none":
        return
    force = BUILDERS[name](SA=_SURFACE)
    charged = next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    rows = force.getStandardParameters(topology)
    charges = [charged.getParticleParameters(i)[0]._value for i in range(len(rows))]
    force.addParticles([[q, *row] for q, row in zip(charges, rows, strict=True)])
    force.finalize()
    system.addForce(force)
    use_native_obc2(system)


def _there(path: Path | None) -> Path:
    if path is None or not path.is_file():
        raise ConfigError(f"{path}: no such file")
    return path


def _reading(path: Path, what: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception as error:  # noqa: BLE001  readers raise whatever the file provokes
        raise ConfigError(f"{path}: cannot be read as {what}: {one_line(error)}") from error


def _positions(found: Any, topology: app.Topology, of: Path, at: Path) -> np.ndarray:
    positions = np.array(found.value_in_unit(NANOMETER), float).reshape(-1, 3)
    if len(positions) != topology.getNumAtoms():
        raise ConfigError(
            f"{at}: coordinates of {len(positions)} atoms, but {of.name} has {topology.getNumAtoms()}"
        )
    return positions


def _check_names(names: Sequence[str], found: Sequence[str], of: Path, at: Path) -> None:
    """Refuses atoms in another order."""
    for i, (name, other) in enumerate(zip(names, found, strict=True), start=1):
        # GROMACS keeps five letters
        if re.sub(r"\W", "", name)[:5] != re.sub(r"\W", "", other)[:5]:
            raise ConfigError(
                f"{at}: atom {i} is {other}, but {name} in {of.name}: give the atoms in the same order"
            )
