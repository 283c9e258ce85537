"""A molecule without a run folder, for notebooks: frames by replica exchange, and a problem made of frames."""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from jbg.coords import build_zmatrix, coordinates_from_fit, fit_coordinates
from jbg.flows import SplineFlowConfig
from jbg.interfaces import ConfigError
from jbg.simulation.dispersed_starts import dispersed_starts
from jbg.simulation.replica_exchange import replica_exchange
from jbg.simulation.replica_exchange_config import heavy_hydrogen_masses, suggested_config
from jbg.simulation.torsion_rotation import rotatable_bonds
from jbg.studies.dataset import LEARN, Dataset
from jbg.studies.molecule.given_frames import check_energies, check_molecule, given_frames
from jbg.studies.molecule.options import ForceFieldOptions
from jbg.studies.molecule.plan import FLOW
from jbg.studies.molecule.problem import MIN_TRAIN, flow_of, system_of
from jbg.studies.molecule.reference import torsion_sides
from jbg.studies.molecule.source import exchange_dataset
from jbg.studies.molecule.states import backbone_bonds
from jbg.studies.molecule.stored import symmetric_rotors
from jbg.studies.molecule.weighted_rows import resampled
from jbg.studies.problem import Examples, Problem, to_v
from jbg.systems.forcefield import compiled_potential
from jbg.systems.forcefield.pool import CompiledPool
from jbg.systems.molecule import Molecule
from jbg.targets import make_target


def simulate(
    molecule: Molecule,
    *,
    temperature: float = ForceFieldOptions.temperature,
    seed: int = 0,
    n_ladders: int = 8,
    n_rounds: int = 1000,
    n_burn_in: int = 100,
) -> Dataset:
    """Frames of a molecule by replica exchange, from ladders that start on both sides of each torsion.

    Args:
        molecule: from `systems.molecule.molecule`.
        temperature: K.
        seed: of all random numbers.
        n_ladders: independent copies of the ladder of temperatures.
        n_rounds: frames of each ladder.
        n_burn_in: rounds left out first.

    Returns:
        Rows ``x (n_ladders * n_rounds, 3 * atoms)`` in nm with the ``chain`` and reduced energy ``u`` of each.

    Raises:
        ConfigError: settings that make no sense, or a force field that cannot be compiled.
    """
    check_molecule(molecule, temperature, "simulate")
    settings = suggested_config(
        molecule.topology.n_atoms,
        temperature=temperature,
        n_ladders=n_ladders,
        n_rounds=n_rounds,
        n_burn_in=n_burn_in,
    )
    bonds = rotatable_bonds(molecule.topology)
    if not bonds:
        settings = dataclasses.replace(settings, n_rotations=0)
    masses = heavy_hydrogen_masses(molecule.masses)
    with CompiledPool(molecule.system_xml, masses=masses) as pool:
        starts = dispersed_starts(
            pool.energies_and_forces,
            molecule.positions,
            tuple(torsion_sides(molecule.topology, bonds).values()),
            n_ladders=n_ladders,
            batch=n_ladders * len(settings.temperatures),
        )
        state = replica_exchange(pool, settings, starts.positions, seed=seed, rotatable=bonds)
    role = np.full(n_ladders, LEARN)
    spent = settings.energy_evaluations + int(starts.evaluations)
    return exchange_dataset(state, role, temperature, spent)


def molecular_problem(
    molecule: Molecule,
    frames: Dataset | ArrayLike,
    *,
    temperature: float = ForceFieldOptions.temperature,
    flow: SplineFlowConfig | None = None,
    batch: int = 2000,
) -> Problem:
    """Target, coordinates and flow of a molecule, from simulated frames that cover its states.

    Args:
        molecule: from `systems.molecule.molecule`.
        frames: of `simulate` or `trajectory_data`, weighted ones resampled; or ``(n, atoms, 3)`` or ``(n, 3 *
            atoms)`` in nm, atoms in the molecule's order.
        temperature: K.
        flow: sizes of the flow.
        batch: configurations drawn at once.

    Raises:
        ConfigError: frames of another molecule or temperature, not in nm, not finite, or too few in the
            coordinates' domain.
    """
    check_molecule(molecule, temperature, "molecular_problem")
    chain = frames.chain if isinstance(frames, Dataset) else None
    x = np.asarray(frames.x if isinstance(frames, Dataset) else frames)
    x, n_atoms = given_frames(molecule, x), molecule.topology.n_atoms
    topology, bonds = molecule.topology, rotatable_bonds(molecule.topology)
    zmatrix = build_zmatrix(topology, molecule.positions)
    fit = fit_coordinates(
        zmatrix,
        x,
        rotors=symmetric_rotors(molecule, zmatrix),
        ladder=chain,
        soft_bonds=backbone_bonds(topology, bonds),
    )
    coords = coordinates_from_fit(topology, fit)
    inside = coords.in_domain(x)
    if inside.sum() < MIN_TRAIN:
        raise ConfigError(
            f"molecular_problem: only {inside.sum()} of {len(x)} frames lie in the coordinates' domain, need "
            f"{MIN_TRAIN}: simulate longer"
        )
    rows = np.flatnonzero(inside)
    if isinstance(frames, Dataset) and frames.weighted:
        rows = rows[resampled(frames.weight[rows], len(rows), seed=0)]
    v, log_det = to_v(coords.bijector, x[rows].reshape(-1, 3 * n_atoms))
    system = system_of(molecule, compiled_potential(molecule.system_xml))
    target = make_target(system, temperature)
    few = np.flatnonzero(inside)[:: max(1, int(inside.sum()) // 4096)]
    u = target.reduced_energy(x[few].reshape(-1, 3 * n_atoms).T.astype(np.float32))
    known = None
    if isinstance(frames, Dataset):
        check_energies(frames.u[few], np.asarray(u), temperature)
        known = frames.u[rows] + log_det if np.isfinite(frames.u[rows]).all() else None
    return Problem(
        system=system,
        target=target,
        flow=flow_of(coords, flow or FLOW),
        coords=coords.bijector,
        examples=Examples(train=v, heldout=v[:0], u=known),
        u_reference=float(np.median(u)),
        batch=batch,
    )
