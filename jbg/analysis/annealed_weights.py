"""What annealed weights say: ln Z from both sides, effective samples and their price, and whether blocks agree.

ln W of annealed importance sampling (`sampling.annealing`) is a log-weight like that of a plain sample, and so are
its numbers. Kish's number falls short of the truth where the heavy weights were not drawn; ln Z of independent
blocks then scatters more than it says, and ln Z from frames of the target, run backwards, lies above:

    forward   ln <W>            below ln Z in expectation, and <ln W> below that
    backward  -ln <1/W>_frames  above ln Z in expectation, and <ln W>_frames above that

with BAR on the two sets of paths between them (Crooks, Phys. Rev. E 61, 2361, 2000; bounds: Grosse et al. 2015,
arXiv:1511.02543). Where a share c of the particles ends outside of the target, with weight zero, frames lack the
paths that would lead back from there: <1/W>_frames is (1 - c) / Z, and ln(1 - c) is added. Backward numbers are as
good as the frames: chains that do not mix lie.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from jbg.analysis.bar import BarLogZ, StateSamples, bar_log_z
from jbg.interfaces import ConfigError
from jbg.reweighting import (
    drop_non_finite,
    effective_samples,
    ess_fraction,
    largest_weight_share,
    log_mean_exp,
    log_z_estimate,
    pareto_k,
)


class AnnealedWeights(NamedTuple):
    """Numbers of n log-weights.

    Attributes:
        n: particles.
        n_zero: of weight zero.
        ess_fraction: Kish's fraction.
        effective: Kish's number.
        largest_share: of the total weight, that one particle holds.
        pareto_k: shape of the tail; above 0.7 neither of the errors below is to be trusted.
        log_z: ln of the mean weight.
        log_z_stderr: its standard error from the spread of the weights.
        block_log_z: ln Z of each independent group of blocks.
        block_spread: the largest of them less the smallest.
        block_stderr: standard error of ln Z from their mean weights; inf of one.
        evaluations: energies that all of it cost.
        per_million: effective samples for a million energies.
    """

    n: int
    n_zero: int
    ess_fraction: float
    effective: float
    largest_share: float
    pareto_k: float
    log_z: float
    log_z_stderr: float
    block_log_z: tuple[float, ...]
    block_spread: float
    block_stderr: float
    evaluations: int
    per_million: float


class TwoSided(NamedTuple):
    """ln Z from both sides, in nats.

    Attributes:
        forward: ln <W>, with ``forward_stderr`` from the spread of the weights.
        backward: -ln <1/W> + ln(1 - share of particles of weight zero), with ``backward_stderr`` from the spread
            between chains of frames and that of the share.
        gap: backward less forward, >= 0 in expectation, with ``gap_stderr``; below zero by more than its error
            where the frames lack a part of the target that particles found.
        mean_forward: <ln W> of the particles, a lower bound; -inf if any has weight zero.
        mean_backward: <ln W> of the frames, an upper bound; inf if the generator cannot make one.
        mean_backward_stderr: from the chains.
        n_outside: frames that the generator cannot make.
        n_chains: independent chains of frames.
        bar: ln Z by the acceptance ratio, or the reason why there is none.
    """

    forward: float
    forward_stderr: float
    backward: float
    backward_stderr: float
    gap: float
    gap_stderr: float
    mean_forward: float
    mean_backward: float
    mean_backward_stderr: float
    n_outside: int
    n_chains: int
    bar: BarLogZ


def annealed_weights(
    log_w: ArrayLike, block: ArrayLike, *, evaluations: int, n_groups: int | None = None
) -> AnnealedWeights:
    """The numbers of log-weights, annealed or plain.

    Args:
        log_w: ln W of the particles ``(n,)``, true energies in it; not finite = weight zero.
        block: number of the independent block of each ``(n,)``.
        evaluations: energies that they cost, those of a pilot run with them.
        n_groups: groups that blocks are joined to, in order; every block by itself by default.

    Raises:
        ConfigError: arrays that do not fit, no particle, or more groups than blocks.
    """
    log_w, n_zero = drop_non_finite(log_w)
    group = _groups(log_w, np.asarray(block), n_groups)
    if evaluations < 1:
        raise ConfigError(f"annealed_weights: evaluations must be 1 or more, got {evaluations}")
    estimate = log_z_estimate(log_w)
    of_groups = np.array([log_mean_exp(log_w[group == g]) for g in np.unique(group)])
    effective = effective_samples(log_w)
    return AnnealedWeights(
        n=log_w.size,
        n_zero=n_zero,
        ess_fraction=ess_fraction(log_w),
        effective=effective,
        largest_share=largest_weight_share(log_w),
        pareto_k=pareto_k(log_w),
        log_z=estimate.value,
        log_z_stderr=estimate.stderr,
        block_log_z=tuple(of_groups.tolist()),
        block_spread=float(np.ptp(of_groups)) if np.isfinite(of_groups).all() else math.inf,
        # groups are of nearly one size: ln of the mean of their mean weights
        block_stderr=log_z_estimate(of_groups).stderr,
        evaluations=evaluations,
        per_million=1e6 * effective / evaluations,
    )


def two_sided(
    log_w_forward: ArrayLike, log_w_backward: ArrayLike, *, seed: int, n_bootstrap: int = 1000
) -> TwoSided:
    """ln Z from particles that were annealed to the target and frames of it that were annealed back.

    Args:
        log_w_forward: ln W of the particles ``(n,)``; not finite = weight zero.
        log_w_backward: ln W of the backward paths, ``(n_chains, n_frames)`` of independent chains; +inf where the
            generator cannot make the frame.
        seed: of the bootstraps.
        n_bootstrap: replicas.

    Raises:
        ConfigError: arrays of other shapes, or NaN among the backward ones.
    """
    forward, n_zero = drop_non_finite(log_w_forward)
    backward = np.asarray(log_w_backward, np.float64)
    if forward.ndim != 1 or not forward.size or backward.ndim != 2 or not backward.size:
        raise ConfigError(
            "two_sided: forward must be (n,) and backward (n_chains, n_frames), got "
            f"{forward.shape} and {backward.shape}"
        )
    if np.isnan(backward).any():
        raise ConfigError("two_sided: a backward ln W is NaN: use +inf where there is no path")
    low = log_z_estimate(forward)
    high, high_stderr = _backward(backward, seed, n_bootstrap)
    if n_zero < forward.size:
        lost = n_zero / forward.size
        high += math.log1p(-lost)
        high_stderr = math.hypot(high_stderr, math.sqrt(lost / (1 - lost) / forward.size))
    means = backward.mean(1)
    known = len(means) > 1 and np.isfinite(means).all()
    return TwoSided(
        forward=low.value,
        forward_stderr=low.stderr,
        backward=high,
        backward_stderr=high_stderr,
        gap=high - low.value,
        gap_stderr=math.hypot(low.stderr, high_stderr),
        mean_forward=-math.inf if n_zero else float(forward.mean()),
        mean_backward=float(means.mean()),
        mean_backward_stderr=float(means.std(ddof=1)) / math.sqrt(len(means))
        if known
        else math.inf,
        n_outside=int(np.count_nonzero(np.isinf(backward))),
        n_chains=len(means),
        bar=_bar(forward, backward, seed, n_bootstrap),
    )


def _groups(log_w: np.ndarray, block: np.ndarray, n_groups: int | None) -> np.ndarray:
    """The group of each particle ``(n,)``."""
    if log_w.ndim != 1 or block.shape != log_w.shape or not log_w.size:
        raise ConfigError(
            f"annealed_weights: log_w and block must both be (n,), n >= 1, got {log_w.shape} and {block.shape}"
        )
    blocks, place = np.unique(block, return_inverse=True)
    n_groups = len(blocks) if n_groups is None else n_groups
    if not 1 <= n_groups <= len(blocks):
        raise ConfigError(
            f"annealed_weights: n_groups must be 1 to {len(blocks)}, the number of blocks, got {n_groups}"
        )
    return place * n_groups // len(blocks)


def _backward(log_w: np.ndarray, seed: int, n_bootstrap: int) -> tuple[float, float]:
    """-ln of the mean of 1/W, and its standard error by a bootstrap over chains; inf of a single chain."""
    of_chains = np.asarray(logsumexp(-log_w, axis=1)) - math.log(log_w.shape[1])
    if np.all(np.isneginf(of_chains)):
        return math.inf, math.inf
    value, n = -log_mean_exp(of_chains), len(of_chains)
    if n < 2:
        return value, math.inf
    # n - 1 out of n, which has the variance of n new ones
    drawn = np.random.default_rng(seed).integers(n, size=(n_bootstrap, n - 1))
    replicas = np.asarray(logsumexp(of_chains[drawn], axis=1)) - math.log(n - 1)
    replicas = replicas[np.isfinite(replicas)]
    return value, float(np.std(replicas, ddof=1)) if replicas.size > 1 else math.inf


def _bar(forward: np.ndarray, backward: np.ndarray, seed: int, n_bootstrap: int) -> BarLogZ:
    """The acceptance ratio on ln W = -u - ln q, with ln q = 0."""
    possible = np.isfinite(backward)
    samples = StateSamples(
        generated_log_q=np.zeros_like(forward),
        generated_u=-forward,
        n_generated=forward.size,
        simulated_log_q=np.where(possible, 0.0, -np.inf),
        simulated_u=np.where(possible, -backward, 0.0),
    )
    return bar_log_z(samples, seed=seed, n_bootstrap=n_bootstrap)
