"""Langevin dynamics by OpenMM's LangevinMiddleIntegrator: one fresh context for each chain and call."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import openmm

from jbg.systems.langevin_config import LangevinConfig
from jbg.systems.openmm_pool import default_platform, usable_cores
from jbg.units import K_B


class OpenMMChains(NamedTuple):
    """Frames of each chain; those after a failure ("Particle coordinate is NaN") are nan."""

    positions: np.ndarray  # (n_chains, n_frames, 3 * atoms) nm
    energies: np.ndarray  # (n_chains, n_frames) kJ/mol, of the frames
    temperatures: np.ndarray  # (n_chains, n_frames) K, kinetic, mid-step, at the frames
    velocities: np.ndarray  # (n_chains, 3 * atoms) nm/ps, at the last frame


def openmm_langevin(
    system_xml: str,
    start: np.ndarray,
    *,
    masses: np.ndarray,
    seeds: Sequence[int],
    temperature: float,
    config: LangevinConfig,
    velocities: np.ndarray | None = None,
) -> OpenMMChains:
    """Chains at constant temperature, one from each starting configuration.

    Up to 100 atoms one after the other on the Reference platform, whose random numbers the whole process shares;
    beyond on the CPU platform, a core for each. The same seeds give the same chains on any number of cores.

    Args:
        system_xml: a serialised ``openmm.System`` without constraints.
        start: ``(n_chains, 3 * atoms)`` nm.
        masses: of the atoms ``(atoms,)``, dalton, in place of the System's.
        seeds: of each chain, positive and below 2^31.
        temperature: K.
        config: numbers of steps, time step and friction.
        velocities: ``(n_chains, 3 * atoms)`` nm/ps, as returned; None draws them at the temperature.
    """
    system = openmm.XmlSerializer.deserialize(system_xml)
    n_atoms = system.getNumParticles()
    platform = default_platform(n_atoms)
    for i, mass in enumerate(masses.tolist()):
        system.setParticleMass(i, mass)
    heavy = masses[:, None]
    spread = np.sqrt(K_B * temperature / heavy)

    def chain(i: int) -> tuple[np.ndarray, ...]:
        integrator = openmm.LangevinMiddleIntegrator(
            temperature, config.friction, config.timestep_ps
        )
        integrator.setRandomNumberSeed(seeds[i])
        context = openmm.Context(
            system,
            integrator,
            openmm.Platform.getPlatformByName(platform),
            {"Threads": "1"} if platform == "CPU" else {},
        )
        context.setPositions(start[i].reshape(-1, 3))
        if velocities is None:
            normal = np.random.default_rng(seeds[i]).normal(size=(n_atoms, 3))
            context.setVelocities(spread * normal)
        else:
            context.setVelocities(velocities[i].reshape(-1, 3))
        x, v, energy = _frames(context, config)
        # this integrator's velocities are those of the middle of its steps
        with np.errstate(over="ignore"):
            heat = (heavy * v**2).mean((1, 2)) / K_B
        return x.reshape(len(x), -1), energy, heat, v[-1].ravel()

    with ThreadPoolExecutor(1 if platform == "Reference" else usable_cores()) as threads:
        return OpenMMChains(
            *map(np.stack, zip(*threads.map(chain, range(len(start))), strict=True))
        )


def _frames(
    context: openmm.Context, config: LangevinConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions and velocities ``(n_frames, atoms, 3)`` and energies of one chain; nan after a failure."""
    shape = (config.n_frames, context.getSystem().getNumParticles(), 3)
    x, v, energy = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape[0], np.nan)
    for frame in range(len(x)):
        try:
            context.getIntegrator().step(config.stride)
        except openmm.OpenMMException:
            break
        state = context.getState(positions=True, velocities=True, energy=True)
        state._getVectorAsNumpy(state.Positions, x[frame])
        state._getVectorAsNumpy(state.Velocities, v[frame])
        energy[frame] = state.getPotentialEnergy()._value
    return x, v, energy
