"""The two rotamer states of a disulfide bridge, and a structure in the other one."""

from pathlib import Path

import numpy as np
import openmm
import scipy.sparse
from openmm import unit
from scipy.sparse.csgraph import connected_components

import jbg
from jbg.coords.zmatrix import disulfides
from jbg.interfaces import ConfigError, State, Topology
from jbg.runs.trajectory import save_trajectory
from jbg.studies.molecule.states import flat_torsion
from jbg.systems.molecule import Molecule, minimised

NAMES = ("minus", "plus")
PULL = 400.0  # kJ/mol, of the restraint that turns a bridge: thirteen times its barrier
PS, STEP_FS, KELVIN = 20.0, 0.5, 300.0


def bridge_quad(topology: Topology, residues: tuple[int, int] | None = None) -> np.ndarray:
    """CB, SG, SG, CB of a disulfide ``(4,)``.

    Args:
        topology: with the bond.
        residues: numbers from 1 of the two cysteines; None where there is one bridge.

    Raises:
        ConfigError: no such bridge, or several and none named.
    """
    bonds = sorted(tuple(sorted(bond)) for bond in disulfides(topology))
    at = lambda i: topology.residue_ids[i] + 1
    known = ", ".join(f"{at(i)}-{at(j)}" for i, j in bonds) or "none"
    if residues is not None:
        bonds = [bond for bond in bonds if {at(i) for i in bond} == set(residues)]
    if len(bonds) != 1:
        asked = "--bridge" if residues is None else f"{residues[0]}-{residues[1]}"
        raise ConfigError(f"expected one disulfide by {asked}, the molecule has {known}")
    first, second = bonds[0]
    carbon = {
        topology.residue_ids[i]: i for i, name in enumerate(topology.atom_names) if name == "CB"
    }
    ends = [carbon[topology.residue_ids[s]] for s in (first, second)]
    return np.array([ends[0], first, second, ends[1]], int)


def closes_ring(topology: Topology, quad: np.ndarray) -> bool:
    """Whether the atoms of a bridge are connected without it."""
    bond = set(map(int, quad[1:3]))
    left = np.array([pair for pair in topology.bonds.tolist() if set(pair) != bond]).T
    n = topology.n_atoms
    graph = scipy.sparse.coo_array((np.ones(left.shape[1]), tuple(left)), shape=(n, n))
    _, part = connected_components(graph, directed=False)
    return bool(part[quad[1]] == part[quad[2]])


def bridge_states(quad: np.ndarray) -> tuple[State, State]:
    """The bridge torsion below 0, and the others."""
    return (
        State(
            name=NAMES[0],
            contains=lambda x: flat_torsion(x, quad) < 0,
            definition="CB-SG-SG-CB in (-180, 0) degrees",
        ),
        State(
            name=NAMES[1],
            contains=lambda x: flat_torsion(x, quad) >= 0,
            definition="CB-SG-SG-CB in [0, 180) degrees",
        ),
    )


def turned(molecule: Molecule, quad: np.ndarray, state: State) -> np.ndarray:
    """Positions ``(atoms, 3)`` in nm with the bridge in a state, minimised.

    Dynamics with a restraint that pulls the bridge to -90 or 90 degrees, then none. Other atoms follow as they
    can; a structure to start from, not one of a known population.

    Args:
        molecule: with the bridge.
        quad: from `bridge_quad`.
        state: where to.

    Raises:
        ConfigError: the bridge does not stay there.
    """
    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    restraint = openmm.CustomTorsionForce("k * (1 - cos(theta - theta0))")
    restraint.addGlobalParameter("k", PULL)
    restraint.addGlobalParameter("theta0", -np.pi / 2 if state.name == NAMES[0] else np.pi / 2)
    restraint.addTorsion(*map(int, quad), [])
    system.addForce(restraint)
    integrator = openmm.LangevinMiddleIntegrator(KELVIN, 5.0, STEP_FS / 1000)
    integrator.setRandomNumberSeed(1)
    platform = openmm.Platform.getPlatformByName("CPU")
    context = openmm.Context(system, integrator, platform, {"Threads": "1"})
    context.setPositions(molecule.positions.reshape(-1, 3))
    context.setVelocitiesToTemperature(KELVIN, 1)
    integrator.step(round(1000 * PS / STEP_FS))
    context.setParameter("k", 0.0)
    integrator.step(round(1000 * PS / STEP_FS))
    found = context.getState(getPositions=True).getPositions(asNumpy=True)
    x = minimised(molecule.system_xml, found.value_in_unit(unit.nanometer), "the turned bridge")
    if not bool(np.all(state.contains(x.reshape(-1, 1)))):
        raise ConfigError(f"the bridge does not stay in {state.definition}: give a structure of it")
    return x


def write_frames(path: Path, molecule: Molecule, x: np.ndarray) -> None:
    """A trajectory or PDB file of frames ``(n, 3 atoms)`` of the molecule."""
    given = path.with_name("given.pdb")
    given.write_text(molecule.pdb)
    save_trajectory(path, x, given)


def structures(
    pdb: Path, other: Path | None, residues: tuple[int, int] | None, out: Path
) -> tuple[list[Path], list[Molecule], tuple[State, State]]:
    """Files, molecules and states, minus first; the other structure is made by turning the bridge.

    Args:
        pdb: a structure.
        other: the same molecule in the other state; None to make it.
        residues: of the bridge, from 1; None where there is one.
        out: where a structure is written that was made.

    Raises:
        ConfigError: no such bridge, other molecules, or both structures in one state.
    """
    given = jbg.molecule(pdb=pdb)
    quad = bridge_quad(given.topology, residues)
    states = bridge_states(quad)
    side = lambda molecule: int(bool(np.all(states[1].contains(molecule.positions.reshape(-1, 1)))))
    here = side(given)
    if other is None:
        other = out / f"{NAMES[1 - here]}.pdb"
        if not other.exists():
            write_frames(other, given, turned(given, quad, states[1 - here]).reshape(1, -1))
    second = jbg.molecule(pdb=other)
    if second.system_xml != given.system_xml or side(second) == here:
        raise ConfigError(
            f"{other}: another molecule than in {pdb}, or its bridge is in state {NAMES[here]} too"
        )
    pairs = sorted([(here, pdb, given), (1 - here, other, second)], key=lambda pair: pair[0])
    return [path for _, path, _ in pairs], [molecule for _, _, molecule in pairs], states
