"""Systems whose configurations have a density of all coordinates, the same wherever the molecule is."""

import numpy as np
import openmm

from jbg.interfaces import ConfigError
from jbg.systems.forcefield.columns import plain
from jbg.systems.protonation import one_line

_UNMOVED = 1e-6  # relative change of an energy, or kJ/mol per atom where that is more, by rounding


def check_density(system: openmm.System, name: str) -> None:
    """Refuses a System whose configurations have no density of all coordinates.

    Raises:
        ConfigError: constraints, virtual sites, atoms without mass, a periodic box.
    """
    if n := system.getNumConstraints():
        raise ConfigError(
            f"{name}: the System constrains {n} distance(s), which then have no density, and often no bond energy "
            "either; create it with constraints=None, rigidWater=False (without SHAKE, LINCS, [ settles ])"
        )
    n = system.getNumParticles()
    sites = [i for i in range(n) if system.isVirtualSite(i)]
    light = [i for i in range(n) if not plain(system.getParticleMass(i)) > 0]
    if sites or light:
        what = "a virtual site" if sites else "without mass (fixed, or a Drude particle)"
        raise ConfigError(
            f"{name}: particle {(sites or light)[0] + 1} is {what}; only atoms that move are sampled, choose a "
            "force field without such particles"
        )
    if system.usesPeriodicBoundaryConditions():
        raise ConfigError(
            f"{name}: the System is periodic; create it with nonbondedMethod=NoCutoff, without barostat and "
            "solvent (one molecule in vacuum or implicit solvent)"
        )


def check_invariant(system: openmm.System, positions: np.ndarray, name: str) -> None:
    """Refuses energies that depend on where the molecule is or how it is turned.

    Args:
        system: without constraints and box.
        positions: ``(atoms, 3)``, nm.
        name: of the System in messages.

    Raises:
        ConfigError: they do, or OpenMM makes no Context.
    """
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.linalg.det(turn)
    platform = openmm.Platform.getPlatformByName("Reference")
    try:
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
        energies = []
        for places in (positions, positions @ turn.T + rng.normal(size=3)):
            context.setPositions(places)
            state = context.getState(getEnergy=True)
            energies.append(state.getPotentialEnergy()._value)
    except openmm.OpenMMException as error:
        raise ConfigError(f"{name}: OpenMM refuses the System: {one_line(error)}") from error
    here, moved = energies
    if np.isfinite(here) and abs(moved - here) > _UNMOVED * max(abs(here), len(positions)):
        raise ConfigError(
            f"{name}: the energy changes by {moved - here:+.3g} kJ/mol when the molecule moves and turns; remove "
            "external fields and position restraints from the System"
        )
