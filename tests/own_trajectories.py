"""Trajectories of alanine dipeptide as users bring them, written for tests from stored Langevin chains."""

import functools
from pathlib import Path

import mdtraj
import numpy as np

from jbg.systems.solute import mdtraj_topology
from tests.molecules import peptide

SEQUENCE = "ACE-ALA-NME"
STORED = Path(__file__).parent / "data" / "alanine_dipeptide_langevin.npz"


@functools.cache
def chains() -> np.ndarray:
    """Langevin chains at 300 K ``(12, 120, 22, 3)``, nm; those of odd number start at phi > 0."""
    x = 1e-4 * np.load(STORED)["x"].astype(np.float64)
    x.flags.writeable = False
    return x


def write(path: Path, x: np.ndarray, *, topology=None, cell=None) -> Path:
    """Frames ``(n, atoms, 3)`` as a trajectory, 2 ps apart; ``cell``: edges of a rectangular box in nm."""
    topology = mdtraj_topology(peptide(SEQUENCE).topology) if topology is None else topology
    frames = mdtraj.Trajectory(np.asarray(x, np.float32), topology, time=2.0 * np.arange(len(x)))
    if cell is not None:
        frames.unitcell_lengths = np.tile(cell, (len(x), 1))
        frames.unitcell_angles = np.full((len(x), 3), 90.0)
    frames.save(str(path))
    return path


def write_chains(folder: Path, n: int, suffix: str = ".xtc") -> list[Path]:
    """The first n chains, a file for each."""
    return [write(folder / f"chain-{i}{suffix}", x) for i, x in enumerate(chains()[:n])]


def rigid(x: np.ndarray) -> np.ndarray:
    """The same frames with every bond of a hydrogen at one length, as constraints hold it."""
    topology = peptide(SEQUENCE).topology
    x = np.array(x)
    for a, b in topology.bonds.tolist():
        heavy, light = (a, b) if topology.elements[b] == "H" else (b, a)
        if topology.elements[light] == "H":
            arm = x[:, light] - x[:, heavy]
            r = np.linalg.norm(arm, axis=-1, keepdims=True)
            x[:, light] = x[:, heavy] + arm / r * 0.1045
    return x
