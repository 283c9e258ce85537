"""How far a flow is from the target, in nats, in both directions of the Kullback-Leibler divergence.

Forward, on frames of a simulation that stays in state S, with p_S = exp(-u/tau) / Z_S there:

    KL(p_S | q) = NLL_S - H_S,   NLL_S = <-ln q>_S,   H_S = <u>_S / tau + ln Z_S

ln Z_S comes from elsewhere, such as BAR through the flow (`analysis.bar_log_z`). A flow that is exact on two
states with half of its samples in each is ln 2 away from either: -ln Q_S with Q_S the share in S is part of the
gap.

Reverse, the loss of training by energy (Noe et al. 2019, Eq. 3), u(F(z))/tau - ln R(z) with R = |det dF/dz|.
Its mean is never below (d/2)(1 + ln 2 pi tau) - ln Z, its value everywhere for an affine flow on a Gaussian up
to the spread of |z|^2/2. Few clashes make the mean of a soft-core system useless; the median is then compared.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jbg.interfaces import ConfigError


class ForwardGap(NamedTuple):
    """NLL - entropy in nats, >= 0 but for its error; inf where a frame lies at q = 0."""

    value: float
    stderr: float
    nll: float
    entropy: float


def forward_gap(
    log_q: ArrayLike,
    u: ArrayLike,
    log_z: float | None,
    *,
    log_z_stderr: float = 0.0,
    tau: float = 1.0,
) -> ForwardGap:
    """KL(p_S | q) from frames of independent chains that stay in S and that training did not see.

    Args:
        log_q: normalised ln q of the frames, ``(n_chains, n_frames)``, the base at temperature tau.
        u: their reduced energies, the same shape.
        log_z: ln of the integral of exp(-u/tau) over S. log_z_stderr: its standard error.
        tau: relative temperature of the chains.

    Returns:
        The gap; its error is that of the mean over chains and that of ln Z, taken as independent.

    Raises:
        ConfigError: arrays that do not fit, a single chain, frames without finite energy or with ln q = NaN, an
            unknown ln Z, tau <= 0.
    """
    log_q, u = (np.asarray(a, np.float64) for a in (log_q, u))
    if log_q.shape != u.shape or log_q.ndim != 2 or len(u) < 2 or not u.size:
        raise ConfigError(
            f"forward_gap: ln q and u must both be (n_chains, n_frames) of two chains or more, got {log_q.shape}"
            f" and {u.shape}"
        )
    if log_z is None or not (math.isfinite(log_z) and math.isfinite(tau) and tau > 0):
        raise ConfigError(f"forward_gap: needs a finite ln Z and tau > 0, got {log_z} and {tau}")
    if np.isnan(log_q).any():
        raise ConfigError("forward_gap: ln q of a frame is NaN: the flow cannot be inverted there")
    if not np.isfinite(u).all():
        raise ConfigError("forward_gap: frames without finite energy; simulate exp(-u/tau)")
    nll, entropy = float(-log_q.mean()), float(u.mean() / tau + log_z)
    if not math.isfinite(nll):
        return ForwardGap(math.inf, math.nan, math.inf, entropy)
    chains = (-log_q - u / tau).mean(axis=1)
    stderr = math.hypot(float(chains.std(ddof=1)) / math.sqrt(len(chains)), log_z_stderr)
    return ForwardGap(nll - entropy, stderr, nll, entropy)


def equal_mixture_gap(gaps: Sequence[ForwardGap]) -> ForwardGap:
    """The gap against the mixture of n disjoint states in equal parts: the mean of theirs, less ln n.

    KL(mean of p_S | q) = mean of KL(p_S | q) - ln n, where the states do not overlap; it is 0 for an exact flow
    that has 1/n of its samples in each.

    Raises:
        ConfigError: no gap.
    """
    if not gaps:
        raise ConfigError("equal_mixture_gap: needs one gap for each state, got none")
    n = len(gaps)
    value, _, nll, entropy = (float(np.mean(column)) for column in zip(*gaps, strict=True))
    stderr = math.sqrt(sum(gap.stderr**2 for gap in gaps)) / n
    return ForwardGap(value - math.log(n), stderr, nll, entropy + math.log(n))


def kl_losses(
    u: ArrayLike, log_q: ArrayLike, log_base: ArrayLike, *, tau: float = 1.0
) -> np.ndarray:
    """u/tau - ln R ``(n,)`` of generated samples, ln R = ln p_Z(z) - ln q(F(z)); float64.

    Args:
        u, log_q: reduced energies and ln q of the samples, ``(n,)``; q that of one map F, no average of images.
        log_base: ln p_Z of the latent points they came from, ``(n,)``.
        tau: relative temperature.
    """
    u, log_q, log_base = (np.asarray(a, np.float64) for a in (u, log_q, log_base))
    return u / tau - (log_base - log_q)


def kl_loss_floor(dim: int, log_z: float, *, tau: float = 1.0) -> float:
    """The least mean of `kl_losses`: the entropy of the base N(0, tau) of ``dim`` variables, less ln Z.

    ln Z belongs to what the flow generates: where its samples keep to one labelling of n identical particles, that
    of the label cell.
    """
    return 0.5 * dim * (1 + math.log(2 * math.pi * tau)) - log_z
