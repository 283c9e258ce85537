"""Checks of what a notebook passes as a molecule, its temperature and its frames; each error is one line."""

import math
from typing import Any

import numpy as np

from jbg.interfaces import ConfigError, System
from jbg.systems.frame_bonds import check_bonds
from jbg.systems.molecule import Molecule

LONGEST_BOND = 0.5  # nm; the median over a molecule is 0.1 to 0.15
N_LOOKED_AT = 100  # frames whose bonds are measured
SAME_ENERGY = 0.002  # relative difference of energies that rounding does not explain


def check_molecule(molecule: Any, temperature: float, what: str) -> None:
    """Checks the molecule and the temperature of a function for notebooks.

    Raises:
        ConfigError: something other than a molecule, or a temperature that is not a positive number.
    """
    if not hasattr(molecule, "system_xml"):
        got = type(molecule).__name__
        if isinstance(molecule, System):
            got = f"the System {molecule.name}"
        hint = "use jbg.metropolis for systems in kT" if what == "simulate" else "build one with it"
        raise ConfigError(f"{what}: expected a molecule from jbg.molecule, got {got}: {hint}")
    if not (math.isfinite(temperature) and temperature > 0):
        raise ConfigError(
            f"{what}: temperature must be a number > 0 in K, got {temperature}; try 300"
        )


def given_frames(molecule: Molecule, x: np.ndarray) -> np.ndarray:
    """Frames as ``(n, atoms, 3)``, in nm as bond lengths show.

    Raises:
        ConfigError: of another size, or the median bond is longer than any bond.
    """
    n_atoms, bonds = molecule.topology.n_atoms, np.asarray(molecule.topology.bonds)
    if x.ndim < 2 or x[:1].size != 3 * n_atoms:
        raise ConfigError(
            f"molecular_problem: expected frames (n, {n_atoms}, 3) or (n, {3 * n_atoms}), got {x.shape}"
        )
    x = x.reshape(len(x), n_atoms, 3)
    if not (len(bonds) and len(x)):
        return x
    few = x[:N_LOOKED_AT]
    bond = float(np.median(np.linalg.norm(few[:, bonds[:, 0]] - few[:, bonds[:, 1]], axis=-1)))
    if bond > LONGEST_BOND:
        raise ConfigError(
            f"molecular_problem: expected frames in nm with bonds of 0.1 to 0.15, got a median of {bond:.3g}: "
            "they look like angstrom, divide by 10"
        )
    check_bonds(molecule.topology, x, "molecular_problem")
    return x


def check_energies(given: np.ndarray, found: np.ndarray, temperature: float) -> None:
    """Checks that the reduced energies stored with frames are those at the temperature of the problem.

    Args:
        given: stored reduced energies ``(n,)``, NaN where they were not kept.
        found: the same frames' reduced energies at ``temperature``.
        temperature: K.

    Raises:
        ConfigError: they disagree; says the likely temperature where one factor explains it.
    """
    known = np.isfinite(given) & np.isfinite(found)
    given, found = np.asarray(given, float)[known], np.asarray(found, float)[known]
    size = np.linalg.norm(found)
    if np.linalg.norm(given - found) <= SAME_ENERGY * size:
        return
    factor = float(given @ found) / float(size**2) if size else math.nan
    if factor > 0 and np.linalg.norm(given - factor * found) <= SAME_ENERGY * factor * size:
        likely = temperature / factor
        raise ConfigError(
            f"molecular_problem: frames are of another temperature: their energies are {factor:.4g} times those "
            f"at {temperature:g} K: pass temperature={likely:.0f} or simulate at {temperature:g} K"
        )
    raise ConfigError(
        "molecular_problem: the energies stored with the frames are not those of this molecule and force field: "
        "simulate again"
    )
