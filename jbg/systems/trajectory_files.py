"""Trajectories that users bring, in any format that mdtraj reads: their frames, atoms, cells and times."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import mdtraj
import numpy as np

from jbg.interfaces import ConfigError
from jbg.runs.silence import silent_stdout
from jbg.systems.protonation import one_line

CHUNK = 2000  # frames read at once
OWN_TOPOLOGY = (".pdb", ".pdb.gz", ".cif", ".gro", ".h5", ".hdf5", ".lh5")
TIMED = (".gro", ".h5", ".hdf5", ".nc", ".ncdf", ".trr", ".xtc")
PRECISIONS = (0.01, 0.001)  # nm, to which formats round
_ON_GRID = 0.03  # of the precision; float32 of a few nm


class Piece(NamedTuple):
    """Positions ``(n, atoms, 3)`` in nm, the rows of the periodic cell ``(n, 3, 3)`` where the file has one, and
    times ``(n,)`` in ps, NaN where it keeps none."""

    x: np.ndarray
    cell: np.ndarray | None
    times: np.ndarray


def topology_for(path: Path, given: Path | None) -> mdtraj.Topology | None:
    """The atoms of a trajectory: as its own file names them, else as ``given`` does; None where neither is there.

    Raises:
        ConfigError: unreadable, or missing.
    """
    source = path if path.name.endswith(OWN_TOPOLOGY) else given
    if source is None:
        return None
    _require(source)
    with _readable(source):
        return mdtraj.load_topology(str(source))


def count_frames(path: Path, topology: mdtraj.Topology) -> int:
    """The number of frames of a trajectory.

    Raises:
        ConfigError: missing, unreadable, or of another number of atoms than ``topology``.
    """
    _require(path)
    if not path.name.endswith(OWN_TOPOLOGY):
        unknown = contextlib.suppress(NotImplementedError, TypeError, AttributeError)
        with silent_stdout(), _readable(path), unknown, mdtraj.open(str(path)) as file:
            return len(file)
    return sum(len(piece.x) for piece in read(path, topology))


def read(path: Path, topology: mdtraj.Topology, atoms: np.ndarray | None = None) -> Iterator[Piece]:
    """The frames of a trajectory, piece by piece.

    Args:
        path: the file.
        topology: of all of its atoms.
        atoms: those that are wanted, in this order; None for all.

    Raises:
        ConfigError: missing, unreadable, or of another number of atoms than ``topology``.
    """
    _require(path)
    own = path.name.endswith(OWN_TOPOLOGY)
    with _readable(path, topology):
        top = {} if own else {"top": topology}
        pieces = iter(mdtraj.iterload(str(path), chunk=CHUNK, **top))
        while (loaded := _next(pieces)) is not None:
            x = np.asarray(loaded.xyz, np.float32)
            x = x if atoms is None else x[:, atoms]
            cell = loaded.unitcell_vectors
            cell = None if cell is None else np.asarray(cell, np.float64)
            if cell is not None and not np.all(np.linalg.det(cell)):  # an empty box is none
                cell = None
            times = np.asarray(loaded.time, np.float64)
            if path.suffix not in TIMED:
                times = np.full(len(x), np.nan)
            yield Piece(x, cell, times)


def _next(pieces: Iterator[mdtraj.Trajectory]) -> mdtraj.Trajectory | None:
    with silent_stdout():
        return next(pieces, None)


def precision_of(x: np.ndarray) -> float:
    """The step in nm that positions are rounded to, as xtc and gro files do; 0 where they are not."""
    x = np.asarray(x, np.float64)
    x = x[np.isfinite(x)]
    for step in PRECISIONS:
        if x.size and np.all(np.abs(x / step - np.round(x / step)) < _ON_GRID):
            return step
    return 0.0


def made_whole(
    x: np.ndarray, cell: np.ndarray | None, bonds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Positions in which every bond is to the nearest periodic image, and which frames were changed ``(n,)`` bool.

    Args:
        x: ``(n, atoms, 3)``, nm.
        cell: rows of the periodic cell ``(n, 3, 3)``; None for none.
        bonds: ``(m, 2)``; they connect all atoms.
    """
    changed = np.zeros(len(x), bool)
    if cell is None:
        return x, changed
    x, inverse = np.array(x), np.linalg.inv(cell)
    neighbours: dict[int, list[int]] = {}
    for i, j in np.asarray(bonds).tolist():
        neighbours.setdefault(i, []).append(j)
        neighbours.setdefault(j, []).append(i)
    seen, todo = {0}, [0]
    while todo:
        i = todo.pop()
        for j in neighbours.get(i, []):
            if j in seen:
                continue
            seen.add(j)
            todo.append(j)
            apart = np.nan_to_num(x[:, j] - x[:, i])  # broken frames stay as they are
            images = np.round(np.einsum("ni,nij->nj", apart, inverse))
            x[:, j] -= np.einsum("ni,nij->nj", images, cell)
            changed |= images.any(axis=1)
    return x, changed


def _require(path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"{path}: no such trajectory file")


@contextlib.contextmanager
def _readable(path: Path, topology: mdtraj.Topology | None = None) -> Iterator[None]:
    """Readers raise whatever the file provokes: one line of it."""
    try:
        yield
    except ConfigError:
        raise
    except (GeneratorExit, KeyboardInterrupt):
        raise
    except Exception as error:
        of = "" if topology is None else f" of {topology.n_atoms} atoms"
        hint = "" if topology is None else "; where it holds others, name them with --topology FILE"
        raise ConfigError(
            f"{path}: not readable as a trajectory{of}: {one_line(error)}{hint}"
        ) from error
