"""Configurations of a molecule in a file that other programs read."""

from pathlib import Path

import mdtraj
import numpy as np
from numpy.typing import ArrayLike

from jbg import storage
from jbg.interfaces import ConfigError

FORMATS = (".dcd", ".gro", ".pdb", ".trr", ".xtc")


def check_format(out: Path) -> None:
    """Raises ConfigError for a file name whose suffix is none of FORMATS."""
    if out.suffix not in FORMATS:
        raise ConfigError(f"{out}: unknown format {out.suffix!r}: choose {', '.join(FORMATS)}")


def save_trajectory(
    out: Path, frames: ArrayLike, pdb: Path, *, times: ArrayLike | None = None
) -> None:
    """Writes frames, superposed on the first by their heavy atoms; all or nothing.

    Args:
        out: file to write, its suffix one of FORMATS; folders between are made.
        frames: ``(n, atoms, 3)`` or ``(n, 3 * atoms)``, nm.
        pdb: PDB file of the molecule.
        times: ``(n,)`` ps, for formats that keep them.

    Raises:
        ConfigError: an unknown format, or a place that cannot be written to.
        RunError: disk full.
    """
    check_format(out)
    topology = mdtraj.load(str(pdb)).topology
    positions = np.array(frames, np.float32).reshape(-1, topology.n_atoms, 3)
    trajectory = mdtraj.Trajectory(positions, topology, time=times)
    heavy = topology.select("not element H")
    trajectory.superpose(trajectory, atom_indices=heavy if len(heavy) > 2 else None)
    partial = out.with_name(f"{out.stem}{storage.TEMPORARY_SUFFIX}{out.suffix}")
    with storage.disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            trajectory.save(str(partial))
            partial.replace(out)
        finally:
            partial.unlink(missing_ok=True)
