"""Configurations of a molecule in a file that other programs read."""

import contextlib
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import mdtraj
import numpy as np
from mdtraj.utils import in_units_of

from jbg.interfaces import ConfigError
from jbg.runs import storage
from jbg.runs.extras import optional

FORMATS = (".dcd", ".gro", ".h5", ".nc", ".pdb", ".trr", ".xtc")
STREAMED = (".dcd", ".nc", ".trr", ".xtc")  # in bounded memory
ROUNDED = {".xtc": 1e-3, ".gro": 1e-3, ".pdb": 1e-4}  # nm
CHUNK = 1000  # frames
_SMALLER = {".xtc": 4.0}  # than 4 bytes a coordinate


def check_format(out: Path) -> None:
    """Raises ConfigError for a file name whose suffix is none of FORMATS, or whose package is not installed."""
    if out.suffix not in FORMATS:
        raise ConfigError(f"{out}: unknown format {out.suffix!r}: choose {', '.join(FORMATS)}")
    if out.suffix == ".h5":
        optional("tables", f"{out}: HDF5")


def rounding(out: Path) -> str:
    """A sentence about the digits that a format drops; empty for one that drops none."""
    nm = ROUNDED.get(out.suffix)
    if nm is None:
        return ""
    return (
        f"{out.suffix} rounds positions to {nm:g} nm, and energies of its frames differ from those of the run: "
        "choose .dcd, .nc or .h5 to keep them"
    )


def save_trajectory(
    out: Path, frames: np.ndarray, pdb: Path, *, times: np.ndarray | None = None
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
    heavy = topology.select("not element H")

    def part(start: int, stop: int) -> mdtraj.Trajectory:
        positions = np.array(frames[start:stop], np.float32).reshape(-1, topology.n_atoms, 3)
        time = None if times is None else times[start:stop]
        return mdtraj.Trajectory(positions, topology, time=time)

    first = part(0, 1)

    def superposed(start: int, stop: int) -> mdtraj.Trajectory:
        return part(start, stop).superpose(first, atom_indices=heavy if len(heavy) > 2 else None)

    storage.require_space(
        out.parent,
        4.0 * len(frames) * 3 * topology.n_atoms / _SMALLER.get(out.suffix, 1),
        "write fewer frames",
    )
    with storage.disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = storage.temporary(out)
        try:
            with _plain_name(partial) as file, warnings.catch_warnings():
                # SciPy writes them too, more slowly
                warnings.filterwarnings("ignore", ".*'netCDF4' Python package is not installed")
                if out.suffix in STREAMED:
                    _stream(file, len(frames), superposed)
                else:
                    superposed(0, len(frames)).save(str(file))
            partial.replace(out)
        finally:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _plain_name(path: Path) -> Iterator[Path]:
    """``path``, or where mdtraj cannot spell its name, a file elsewhere that is moved there in the end."""
    if str(path).isascii():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        elsewhere = Path(folder) / f"trajectory{path.suffix}"
        yield elsewhere
        shutil.move(elsewhere, path)


def _stream(out: Path, n: int, superposed: Callable[[int, int], mdtraj.Trajectory]) -> None:
    with mdtraj.open(str(out), "w") as file:
        for start in range(0, n, CHUNK):
            chunk = superposed(start, min(start + CHUNK, n))
            times = {"time": chunk.time} if out.suffix != ".dcd" else {}
            file.write(in_units_of(chunk.xyz, "nanometers", file.distance_unit), **times)
