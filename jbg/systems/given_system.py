"""An OpenMM System that a user brings, with its atoms and coordinates: used as it is, or refused in one line."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import app, unit

from jbg.interfaces import ConfigError
from jbg.systems.given_molecule import GivenMolecule
from jbg.systems.one_molecule import check_solute
from jbg.systems.pdb_input import read_pdb_text
from jbg.systems.protonation import one_line
from jbg.systems.residue_definitions import load_definitions
from jbg.systems.topology_files import NANOMETER, Parametrised
from jbg.systems.unconstrained import check_density, check_invariant

# act on velocities or on the box, not on the energy
_WITHOUT_ENERGY = (openmm.CMMotionRemover, openmm.AndersenThermostat)
_UREY_BRADLEY = 0.16  # nm; ends of an angle that are tied by a longer spring are not bonded


def read_system(given: GivenMolecule) -> Parametrised:
    """The System of an XML file, with atoms and coordinates of a PDB file.

    Raises:
        ConfigError: files that are missing, unreadable, or do not fit each other.
    """
    path = Path(given.system or "")
    return with_system(load_system(path), *read_atoms(given.pdb or ""), path.name)


def load_system(path: str | Path) -> openmm.System:
    """The System of an XML file.

    Raises:
        ConfigError: missing, or not of a System.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    return system_from_xml(path.read_text(errors="replace"), str(path))


def read_atoms(pdb: str | Path) -> tuple[app.Topology, np.ndarray]:
    """Atoms and positions ``(atoms, 3)`` in nm of a PDB file, as they are.

    Raises:
        ConfigError: missing, or no PDB file.
    """
    read_pdb_text(pdb)
    load_definitions()
    try:
        read = app.PDBFile(str(pdb))
    except Exception as error:  # noqa: BLE001  the parser raises whatever the file provokes
        raise ConfigError(f"{pdb}: not a readable PDB file: {one_line(error)}") from error
    return read.topology, np.array(read.positions.value_in_unit(NANOMETER), float)


def system_from_xml(text: str, where: str) -> openmm.System:
    """A serialised System.

    Raises:
        ConfigError: not XML, or of something else, such as a force field.
    """
    try:
        found = openmm.XmlSerializer.deserialize(text)
    except Exception as error:  # noqa: BLE001  anything may be in a file
        hint = "; a force field goes with --forcefield" if "<ForceField" in text else ""
        raise ConfigError(
            f"{where}: not the XML of an OpenMM System ({one_line(error)}){hint}"
        ) from error
    if not isinstance(found, openmm.System):
        raise ConfigError(f"{where}: the XML is of a {type(found).__name__}, not of a System")
    return found


def with_system(
    system: openmm.System, topology: app.Topology, positions: Any, name: str
) -> Parametrised:
    """A System with its atoms; a copy, without forces that have no energy.

    Args:
        system: without constraints, box and virtual sites.
        topology: of the same atoms, in the same order; bonds that it lacks are those of the System's springs.
        positions: (atoms, 3), nm, or a Quantity.
        name: of the System in messages.

    Raises:
        ConfigError: anything that has no density in Cartesian space, or atoms that do not fit.
    """
    if unit.is_quantity(positions):
        positions = positions.value_in_unit(NANOMETER)
    places = np.array(positions, float).reshape(-1, 3)
    _check_counts(system, topology, places, name)
    check_solute(topology, name)
    system, topology = openmm.XmlSerializer.clone(system), copy.deepcopy(topology)
    for index in reversed(range(system.getNumForces())):
        if isinstance(system.getForce(index), _WITHOUT_ENERGY):
            system.removeForce(index)
    check_density(system, name)
    _check_bonds(system, topology, name)
    check_invariant(system, places, name)
    return Parametrised(topology, places, system, (name,), None)


def _check_counts(
    system: openmm.System, topology: app.Topology, positions: np.ndarray, name: str
) -> None:
    n, atoms = system.getNumParticles(), topology.getNumAtoms()
    if not n == atoms == len(positions):
        raise ConfigError(
            f"{name}: the System has {n} particles, the topology {atoms} atoms and {len(positions)} positions; "
            "give the PDB file that the System was made for, hydrogens included"
        )


def _check_bonds(system: openmm.System, topology: app.Topology, name: str) -> None:
    """Bonds of the topology must be springs of the System, where it has any; atoms without bonds get theirs."""
    springs = spring_bonds(system)
    if not springs:
        return
    atoms = list(topology.atoms())
    for a, b in topology.bonds():
        if frozenset((a.index, b.index)) not in springs:
            raise ConfigError(
                f"{name}: {a.name} and {b.name} of {a.residue.name} {a.residue.id} are bonded in the topology but "
                "not in the System; give the atoms in the System's order"
            )
    bonded = {frozenset((a.index, b.index)) for a, b in topology.bonds()}
    for pair in sorted(springs - bonded, key=sorted):
        topology.addBond(*(atoms[i] for i in sorted(pair)))


def spring_bonds(system: openmm.System) -> set[frozenset[int]]:
    """Pairs of particles with a harmonic bond, less those of Urey and Bradley (ends of an angle)."""
    lengths: dict[frozenset[int], float] = {}
    ends: set[frozenset[int]] = set()
    for force in system.getForces():
        if isinstance(force, openmm.HarmonicBondForce):
            for i in range(force.getNumBonds()):
                a, b, r0, _ = force.getBondParameters(i)
                lengths[frozenset((a, b))] = r0._value
        elif isinstance(force, openmm.HarmonicAngleForce):
            for i in range(force.getNumAngles()):
                a, _, c, *_ = force.getAngleParameters(i)
                ends.add(frozenset((a, c)))
    return {pair for pair, r0 in lengths.items() if pair not in ends or r0 < _UREY_BRADLEY}
