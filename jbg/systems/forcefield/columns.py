"""What readers of forces share: parameters as columns, terms of atoms, and errors that name a force."""

from collections.abc import Callable
from typing import Any

import numpy as np
import openmm

from jbg.interfaces import ConfigError

WAY_OUT = "use the OpenMM callback (`openmm_potential`, --energies openmm)"


def plain(value: Any) -> Any:
    """A number of OpenMM without its unit, in OpenMM's own units."""
    return getattr(value, "_value", value)


def terms_of(kind: Callable, rows: list, n_atoms: int) -> list:
    """``kind(atoms, parameters...)`` of the rows, none if there are none."""
    if not rows:
        return []
    columns = np.array([[plain(v) for v in row] for row in rows], float).T
    return [kind(columns[:n_atoms].T.astype(np.int32), *columns[n_atoms:])]


def by_atom(force, n: int) -> np.ndarray:
    """Parameters as columns.

    Raises:
        ConfigError: a force that does not know all particles.
    """
    if force.getNumParticles() != n:
        raise ConfigError(
            f"{named(force)} has parameters of {force.getNumParticles()} particles, the System has {n}"
        )
    rows = [force.getParticleParameters(i) for i in range(n)]
    return np.array([[plain(v) for v in row] for row in rows], float).T


def lennard_jones(sigma, epsilon) -> tuple:
    """Coefficients of r^-12 and -r^-6."""
    return 4 * epsilon * sigma**12, 4 * epsilon * sigma**6


def named(force: openmm.Force) -> str:
    """A force by its class, and its name where it has another."""
    kind, name = type(force).__name__, force.getName()
    return kind if name == kind else f"{kind} {name!r}"


def unknown(force: openmm.Force, what: str) -> str:
    """The error about a part of a force that cannot be compiled."""
    return f"{named(force)} cannot be compiled: unknown {what!r}: {WAY_OUT}"
