"""The nearest minimum of a molecule's energy, by OpenMM, the same every time."""

import numpy as np
import openmm
from openmm import unit

from jbg.interfaces import ConfigError
from jbg.systems.topology_files import NANOMETER

# kJ/mol up to 500 atoms, in proportion beyond: native solvent against replaced
_NATIVE_TOLERANCE = 1e-3
_REFERENCE_UP_TO = 150  # atoms; beyond this the CPU platform minimises faster than Reference


def quiet_context(system: openmm.System) -> openmm.Context:
    """A context whose results repeat: one thread only."""
    integrator = openmm.VerletIntegrator(0.001)
    if system.getNumParticles() <= _REFERENCE_UP_TO:
        return openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    cpu = openmm.Platform.getPlatformByName("CPU")
    return openmm.Context(system, integrator, cpu, {"Threads": "1"})


def energy_of(context: openmm.Context, positions: np.ndarray) -> float:
    """kJ/mol of ``(atoms, 3)`` nm."""
    context.setPositions(positions)
    energy = context.getState(getEnergy=True).getPotentialEnergy()
    return energy.value_in_unit(unit.kilojoule_per_mole)


def minimise(context: openmm.Context, positions: np.ndarray, where: str) -> np.ndarray:
    """Positions ``(atoms, 3)`` in nm at the nearest minimum of the energy.

    Raises:
        ConfigError: no finite energy even there; ``where`` says what was minimised.
    """
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
    return minimise(quiet_context(openmm.XmlSerializer.deserialize(system_xml)), positions, where)


def check_same_energy(
    original: openmm.System, native: openmm.System, positions: np.ndarray
) -> None:
    """Raises RuntimeError where the solvent in native form has another energy."""
    reference = openmm.Platform.getPlatformByName("Reference")
    energies = [
        energy_of(openmm.Context(system, openmm.VerletIntegrator(0.001), reference), positions)
        for system in (original, native)
    ]
    tolerance = _NATIVE_TOLERANCE * max(1.0, len(positions) / 500)
    if not abs(energies[0] - energies[1]) < tolerance:
        raise RuntimeError(
            f"native OBC2 gives {energies[1]} kJ/mol where OpenMM's gives {energies[0]}"
        )
