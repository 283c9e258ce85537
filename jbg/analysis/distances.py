"""How well generated frames keep the distances of backbone atoms: the distortion of Kim et al., beside its floor.

Kim et al. 2023 (NeurIPS), Eq. 3, prints the mean |D_ij(x_q) - D_ij(x_p)| over all pairs of a generated and a
simulated frame. For a perfect model that is not 0 but the spread of the simulation itself, and the values of
Table 1 look too small for it: they may compare mean distances. Here are both, and what the model adds to the
first:

    printed    mean_ij E|D_q - D_p|, independent frames
    excess     printed - mean_ij (E|D_q - D_q'| + E|D_p - D_p'|) / 2, over different frames
    of means   mean_ij |E D_q - E D_p|

The excess is half the energy distance of Szekely & Rizzo 2013 (doi:10.1016/j.jspi.2013.03.018), averaged over
distances, without bias: 0 in the mean where their distributions are equal, and only there. Host code, float64:
frames ``(n, atoms, 3)`` and distances in nm.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jbg.analysis.leave_one_out import halves_of_chains
from jbg.interfaces import ConfigError

CHUNK = 2**21  # distances that are sorted at once


class Distortion(NamedTuple):
    """Mean over batches and standard deviation between them (NaN of a single one), nm; see the module's text."""

    printed: float
    printed_std: float
    excess: float
    excess_std: float
    of_means: float
    of_means_std: float
    n_batches: int
    batch: int  # frames of each side


def frame_distances(frames: ArrayLike, atoms: ArrayLike) -> np.ndarray:
    """Distances of all pairs of ``atoms (m,)`` in frames ``(n, atoms, 3)``: ``(n, m (m - 1) / 2)`` float64.

    The upper triangle row by row, in the unit of the frames.
    """
    x = np.asarray(frames)[:, np.asarray(atoms, int)]
    first, second = np.triu_indices(x.shape[1], 1)
    found = np.empty((len(x), len(first)))
    size = max(1, CHUNK // max(1, len(first)))
    for start in range(0, len(x), size):
        part = x[start : start + size].astype(np.float64)
        found[start : start + size] = np.linalg.norm(part[:, first] - part[:, second], axis=-1)
    return found


def distance_distortion(
    generated: ArrayLike,
    data: ArrayLike,
    atoms: ArrayLike,
    *,
    batch: int = 1000,
    seed: int = 0,
) -> Distortion:
    """Distortion of generated frames against simulated ones, in disjoint batches of both as in Kim et al.

    Both are shuffled. There are as many batches as fit into the smaller set; where it holds less than one, a
    single one of its size. `distortion_floor` gives what data show against data.

    Args:
        generated: ``(n, atoms, 3)``, nm.
        data: ``(m, atoms, 3)``, nm.
        atoms: numbers of the backbone atoms.
        batch: frames of each side.
        seed: of the shuffling.

    Raises:
        ConfigError: fewer than two frames of either kind, or two atoms.
    """
    generated, data = np.asarray(generated), np.asarray(data)
    if min(len(generated), len(data), batch, np.size(atoms)) < 2:
        raise ConfigError(
            "distance_distortion: expected two frames of both kinds and two atoms or more, got "
            f"{len(generated)} and {len(data)} frames, {np.size(atoms)} atoms"
        )
    rng = np.random.default_rng(seed)
    batch = min(batch, len(generated), len(data))
    n = min(len(generated), len(data)) // batch
    orders = (rng.permutation(len(x))[: n * batch].reshape(n, batch) for x in (generated, data))
    found = np.array(
        [
            _distortion(frame_distances(generated[a], atoms), frame_distances(data[b], atoms))
            for a, b in zip(*orders, strict=True)
        ]
    )
    return _over_batches(found, n, batch)


def distortion_floor(
    data: ArrayLike,
    atoms: ArrayLike,
    chain: ArrayLike,
    *,
    batch: int = 1000,
    repeats: int = 5,
    seed: int = 0,
) -> Distortion:
    """The distortion that simulated frames of some chains show against those of the others.

    Chains are halved at random ``repeats`` times, and batches of the halves compared. Each half knows its means
    less well than all chains together do: where the chains differ by more than the noise of a batch, a perfect
    model compared with all of them has half the ``of_means`` and a quarter of the ``excess`` given here.

    Args:
        data: ``(n, atoms, 3)``, nm.
        atoms: numbers of the backbone atoms.
        chain: label of each frame's chain ``(n,)``.
        batch: frames of each side, as for the generated ones.
        repeats: splits, over which means and standard deviations are taken.
        seed: of the splits.

    Raises:
        ConfigError: fewer than two chains.
    """
    data = np.asarray(data)
    halves = halves_of_chains(chain, len(data), repeats, seed)
    found = [
        distance_distortion(data[a], data[b], atoms, batch=batch, seed=seed + i)
        for i, (a, b) in enumerate(halves)
    ]
    values = np.array([(f.printed, f.excess, f.of_means) for f in found])
    return _over_batches(values, sum(f.n_batches for f in found), min(f.batch for f in found))


def _over_batches(found: np.ndarray, n_batches: int, batch: int) -> Distortion:
    """Means and standard deviations of the three numbers ``(k, 3)``."""
    (printed, excess, of_means), std = found.mean(0), np.full(3, np.nan)
    if len(found) > 1:
        std = found.std(0, ddof=1)
    return Distortion(
        printed=float(printed),
        printed_std=float(std[0]),
        excess=float(excess),
        excess_std=float(std[1]),
        of_means=float(of_means),
        of_means_std=float(std[2]),
        n_batches=n_batches,
        batch=batch,
    )


def _distortion(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """Printed formula, excess and difference of means of distances ``(n, pairs)`` and ``(m, pairs)``."""
    n, m, n_pairs = len(first), len(second), first.shape[1]
    printed = excess = 0.0
    size = max(1, CHUNK // (n + m))
    for start in range(0, n_pairs, size):
        both = np.concatenate([part[:, start : start + size].T for part in (first, second)], axis=1)
        order = np.argsort(both, axis=1)
        gaps = np.diff(np.take_along_axis(both, order, 1), axis=1)
        # shares of both sets below each gap: E|X - Y| is the integral of F (1 - G) + G (1 - F)
        below = np.cumsum(order < n, axis=1)[:, :-1]
        f, g = below / n, (np.arange(1, both.shape[1]) - below) / m
        printed += np.sum(gaps * (f * (1 - g) + g * (1 - f)))
        own = f * (1 - f) * n / (n - 1) + g * (1 - g) * m / (m - 1)
        excess += np.sum(gaps * (f * (1 - g) + g * (1 - f) - own))
    of_means = np.mean(np.abs(first.mean(0) - second.mean(0)))
    return float(printed / n_pairs), float(excess / n_pairs), float(of_means)
