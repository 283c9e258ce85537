"""Frames of a molecule from a trajectory file, and their energies beside OpenMM's."""

from pathlib import Path
from typing import Any, Protocol

import mdtraj
import numpy as np

from jbg.interfaces import ConfigError, Topology
from jbg.runs.silence import silent_stdout
from jbg.systems.energies import Backend, Energies, timed
from jbg.systems.frame_bonds import check_bonds
from jbg.systems.molecule import Molecule
from jbg.systems.protonation import one_line


class Named(Protocol):
    """What frames are checked against: a `Molecule`, or one that a run keeps."""

    @property
    def name(self) -> str: ...

    @property
    def topology(self) -> Topology: ...


def evaluate(
    molecule: Molecule, frames: np.ndarray, *, backend: Backend = "jax", compare: bool = False
) -> tuple[dict[str, Any], Energies]:
    """Energies and forces of frames, and what to say of them.

    Args:
        molecule: whose frames they are.
        frames: ``(n, atoms, 3)`` nm.
        backend: as for `energies.energies`.
        compare: whether OpenMM computes them too.

    Returns:
        ``{"backend", "platform", "molecule", "n_frames", "energies_per_second"}`` (with forces), and ``"openmm"``
        with ``"compare"``: its platform and speed, and the largest differences in kJ/mol and kJ/mol/nm; and the
        energies.

    Raises:
        ConfigError: a force field that cannot be compiled, or OpenMM compared with itself.
    """
    if compare and backend == "openmm":
        raise ConfigError("--compare sets OpenMM beside --backend jax or callback: choose one")
    found = timed(molecule, frames, backend)
    said = {
        "backend": backend,
        "platform": found.platform,
        "molecule": molecule.description,
        "n_frames": len(frames),
        "energies_per_second": round(found.per_second, 1),
    }
    if compare:
        direct = timed(molecule, frames, "openmm")
        ours, theirs = found.energies, direct.energies
        said["openmm"] = {
            "platform": direct.platform,
            "energies_per_second": round(direct.per_second, 1),
            "largest_energy_difference": _largest(ours.energy, theirs.energy),
            "largest_force_difference": _largest(ours.forces, theirs.forces),
        }
    return said, found.energies


def _largest(a: Any, b: Any) -> float | None:
    """The largest difference where both are finite; None where nothing is."""
    apart = np.abs(a - b)
    known = apart[np.isfinite(apart)]
    return float(known.max()) if known.size else None


def rows(found: Energies) -> list[dict[str, float | None]]:
    """``{"energy": kJ/mol, "force_norm": kJ/mol/nm}`` of each frame; None where one is not finite."""
    norm = np.linalg.norm(np.asarray(found.forces).reshape(len(found.energy), -1), axis=1)
    pairs = zip(found.energy, norm, strict=True)
    return [{"energy": _finite(u), "force_norm": _finite(f)} for u, f in pairs]


def read_frames(path: Path, molecule: Named) -> np.ndarray:
    """Frames ``(n, atoms, 3)`` in nm, float64, of a trajectory of ``molecule``.

    Raises:
        ConfigError: missing or unreadable, other atoms, or coordinates that are not finite.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such trajectory file")
    n_atoms = molecule.topology.n_atoms
    try:
        with silent_stdout():
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


def _read(path: Path, molecule: Named) -> mdtraj.Trajectory:
    """Formats that know their atoms are read as they are, so that other atoms show."""
    if path.suffix in (".pdb", ".gro", ".h5"):
        return mdtraj.load(str(path))
    topology = mdtraj.Topology()
    residue = topology.add_residue(molecule.name, topology.add_chain())
    for name, symbol in zip(molecule.topology.atom_names, molecule.topology.elements, strict=True):
        topology.add_atom(name, mdtraj.element.Element.getBySymbol(symbol), residue)
    return mdtraj.load(str(path), top=topology)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
