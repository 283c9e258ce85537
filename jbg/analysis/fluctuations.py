"""How much each residue moves, and how far generated structures lie from known ones.

Host code, float64: frames ``(n, atoms, 3)`` in nm, chosen atoms only (the CA atoms of each residue for the RMSF of
Kim et al. 2023, Fig. 3a).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jbg.analysis.leave_one_out import chain_labels, jackknife_error
from jbg.analysis.superposition import rmsd_matrix, superposed
from jbg.interfaces import ConfigError

ROUNDS = 50  # of superposition on the mean structure, at most
SETTLED = 1e-6  # nm that the mean structure may move by in the last round


class Fluctuations(NamedTuple):
    """RMSF of each atom with its standard error ``(atoms,)``, and the mean structure ``(atoms, 3)``, nm."""

    rmsf: np.ndarray
    stderr: np.ndarray
    mean: np.ndarray


class Novelty(NamedTuple):
    """RMSD to the closest training frame, nm; standard errors behind each number.

    ``median`` is that of the generated frames, ``heldout_median`` of frames of other chains, the floor. ``closer``
    and ``farther`` are the shares of the generated frames below the 2.5 % and above the 97.5 % quantile of the
    held-out ones, 2.5 % each for a perfect model: closer ones are copies of the training data, farther ones new
    structures or wrong ones.
    """

    median: float
    median_stderr: float
    heldout_median: float
    heldout_median_stderr: float
    closer: float
    closer_stderr: float
    farther: float
    farther_stderr: float


def rmsf(frames: ArrayLike, *, chain: ArrayLike | None = None) -> Fluctuations:
    """sqrt(E|x_a - E x_a|^2) of each atom a, after optimal superposition of all frames on their mean structure.

    The mean and the superposition are repeated until the mean stays (within 1e-6 nm), from the first frame on.
    Errors are the jackknife's over ``chain`` labels ``(n,)``, or for None over twenty blocks of independent
    frames, all of them superposed as in the end.

    Raises:
        ConfigError: not frames ``(n, atoms, 3)``.
    """
    x = np.asarray(frames, np.float64)
    if x.ndim != 3 or x.shape[2] != 3 or not len(x):
        raise ConfigError(f"rmsf: expected frames (n, atoms, 3), got {x.shape}")
    mean = x[0] - x[0].mean(0)
    for _ in range(ROUNDS):
        x = superposed(x, mean)
        before, mean = mean, x.mean(0)
        if np.abs(mean - before).max() < SETTLED:
            break
    label = chain_labels(chain, len(x))
    off = x - mean
    counts = np.bincount(label)
    shape = (len(counts), *off.shape[1:])
    sums, squares = np.zeros(shape), np.zeros(shape[:2])
    np.add.at(sums, label, off)
    np.add.at(squares, label, np.sum(off**2, axis=2))

    def of(keep: np.ndarray) -> np.ndarray:
        n = counts[keep].sum()
        shift = np.sum(sums[keep].sum(0) ** 2, axis=-1) / n**2
        return np.sqrt(np.maximum(squares[keep].sum(0) / n - shift, 0.0))

    error = jackknife_error(of, np.arange(len(counts)))
    return Fluctuations(of(np.ones(len(counts), bool)), error, mean)


def nearest_rmsd(frames: ArrayLike, training: ArrayLike) -> np.ndarray:
    """RMSD ``(n,)`` of frames ``(n, atoms, 3)`` from the closest training frame of ``(m, atoms, 3)`` each, nm."""
    frames, training = np.asarray(frames), np.asarray(training)
    found = [rmsd_matrix(frames[i : i + 64], training).min(1) for i in range(0, len(frames), 64)]
    return np.concatenate(found)


def novelty(
    generated: ArrayLike,
    training: ArrayLike,
    heldout: ArrayLike,
    *,
    heldout_chain: ArrayLike | None = None,
) -> Novelty:
    """How near generated frames come to the training data, beside how near frames of other chains come.

    Args:
        generated: ``(n, atoms, 3)``, nm; independent.
        training: ``(m, atoms, 3)``.
        heldout: ``(k, atoms, 3)``, of chains that training did not see.
        heldout_chain: label of the chain of each of these ``(k,)``; None for independent frames.
    """
    near, floor = nearest_rmsd(generated, training), nearest_rmsd(heldout, training)
    blocks, label = chain_labels(None, len(near)), chain_labels(heldout_chain, len(floor))

    def shares(near: np.ndarray, floor: np.ndarray) -> np.ndarray:
        low, high = np.quantile(floor, (0.025, 0.975))
        return np.array([np.median(near), np.mean(near < low), np.mean(near > high)])

    # both samples err: that of the generated frames, and the limits that the held-out ones set
    error = np.hypot(
        jackknife_error(lambda keep: shares(near[keep], floor), blocks),
        jackknife_error(lambda keep: shares(near, floor[keep]), label),
    )
    known = jackknife_error(lambda keep: np.median(floor[keep]), label)
    median, closer, farther = shares(near, floor)
    return Novelty(
        median=float(median),
        median_stderr=float(error[0]),
        heldout_median=float(np.median(floor)),
        heldout_median_stderr=float(known),
        closer=float(closer),
        closer_stderr=float(error[1]),
        farther=float(farther),
        farther_stderr=float(error[2]),
    )
