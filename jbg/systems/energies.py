"""Energies and forces of any configurations of a molecule, in batches: compiled to JAX, or by OpenMM."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jbg.interfaces import ConfigError
from jbg.systems.forcefield import compiled_potential
from jbg.systems.molecule import Molecule
from jbg.systems.openmm_callback import openmm_potential
from jbg.systems.openmm_pool import ContextPool

CHUNK = 1000  # frames in one batch
Backend = Literal["jax", "callback", "openmm"]
Call = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class Energies(NamedTuple):
    """Energies ``(n,)`` in kJ/mol and forces -dU/dx ``(n, atoms, 3)`` in kJ/mol/nm, float64; forces are None where
    they were not asked for. Not finite where atoms lie on top of each other."""

    energy: np.ndarray
    forces: np.ndarray | None


class Timed(NamedTuple):
    """Energies with forces, where they were computed, and how many of both a second; what was compiled or opened
    first is not counted."""

    energies: Energies
    platform: str
    per_second: float


def energies(
    molecule: Molecule, x: Any, *, forces: bool = False, backend: Backend = "jax"
) -> Energies:
    """Potential energies of configurations of a molecule, as they are: nothing is minimised.

    ``jbg.energies(jbg.molecule("mine.pdb"), mdtraj.load("mine.xtc", top="mine.pdb"), forces=True)``

    Args:
        molecule: from `jbg.molecule`.
        x: ``(n, atoms, 3)`` or ``(n, 3 * atoms)`` in nm, or an mdtraj trajectory; atoms in the molecule's order.
        forces: whether forces are wanted too.
        backend: "jax" compiles the force field, in float64; "callback" asks OpenMM from inside JAX; "openmm" asks
            it directly.

    Raises:
        ConfigError: configurations of another shape, or a force field that cannot be compiled.
    """
    frames = _frames(molecule, x)
    with _caller(molecule, backend) as (_, call):
        found = _computed(call, frames)
    return found if forces else found._replace(forces=None)


def timed(molecule: Molecule, frames: np.ndarray, backend: Backend) -> Timed:
    """Energies and forces of frames ``(n, atoms, 3)``, and the speed."""
    with _caller(molecule, backend) as (platform, call):
        call(_chunks(frames)[0])
        began = time.perf_counter()
        found = _computed(call, frames)
        seconds = time.perf_counter() - began
    return Timed(found, platform, len(frames) / seconds)


def _frames(molecule: Molecule, x: Any) -> np.ndarray:
    n_atoms = molecule.topology.n_atoms
    found = np.asarray(getattr(x, "xyz", x), np.float64)
    if found.shape[1:] not in ((n_atoms, 3), (3 * n_atoms,)) or not len(found):
        raise ConfigError(
            f"energies: expected configurations (n, {n_atoms}, 3) or (n, {3 * n_atoms}) of {molecule.name} in nm, "
            f"got {found.shape}"
        )
    return found.reshape(-1, n_atoms, 3)


@contextlib.contextmanager
def _caller(molecule: Molecule, backend: str) -> Iterator[tuple[str, Call]]:
    """The platform, and frames ``(n, atoms, 3)`` -> energies ``(n,)`` and forces ``(n, ...)``.

    Raises:
        ConfigError: no such backend.
    """
    if backend not in get_args(Backend):
        raise ConfigError(
            f"energies: backend must be {', '.join(get_args(Backend))}, got {backend!r}"
        )
    if backend == "jax":
        yield jax.default_backend(), _of(compiled_potential(molecule.system_xml))
        return
    with ContextPool(molecule.system_xml) as pool:
        direct = backend == "openmm"
        yield pool.platform, pool.energies_and_forces if direct else _of(openmm_potential(pool))


def _chunks(frames: np.ndarray) -> list[np.ndarray]:
    """Pieces of one size, the last one filled up: one program serves all."""
    size = min(CHUNK, len(frames))
    pieces = [frames[i : i + size] for i in range(0, len(frames), size)]
    pieces[-1] = np.resize(pieces[-1], (size, *frames.shape[1:]))
    return pieces


def _computed(call: Call, frames: np.ndarray) -> Energies:
    energy, force = zip(*map(call, _chunks(frames)), strict=True)
    n = len(frames)
    return Energies(np.concatenate(energy)[:n], np.concatenate(force)[:n].reshape(frames.shape))


def _of(potential: Callable) -> Call:
    """Energies ``(n,)`` and forces ``(n, dim)`` of frames ``(n, atoms, 3)`` by a JAX potential, in float64."""

    @jax.jit
    def both(x):
        energy, pull_back = jax.vjp(potential, x)
        (gradient,) = pull_back(jnp.ones_like(energy))
        return energy, -gradient

    def energies_and_forces(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with jax.enable_x64(True):  # noqa: FBT003
            energy, force = both(jnp.asarray(frames.reshape(len(frames), -1).T))
            return np.asarray(energy), np.asarray(force).T

    return energies_and_forces
