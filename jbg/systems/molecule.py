"""A molecule, ready to simulate, from a PDB file or from its sequence, by OpenMM's force fields.

The System it holds is the one the Boltzmann density is defined by: no constraints, no cutoff, no
centre-of-mass motion remover, so every atom has a density in Cartesian space.
"""

import dataclasses
import io
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import app, unit

from jbg.interfaces import ConfigError, System, Topology
from jbg.systems.description import describe
from jbg.systems.handedness import check_kept, check_mirror_images, handedness
from jbg.systems.implicit_solvent import use_native_obc2
from jbg.systems.pdb_input import NANOMETER, Completed, complete, load_forcefield, read_pdb_text
from jbg.systems.peptide import parse_sequence, peptide_pdb
from jbg.systems.protonation import label, one_line
from jbg.systems.residue_definitions import FORCEFIELDS_WITH
from jbg.systems.residue_names import ONE_LETTER

logger = logging.getLogger(__name__)

FORCEFIELD = ("amber14-all.xml", "implicit/obc2.xml")
# kJ/mol up to 500 atoms, in proportion beyond: native solvent against replaced
_NATIVE_TOLERANCE = 1e-3
# of a sequence: the extended chain of more takes minutes to minimise, without a word
MAX_RESIDUES = 100
MAX_ATOMS = 5000  # likewise
_REFERENCE_UP_TO = 150  # atoms; beyond this the CPU platform minimises faster than Reference


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


def molecule(
    pdb: str | Path | None = None,
    *,
    sequence: str | None = None,
    forcefield: Sequence[str] = FORCEFIELD,
) -> Molecule:
    """The molecule of a PDB file, or of a sequence such as "ACE-ALA-NME", energy-minimised.

    Args:
        pdb: one molecule; missing hydrogens are added.
        sequence: a peptide in place of a file.
        forcefield: OpenMM force field files.

    Raises:
        ConfigError: not exactly one of the two, or whatever `molecule_from_pdb` and `molecule_from_sequence`
        refuse.
    """
    if (pdb is None) == (sequence is None):
        raise ConfigError('molecule: give either a PDB file or sequence="ACE-ALA-NME"')
    if sequence is not None:
        return molecule_from_sequence(sequence, forcefield=forcefield)
    return molecule_from_pdb(Path(pdb or ""), forcefield=forcefield)


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
    return _build(Path(path).stem, completed, loaded, forcefield, where=str(path))


def molecule_from_sequence(
    sequence: str, *, forcefield: Sequence[str] = FORCEFIELD, name: str | None = None
) -> Molecule:
    """The extended peptide of "ACE-ALA-NME" or "GYDPETGTWG" (lower-case letters are D), minimised; needs no file.

    Without caps the ends are NH3+ and COO-. At most MAX_RESIDUES.

    Raises:
        ConfigError: an unknown residue, a misplaced cap, or a force field that lacks something.
    """
    where = f"sequence {sequence if len(sequence) <= 60 else sequence[:57] + '...'}"
    loaded, names = load_forcefield(forcefield), parse_sequence(sequence)
    if len(names) > MAX_RESIDUES:
        raise ConfigError(
            f"{where}: {len(names)} residues; at most {MAX_RESIDUES} are built from a sequence, as an extended "
            "chain; give a folded structure with --pdb"
        )
    return _build(
        name or sequence, complete(peptide_pdb(names), where), loaded, forcefield, where=where
    )


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


def _build(name, completed: Completed, loaded, forcefield, *, where: str) -> Molecule:
    modeller = completed.modeller
    n_atoms = modeller.topology.getNumAtoms()
    if n_atoms > MAX_ATOMS:
        raise ConfigError(
            f"{where}: {n_atoms} atoms; at most {MAX_ATOMS} are studied: give a smaller one"
        )
    system = _create_system(modeller.topology, loaded, forcefield, where)
    built = np.array(modeller.positions.value_in_unit(NANOMETER), float)
    original = openmm.XmlSerializer.clone(system)
    replaced = use_native_obc2(system)
    context = _context(system)
    positions = _minimise(context, built, where)
    check_kept(modeller.topology, built, positions, where)
    hands = handedness(modeller.topology, positions)
    if hands.right:
        energy = lambda x: _energy(context, x)
        check_mirror_images(energy, positions, hands.right, where)
    if replaced:
        _check_same_energy(original, system, positions)
    out = io.StringIO()
    app.PDBFile.writeFile(modeller.topology, positions * NANOMETER, out, keepIds=True)
    return Molecule(
        name=name,
        system_xml=openmm.XmlSerializer.serialize(system),
        topology=_plain_topology(modeller.topology),
        positions=positions,
        built_positions=built,
        masses=np.array(
            [system.getParticleMass(i).value_in_unit(unit.dalton) for i in range(len(built))]
        ),
        forcefield=tuple(forcefield),
        pdb=out.getvalue(),
        description=describe(completed, hands, system, forcefield),
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
                f"hydrogens, or choose a force field that has them{''.join(have)}"
            ) from error
        raise ConfigError(f"{where}: {files} cannot describe it: {one_line(error)}") from error


def _context(system: openmm.System) -> openmm.Context:
    """A context whose results repeat: one thread only."""
    integrator = openmm.VerletIntegrator(0.001)
    if system.getNumParticles() <= _REFERENCE_UP_TO:
        return openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    cpu = openmm.Platform.getPlatformByName("CPU")
    return openmm.Context(system, integrator, cpu, {"Threads": "1"})


def _energy(context: openmm.Context, positions: np.ndarray) -> float:
    context.setPositions(positions)
    energy = context.getState(getEnergy=True).getPotentialEnergy()
    return energy.value_in_unit(unit.kilojoule_per_mole)


def _minimise(context: openmm.Context, positions: np.ndarray, where: str) -> np.ndarray:
    context.setPositions(positions)
    openmm.LocalEnergyMinimizer.minimize(context, 1, 1000)
    state = context.getState(getEnergy=True, getPositions=True)
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    if not np.isfinite(energy):
        raise ConfigError(
            f"{where}: the energy is not finite even after minimising; atoms may coincide"
        )
    return np.array(state.getPositions(asNumpy=True).value_in_unit(NANOMETER), float)


def minimised(system_xml: str, positions: np.ndarray, where: str) -> np.ndarray:
    """Positions ``(atoms, 3)`` in nm at the nearest minimum of the energy.

    Raises:
        ConfigError: no finite energy even there; ``where`` says what was minimised.
    """
    return _minimise(_context(openmm.XmlSerializer.deserialize(system_xml)), positions, where)


def _check_same_energy(
    original: openmm.System, native: openmm.System, positions: np.ndarray
) -> None:
    reference = openmm.Platform.getPlatformByName("Reference")
    energies = [
        _energy(openmm.Context(system, openmm.VerletIntegrator(0.001), reference), positions)
        for system in (original, native)
    ]
    tolerance = _NATIVE_TOLERANCE * max(1.0, len(positions) / 500)
    if not abs(energies[0] - energies[1]) < tolerance:
        raise RuntimeError(
            f"native OBC2 gives {energies[1]} kJ/mol where OpenMM's gives {energies[0]}"
        )


def _plain_topology(topology: app.Topology) -> Topology:
    atoms = list(topology.atoms())
    return Topology(
        elements=tuple(atom.element.symbol for atom in atoms),
        atom_names=tuple(atom.name for atom in atoms),
        residue_names=tuple(atom.residue.name for atom in atoms),
        residue_ids=tuple(atom.residue.index for atom in atoms),
        bonds=np.array([(a.index, b.index) for a, b in topology.bonds()], int).reshape(-1, 2),
    )
