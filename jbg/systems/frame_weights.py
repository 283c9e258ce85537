"""Weights of the frames of a biased simulation: an array, or the bias in a table such as PLUMED writes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jbg.interfaces import ConfigError
from jbg.units import beta

_SAME_TIME = 1e-3  # ps


def log_weights(
    files: Sequence[Path], lengths: Sequence[int], times: Sequence[np.ndarray], temperature: float
) -> np.ndarray:
    """ln w of all frames ``(n,)``, up to a constant.

    Args:
        files: one for each trajectory, or one for all of them, one after the other. ``.npy``: weights ``(n,)``;
            any other: a table with the columns named in a line ``#! FIELDS``, of which the sum of all biases
            ``NAME.rbias``, or ``NAME.bias`` of a name without it, is V in kJ/mol, and w = exp(V/kT).
        lengths: frames of each trajectory.
        times: of the frames of each, ps: rows of a table with more rows are found by their ``time``.
        temperature: of the simulation, K.

    Raises:
        ConfigError: missing, not readable, another number of weights than of frames, or weights that are negative,
            not finite or all zero.
    """
    if len(files) not in (1, len(lengths)):
        raise ConfigError(
            f"weights: {len(files)} files for {len(lengths)} trajectories: give one for each, or one for all"
        )
    if len(files) == 1:
        lengths, times = [sum(lengths)], [np.concatenate(list(times))]
    parts = [
        _of_file(path, n, when, temperature)
        for path, n, when in zip(files, lengths, times, strict=True)
    ]
    return np.concatenate(parts)


def _of_file(path: Path, n: int, times: np.ndarray, temperature: float) -> np.ndarray:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file of weights")
    if path.suffix == ".npy":
        return _of_array(path, n)
    columns = _table(path)
    # metadynamics' own bias less its offset, beside the biases of walls and restraints
    labels = dict.fromkeys(n.rpartition(".")[0] for n in columns if n.endswith((".rbias", ".bias")))
    names = [f"{a}.rbias" if f"{a}.rbias" in columns else f"{a}.bias" for a in labels]
    if not names:
        raise ConfigError(
            f"{path}: no column of a bias (such as metad.bias) among {', '.join(columns)}; give a .npy file of "
            "weights"
        )
    rows = _rows(path, columns, n, times)
    bias = np.sum([columns[name] for name in names], axis=0)[rows]
    if not np.isfinite(bias).all():
        raise ConfigError(f"{path}: the bias is not finite in {np.sum(~np.isfinite(bias))} rows")
    return beta(temperature) * bias


def _of_array(path: Path, n: int) -> np.ndarray:
    try:
        weights = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not readable as an array of weights") from error
    if weights.shape != (n,):
        raise ConfigError(f"{path}: weights of shape {weights.shape}, expected ({n},), one a frame")
    weights = weights.astype(np.float64)
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise ConfigError(f"{path}: weights must be finite, not negative and not all zero")
    with np.errstate(divide="ignore"):
        return np.log(weights)


def _table(path: Path) -> dict[str, np.ndarray]:
    names: list[str] = []
    rows = []
    try:
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:2] == ["#!", "FIELDS"]:
                names = words[2:]
            elif words and not words[0].startswith("#"):
                rows.append([float(word) for word in words])
        values = np.array(rows, float)
    except ValueError as error:
        raise ConfigError(f"{path}: not readable as a table of numbers") from error
    if not names or values.ndim != 2 or values.shape[1] != len(names):
        raise ConfigError(
            f"{path}: expected a line '#! FIELDS time ... metad.bias' and as many columns of numbers"
        )
    return dict(zip(names, values.T, strict=True))


def _rows(path: Path, columns: dict[str, np.ndarray], n: int, times: np.ndarray) -> np.ndarray:
    """Which row is which frame's: in turn where there are as many, else by time."""
    n_rows = len(next(iter(columns.values())))
    if n_rows == n:
        return np.arange(n)
    hint = "write both with the same stride, or give a .npy file of weights"
    if "time" not in columns:
        raise ConfigError(f"{path}: {n_rows} rows for {n} frames, and no column 'time': {hint}")
    # of the rows at one time, as a restart leaves them, the last
    known, last = np.unique(columns["time"][::-1], return_index=True)
    # trajectories keep times in single precision
    apart = _SAME_TIME + np.finfo(np.float32).eps * np.abs(times)
    place = np.clip(np.searchsorted(known, times - apart), 0, len(known) - 1)
    found = np.abs(known[place] - times) <= apart
    if not found.all() or len(np.unique(place)) < n:
        raise ConfigError(
            f"{path}: {n_rows} rows for {n} frames, and {np.sum(~found)} frames at times that have no row: {hint}"
        )
    return n_rows - 1 - last[place]
