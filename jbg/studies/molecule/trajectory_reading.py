"""Frames of a molecule from the trajectories of a user, checked one by one; nothing here knows a run folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import mdtraj
import numpy as np

from jbg.interfaces import ConfigError
from jbg.studies.molecule.frame_faults import find_faults, in_words
from jbg.studies.molecule.stored import Built
from jbg.systems.frame_bonds import check_bonds
from jbg.systems.frame_weights import log_weights
from jbg.systems.solute import find_solute, mdtraj_topology
from jbg.systems.trajectory_files import count_frames, made_whole, precision_of, read, topology_for


class GivenFrames(NamedTuple):
    """Frames ``x (n, atoms, 3)`` in nm without those that are broken, the ``file (n,)`` and number ``frame (n,)``
    of each, ``log_w (n,)`` of biased ones (None: unbiased), the ``precision`` in nm that positions are rounded to
    (0: to none), what was done in ``words``, and the number ``left_out`` of frames that were broken."""

    x: np.ndarray
    file: np.ndarray
    frame: np.ndarray
    log_w: np.ndarray | None
    precision: float
    words: tuple[str, ...]
    left_out: int


def lengths_of(molecule: Built, files: Sequence[Path], topology: Path | None) -> tuple[int, ...]:
    """The number of frames of each file.

    Raises:
        ConfigError: missing or unreadable, or without the molecule among its atoms.
    """
    found = []
    for path in files:
        atoms = _atoms(molecule, path, topology)
        find_solute(atoms, molecule.topology, str(path))
        found.append(count_frames(path, atoms))
        if (
            not found[-1] or next(read(path, atoms), None) is None
        ):  # which sees how many atoms there are
            raise ConfigError(f"{path}: the trajectory holds no frames; leave it out")
    return tuple(found)


def read_frames(
    molecule: Built,
    files: Sequence[Path],
    *,
    topology: Path | None = None,
    weights: Sequence[Path] = (),
    temperature: float,
    stride: int = 1,
) -> GivenFrames:
    """The frames of all files that are the molecule's.

    Args:
        molecule: whose frames they are.
        files: one for each chain.
        topology: of the atoms in the files, where they hold more than the molecule and do not say so themselves.
        weights: of biased frames (`systems.frame_weights`).
        temperature: of the simulation, K.
        stride: every so many frames are used.

    Raises:
        ConfigError: files that are missing or unreadable, of another molecule, or all of whose frames are broken.
    """
    parts, whens, words, precisions = [], [], [], []
    for path in files:
        x, times, precision, said = _read_one(molecule, path, topology)
        parts.append(x)
        whens.append(times)
        precisions.append(precision)
        words += [f"{path.name}: {line}" if len(files) > 1 else line for line in said]
    lengths = [len(x) for x in parts]
    log_w = log_weights(weights, lengths, whens, temperature) if weights else None
    every = [np.arange(0, n, stride) for n in lengths]
    x = np.concatenate([part[rows] for part, rows in zip(parts, every, strict=True)])
    file = np.repeat(np.arange(len(files)), [len(rows) for rows in every])
    frame = np.concatenate(every).astype(int)
    if log_w is not None:
        first = np.cumsum([0, *lengths]).astype(int)
        log_w = log_w[frame + first[file]]
    if stride > 1:
        words.append(f"one in {stride} of {sum(lengths)} frames is used")
    faults = find_faults(molecule.topology, molecule.positions, x)
    lines = in_words(faults, file, frame, [path.name for path in files])
    good = faults == ""
    if not good.any():
        raise ConfigError(
            f"{files[0]}: no frame is usable: {'; '.join(lines)}; give a trajectory of this molecule, whole, with "
            "its handedness"
        )
    words += [f"left out {line}" for line in lines]
    return GivenFrames(
        x=x[good],
        file=file[good],
        frame=frame[good],
        log_w=None if log_w is None else log_w[good],
        precision=max(precisions),
        words=tuple(words),
        left_out=int(np.sum(~good)),
    )


def _atoms(molecule: Built, path: Path, topology: Path | None) -> mdtraj.Topology:
    return topology_for(path, topology) or mdtraj_topology(molecule.topology)


def _read_one(
    molecule: Built, path: Path, topology: Path | None
) -> tuple[np.ndarray, np.ndarray, float, list[str]]:
    """Positions, times, precision, and what was done."""
    atoms = _atoms(molecule, path, topology)
    solute = find_solute(atoms, molecule.topology, str(path))
    parts, times, changed, precision = [], [], 0, None
    for piece in read(path, atoms, solute.atoms):
        if precision is None:
            precision = precision_of(piece.x)
        x, split = made_whole(piece.x, piece.cell, molecule.topology.bonds)
        changed += int(split.sum())
        # near the origin float32 is finer
        parts.append((x - x.mean(axis=1, keepdims=True)).astype(np.float32))
        times.append(piece.times)
    x = np.concatenate(parts)
    check_bonds(molecule.topology, x[np.isfinite(x).all(axis=(1, 2))], str(path))
    words = [solute.words] if solute.words else []
    if changed:
        words.append(f"the molecule made whole across the periodic cell in {changed} frames")
    return x, np.concatenate(times), precision or 0.0, words
