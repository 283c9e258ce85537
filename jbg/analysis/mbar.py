"""Free energies from biased windows by MBAR (pymbar): weights of the samples, as a whole and of each replica.

Bias energies suffice: the unbiased energy is common to all windows and cancels. Frames of a chain
are correlated and never counted as independent: values come from all samples pooled, errors from
the scatter of the same estimate over independent replicas, each solved for itself. Neighbouring
windows that do not overlap are refused by name.

Reference: Shirts & Chodera 2008, doi:10.1063/1.2978177; least overlap: Klimovich, Shirts & Mobley
2015, doi:10.1007/s10822-015-9840-9.
"""

import contextlib
import logging
import math
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike

from jbg.interfaces import ConfigError, RunError

MIN_OVERLAP = 0.03
TOLERANCE = 1e-8


class MbarWeights(NamedTuple):
    """Unbiased weights of samples from W windows and R replicas, n from each of both.

    The arrays are ``(n, W, R)``: ln w for all samples pooled, normalised to sum 1, and for each replica
    by itself, normalised over it. ``free_energies`` ``(W,)`` are those of the windows against the
    unbiased ensemble, in kT at tau; ``overlap`` ``(W, W)`` is the share of the samples of row i that
    belongs to window j.
    """

    log_w: np.ndarray
    log_w_by_replica: np.ndarray
    free_energies: np.ndarray
    overlap: np.ndarray


def umbrella_weights(
    values: ArrayLike, centres: ArrayLike, force_constant: float, *, tau: float
) -> MbarWeights:
    """Weights that turn the samples of harmonic windows into those of exp(-u/tau).

    Args:
        values: of the collective variable r, ``(n, W, R)``.
        centres: r_i of the windows, ``(W,)``.
        force_constant: k of the bias k/2 (r - r_i)^2, kT at the reference temperature.
        tau: relative temperature; the bias enters as bias / tau.

    Raises:
        ConfigError: fewer than two windows or replicas, values that do not fit the centres or are not finite,
            force_constant or tau not > 0.
        RunError: windows that do not overlap, or MBAR does not converge.
    """
    values, centres = np.asarray(values, np.float64), np.asarray(centres, np.float64)
    _check_samples(values, centres)
    if not all(math.isfinite(c) and c > 0 for c in (force_constant, tau)):
        raise ConfigError(
            f"mbar: force_constant and tau must be > 0, got {force_constant} and {tau}"
        )
    n, n_windows, n_replicas = values.shape
    pooled = values.transpose(1, 2, 0).reshape(n_windows, -1)  # by window, then replica

    everything = (centres, force_constant, tau)
    free_energies, log_w, share = solve_windows(pooled, *everything)
    overlap = share @ share.T / pooled.shape[1]
    _check_overlap(overlap, centres)
    by_replica = [
        solve_windows(values[:, :, r].T, *everything, guess=free_energies)[1]
        for r in range(n_replicas)
    ]
    return MbarWeights(
        log_w=log_w.reshape(n_windows, n_replicas, n).transpose(2, 0, 1),
        log_w_by_replica=np.stack([w.reshape(n_windows, n).T for w in by_replica], axis=-1),
        free_energies=free_energies,
        overlap=overlap,
    )


def _check_samples(values: np.ndarray, centres: np.ndarray) -> None:
    if values.ndim != 3 or values.shape[1] != len(centres) or len(values) == 0:
        raise ConfigError(
            f"mbar: values must be (n, {len(centres)}, n_replicas), got {values.shape}"
        )
    if len(centres) < 2:
        raise ConfigError("mbar: one window has nothing to overlap with; give two or more")
    if values.shape[2] < 2:
        raise ConfigError("mbar: one replica gives no error; run two or more")
    if not (np.isfinite(values).all() and np.isfinite(centres).all()):
        raise ConfigError("mbar: a value or centre is not finite; leave such samples out")


def solve_windows(
    values: np.ndarray,
    centres: np.ndarray,
    force_constant: float,
    tau: float,
    *,
    guess: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Free energies ``(W,)``, normalised ln w ``(W n,)`` and the shares of the windows ``(W, W n)``.

    w = 1 / sum_k N_k exp(f_k - b_k), Shirts & Chodera, Eq. 13.

    Args:
        values: of the collective variable, ``(W, n)``, n samples of each window.
        centres, force_constant, tau: as for `umbrella_weights`.
        guess: free energies ``(W,)`` that the iteration starts from; None: by BAR between neighbours.

    Raises:
        RunError: MBAR does not converge.
    """
    n_each = values.shape[1]
    reduced = 0.5 * force_constant / tau * (values.ravel() - centres[:, None]) ** 2
    counts = np.full(len(centres), n_each)
    with _pymbar() as pymbar:
        if guess is None:
            guess = _chained(pymbar, reduced, n_each)
        solver = ({"method": "adaptive", "options": {"min_sc_iter": 0, "tol": TOLERANCE}},)
        found = pymbar.MBAR(reduced, counts, initial_f_k=guess - guess[0], solver_protocol=solver)
        free_energies = np.asarray(found.f_k, np.float64)
    log_w, share = _log_weights(reduced, free_energies, n_each)
    # the equations that MBAR solves: each window's shares add up to its samples
    if not np.abs(share.sum(axis=1) / n_each - 1).max() < 1e-4:
        raise RunError(
            "mbar: did not converge; sample longer, or place more windows where they overlap least"
        )
    log_total = float(np.logaddexp.reduce(log_w))
    return free_energies + log_total, log_w - log_total, share


def _log_weights(
    reduced: np.ndarray, free_energies: np.ndarray, n_each: int
) -> tuple[np.ndarray, np.ndarray]:
    """ln w ``(n,)`` from reduced biases ``(W, n)``, and the share of each sample in each window."""
    share = free_energies[:, None] - reduced
    top = share.max(axis=0)
    np.exp(share - top, out=share)
    total = share.sum(axis=0)
    share /= total
    return -(top + np.log(total)) - math.log(n_each), share


def umbrella_log_weights(
    weights: MbarWeights,
    values: ArrayLike,
    centres: ArrayLike,
    force_constant: float,
    *,
    tau: float,
) -> np.ndarray:
    """ln w of further samples of the same windows, such as kept frames; up to a constant.

    Args:
        weights: of the samples that the free energies of the windows were computed from.
        values: of the collective variable for the further samples, as many of each window; any shape, which ln w
            has too.
        centres, force_constant, tau: as for `umbrella_weights`.
    """
    values, centres = np.asarray(values, np.float64), np.asarray(centres, np.float64)
    reduced = 0.5 * force_constant / tau * (values.ravel() - centres[:, None]) ** 2
    return _log_weights(reduced, weights.free_energies, 1)[0].reshape(values.shape)


def _chained(pymbar, reduced: np.ndarray, n_each: int) -> np.ndarray:
    """Free energies by BAR from neighbour to neighbour: the start of the iteration."""
    n_windows = len(reduced)
    by_window = reduced.reshape(n_windows, n_windows, n_each)
    steps = [
        pymbar.bar(
            by_window[i + 1, i] - by_window[i, i],
            by_window[i, i + 1] - by_window[i + 1, i + 1],
            compute_uncertainty=False,
        )["Delta_f"]
        for i in range(n_windows - 1)
    ]
    return np.concatenate([[0.0], np.cumsum(steps)])


def _check_overlap(overlap: np.ndarray, centres: np.ndarray) -> None:
    """Each cut between neighbours must be bridged by some pair of windows; the worst is named."""
    bridges = [overlap[: i + 1, i + 1 :].max() for i in range(len(centres) - 1)]
    i = int(np.argmin(bridges))
    if not bridges[i] >= MIN_OVERLAP:
        raise RunError(
            f"mbar: windows {i} and {i + 1} at {centres[i]:.4g} and {centres[i + 1]:.4g} overlap"
            f" by {bridges[i]:.2g}, need {MIN_OVERLAP}; add windows between them or lower"
            " force_constant"
        )


@contextlib.contextmanager
def _pymbar() -> Iterator:
    """pymbar in 64 bits, silent.

    Left to itself it prints a banner and switches the whole process to 64 bits; where a context has
    done so already, for this thread and as long as it lasts, it does neither.
    """
    logger = logging.getLogger("pymbar")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with (
            jax.enable_x64(True),  # noqa: FBT003
            jax.numpy_rank_promotion("allow"),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            import pymbar

            yield pymbar
    finally:
        logger.setLevel(level)
