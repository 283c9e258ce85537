"""Energies and forces of a molecule's configurations, by OpenMM directly or as JAX calls it."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import mdtraj
import numpy as np

from jbg.interfaces import ConfigError, Topology
from jbg.systems.forcefield import compiled_potential
from jbg.systems.frame_bonds import check_bonds
from jbg.systems.given_molecule import GivenMolecule
from jbg.systems.molecule import molecule_of
from jbg.systems.openmm_callback import openmm_potential
from jbg.systems.openmm_pool import ContextPool
from jbg.systems.protonation import one_line

CHUNK = 1000  # frames in memory at once


class Named(Protocol):
    """What frames are checked against: a `Molecule`, or one that a run keeps."""

    @property
    def name(self) -> str: ...

    @property
    def topology(self) -> Topology: ...


def evaluate(
    given: GivenMolecule,
    *,
    trajectory: str | Path | None = None,
    backend: str = "openmm",
) -> dict[str, Any]:
    """Potential energy and norm of the force of each frame, at the coordinates as they are given.

    Args:
        given: one molecule; missing hydrogens are added, nothing is minimised.
        trajectory: frames with the same atoms in the same order, hydrogens included; by default
            the one frame that the molecule comes with.
        backend: "openmm" asks a Context in float64; "callback" asks it through JAX; "jax" compiles the System
            (`forcefield.compiled_potential`), in float64 too.

    Returns:
        ``{"backend", "platform", "molecule", "frames": [{"energy": kJ/mol, "force_norm": kJ/mol/nm}, ...]}``;
        None where a number is not finite (atoms on top of each other).

    Raises:
        ConfigError: whatever is wrong with the files.
    """
    molecule = molecule_of(given)
    frames = molecule.built_positions[None]
    if trajectory is not None:
        frames = read_frames(Path(trajectory), molecule)
    with contextlib.ExitStack() as stack:
        if backend == "jax":
            platform, call = jax.default_backend(), _of(compiled_potential(molecule.system_xml))
        else:
            pool = stack.enter_context(ContextPool(molecule.system_xml))
            platform, call = pool.platform, pool.energies_and_forces
            if backend == "callback":
                call = _of(openmm_potential(pool))
        parts = [call(frames[i : i + CHUNK]) for i in range(0, len(frames), CHUNK)]
    energy = np.concatenate([part[0] for part in parts])
    norm = np.concatenate(
        [np.linalg.norm(part[1].reshape(len(part[1]), -1), axis=1) for part in parts]
    )
    return {
        "backend": backend,
        "platform": platform,
        "molecule": molecule.description,
        "frames": [
            {"energy": _finite(u), "force_norm": _finite(f)}
            for u, f in zip(energy, norm, strict=True)
        ],
    }


def read_frames(path: Path, molecule: Named) -> np.ndarray:
    """Frames ``(n, atoms, 3)`` in nm, float64, of a trajectory of ``molecule``.

    Raises:
        ConfigError: missing or unreadable, other atoms, or coordinates that are not finite.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such trajectory file")
    n_atoms = molecule.topology.n_atoms
    try:
        with _quiet():
            loaded = _read(path, molecule)
    except Exception as error:  # noqa: BLE001  readers raise whatever the file provokes
        raise ConfigError(
            f"{path}: not readable as a trajectory of {molecule.name} ({n_atoms} atoms): "
            f"{one_line(error)}"
        ) from error
    frames = np.asarray(loaded.xyz, np.float64)
    if len(frames) == 0:
        raise ConfigError(f"{path}: the trajectory holds no frames")
    if frames.shape[1] != n_atoms:
        raise ConfigError(
            f"{path}: frames of {frames.shape[1]} atoms, but {molecule.name} has {n_atoms} with "
            "hydrogens: give a trajectory of the same molecule"
        )
    if loaded.topology is None:
        raise ConfigError(f"{path}: the trajectory does not say what its atoms are")
    pairs = zip(loaded.topology.atoms, molecule.topology.elements, strict=True)
    other = [(a, symbol) for a, symbol in pairs if a.element and a.element.symbol != symbol]
    if other:
        atom, symbol = other[0]
        raise ConfigError(
            f"{path}: atom {atom.index} is {atom.name} ({atom.element.symbol}), but {symbol} in "
            f"{molecule.name}: give the atoms in the order of the completed molecule"
        )
    bad = np.flatnonzero(~np.isfinite(frames).all(axis=(1, 2)))
    if bad.size:
        raise ConfigError(
            f"{path}: coordinates are not finite in {bad.size} frame(s), the first is {bad[0]}: "
            "remove them"
        )
    check_bonds(molecule.topology, frames, str(path))
    return frames


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without standard output of libraries in C: mdtraj's reader of dcd files prints there."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _read(path: Path, molecule: Named) -> mdtraj.Trajectory:
    """Formats that know their atoms are read as they are, so that other atoms show."""
    if path.suffix in (".pdb", ".gro", ".h5"):
        return mdtraj.load(str(path))
    topology = mdtraj.Topology()
    residue = topology.add_residue(molecule.name, topology.add_chain())
    for name, symbol in zip(molecule.topology.atom_names, molecule.topology.elements, strict=True):
        topology.add_atom(name, mdtraj.element.Element.getBySymbol(symbol), residue)
    return mdtraj.load(str(path), top=topology)


def _of(potential: Callable) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Energies ``(n,)`` and forces ``(n, dim)`` of frames ``(n, atoms, 3)`` by a JAX potential, in float64."""
    compiled = jax.jit(potential)

    def energies_and_forces(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with jax.enable_x64(True):  # noqa: FBT003
            x = jnp.asarray(frames.reshape(len(frames), -1).T)
            energy, pull_back = jax.vjp(compiled, x)
            (gradient,) = pull_back(jnp.ones_like(energy))
            return np.asarray(energy), -np.asarray(gradient).T

    return energies_and_forces


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
