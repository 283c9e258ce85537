"""A `Molecule` from what was read: minimised, checked to be one molecule still the same, and described."""

import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import openmm
from openmm import app, unit

from jbg.interfaces import ConfigError, Topology
from jbg.systems.description import describe
from jbg.systems.handedness import check_kept, check_mirror_images, handedness
from jbg.systems.implicit_solvent import solvent_of, use_native_obc2
from jbg.systems.minimising import check_same_energy, energy_of, minimise, quiet_context
from jbg.systems.one_molecule import check_connected
from jbg.systems.pdb_input import NANOMETER, Completed
from jbg.systems.protonation import PH, as_given, label, one_line
from jbg.systems.residue_definitions import FORCEFIELDS_WITH
from jbg.systems.residue_names import BUILT_FROM, C_CAPS, N_CAPS, ONE_LETTER, standard_name
from jbg.systems.topology_files import Parametrised

KNOWN = {*BUILT_FROM, *N_CAPS, *C_CAPS}  # beside the 20 amino acids, residues of peptides
MAX_ATOMS = 5000  # more take minutes to minimise, without a word


@dataclasses.dataclass(frozen=True, kw_only=True)
class Molecule:
    """One molecule and its force field; plain data, no OpenMM objects.

    Attributes:
        name: what to call it.
        system_xml: a serialised ``openmm.System``, ready to simulate.
        topology: elements, names, residues and bonds.
        positions: (atoms, 3) nm, float64; energy-minimised.
        built_positions: (atoms, 3) nm; the same before minimising: heavy atoms as given, hydrogens
            added.
        masses: (atoms,) in dalton, as the force field has them.
        forcefield: the files the force field was read from.
        pdb: PDB text of the minimised molecule, hydrogens included.
        description: what it is, in plain JSON values (`description.describe`).
    """

    name: str
    system_xml: str
    topology: Topology
    positions: np.ndarray
    built_positions: np.ndarray
    masses: np.ndarray
    forcefield: tuple[str, ...]
    pdb: str
    description: dict[str, Any]


def from_forcefield(
    name: str,
    completed: Completed,
    loaded: app.ForceField,
    forcefield: Sequence[str],
    *,
    where: str,
) -> Molecule:
    """A whole molecule with a force field of OpenMM.

    Args:
        name: what to call it.
        completed: with all its atoms.
        loaded: the force field.
        forcefield: its files.
        where: name of the source in messages.

    Raises:
        ConfigError: too many atoms, no parameters, or another molecule after minimising.
    """
    topology = completed.modeller.topology
    _check_size(topology, where)
    system = _create_system(topology, loaded, forcefield, where)
    solvent = solvent_of(system, "radii of the force field files")
    return _finished(
        name, completed, system, forcefield, where=where, solvent=solvent, made_here=True
    )


def from_parameters(name: str, read: Parametrised, *, where: str) -> Molecule:
    """A molecule that brings its System.

    Args:
        name: what to call it.
        read: the molecule.
        where: name of the source in messages.

    Raises:
        ConfigError: solvent, several molecules, atoms of no element, or another molecule after minimising.
    """
    _check_size(read.topology, where)
    check_connected(read.topology, read.positions, where)
    modeller = app.Modeller(read.topology, read.positions * NANOMETER)
    left_out = {"models": 0, "alternate_locations": 0, "alternate_residues": [], "unresolved": []}
    completed = Completed(modeller, as_given(read.topology), [], [], left_out)
    solvent = read.solvent or solvent_of(read.system, "radii of the System")
    return _finished(
        name,
        completed,
        read.system,
        read.forcefield,
        where=where,
        solvent=solvent,
        ph=None,
    )


def _finished(
    name: str,
    completed: Completed,
    system: openmm.System,
    forcefield: Sequence[str],
    *,
    where: str,
    solvent: str,
    made_here: bool = False,
    ph: float | None = PH,
) -> Molecule:
    """Minimised and described.

    Args:
        name, completed, system, forcefield, where: as of `from_forcefield`.
        solvent, ph: as of `description.describe`.
        made_here: whether the System is of a force field of OpenMM: its solvent is replaced by the same one in
            native form, and D residues must have the energy of their mirror images.
    """
    topology = completed.modeller.topology
    built = np.array(completed.modeller.positions.value_in_unit(NANOMETER), float)
    original = openmm.XmlSerializer.clone(system)
    replaced = made_here and use_native_obc2(system)
    context = quiet_context(system)
    positions = minimise(context, built, where)
    check_kept(topology, built, positions, where)
    hands = handedness(topology, positions)
    if hands.right and made_here:
        check_mirror_images(lambda x: energy_of(context, x), positions, hands.right, where)
    if replaced:
        check_same_energy(original, system, positions)
    out = io.StringIO()
    app.PDBFile.writeFile(topology, positions * NANOMETER, out, keepIds=True)
    masses = [system.getParticleMass(i).value_in_unit(unit.dalton) for i in range(len(built))]
    return Molecule(
        name=name,
        system_xml=openmm.XmlSerializer.serialize(system),
        topology=_plain_topology(topology),
        positions=positions,
        built_positions=built,
        masses=np.array(masses),
        forcefield=tuple(forcefield),
        pdb=out.getvalue(),
        description=describe(completed, hands, system, forcefield, solvent=solvent, ph=ph),
    )


def _check_size(topology: app.Topology, where: str) -> None:
    n_atoms = topology.getNumAtoms()
    if n_atoms > MAX_ATOMS:
        raise ConfigError(
            f"{where}: {n_atoms} atoms; at most {MAX_ATOMS} are studied: give a smaller one"
        )


def _create_system(topology: app.Topology, loaded: app.ForceField, forcefield, where: str):
    files = " ".join(forcefield)
    try:
        return loaded.createSystem(
            topology,
            nonbondedMethod=app.NoCutoff,
            constraints=None,
            rigidWater=False,
            removeCMMotion=False,
        )
    except Exception as error:  # noqa: BLE001  force-field scripts raise anything
        # only now: residues that a patch completes, as those of CHARMM's ends, have no template of their own
        unmatched = loaded.getUnmatchedResidues(topology)
        if unmatched:
            names = ", ".join(label(residue) for residue in unmatched[:5])
            if topology.getNumResidues() == 1 and unmatched[0].name in ONE_LETTER:
                names += " (an amino acid by itself: give it caps, such as ACE-ALA-NME)"
            have = [
                f" ({name}: {' or '.join(FORCEFIELDS_WITH[name])})"
                for name in sorted({residue.name for residue in unmatched} & set(FORCEFIELDS_WITH))
            ]
            raise ConfigError(
                f"{where}: no template in {files} matches residue(s) {names}; check their atoms and "
                f"hydrogens, or choose a force field that has them{''.join(have)}{_ligand(unmatched)}"
            ) from error
        raise ConfigError(f"{where}: {files} cannot describe it: {one_line(error)}") from error


def _ligand(unmatched: Sequence) -> str:
    """Where the force field of a small molecule comes from."""
    if all(standard_name(r.name) in ONE_LETTER or r.name in KNOWN for r in unmatched):
        return ""
    return "; a small molecule needs GAFF (--prmtop and --inpcrd) or OpenFF (--system), see docs/molecules.md"


def _plain_topology(topology: app.Topology) -> Topology:
    atoms = list(topology.atoms())
    return Topology(
        elements=tuple(atom.element.symbol for atom in atoms),
        atom_names=tuple(atom.name for atom in atoms),
        residue_names=tuple(atom.residue.name for atom in atoms),
        residue_ids=tuple(atom.residue.index for atom in atoms),
        bonds=np.array([(a.index, b.index) for a, b in topology.bonds()], int).reshape(-1, 2),
        residue_numbers=tuple(
            f"{atom.residue.id}{atom.residue.insertionCode.strip()}" for atom in atoms
        ),
    )
