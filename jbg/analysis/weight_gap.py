"""Whether the flow generates what a simulation holds, seen in ln w = -u - ln q of both.

Effective sample sizes and Pareto k know only what the flow drew. Frames that training did not see know what the
target holds, and their ln w shows it: the density of ln w among frames of p is that among samples of q
times w / Z. So among frames the share above a threshold should be the share of the *weight* above it among the
samples. Frames above what the samples reach are of a part of the state that the flow hardly ever makes.

The comparison works in any dimension: ln w scatters by the error of the flow, not by sqrt(d/2) as ln q does
even for an exact one. Two numbers tell of it:

    unseen share    frames above a threshold, minus what the samples' weight says, with the probability of that by
                    chance
    forward ESS     Z / <w>_p, in [0, 1]: what the effective sample size is as the frames know it; 1 / <w / Z>_p
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from jbg.analysis.free_energy import N_BLOCKS
from jbg.reweighting import ess_fraction, relative_weights

RANKS = (1, 3, 10, 30, 100, 300, 1000)  # of the heaviest samples, as thresholds
LARGEST_SHARE = 0.05  # of the state's weight above a threshold
MARGIN = 0.1  # nats above a threshold: float32 and a flow that is nearly exact
BRIDGE = 40  # frames of a chain between two above a threshold that are of one visit
INFLATION = 4.0  # standard errors, about, of the weight of the few heaviest samples
N_BOOTSTRAP = 500


class WeightGap(NamedTuple):
    """One state; None where too little is known."""

    n: int  # frames
    forward_ess: float | None  # at most 1
    forward_ess_stderr: float | None  # from the chains
    reverse_ess: float | None  # Kish's fraction of the samples in the state
    beyond: float | None  # share of the frames with weights above the heaviest of the samples
    unseen_share: float | None  # of the state, as the frames know it; 0 where the samples agree
    chance: float | None  # probability of so many frames where flow and samples are all right

    def as_results(self) -> dict[str, float | None]:
        """The numbers under their names in ``results.json``, which alarms know them by."""
        return {
            "forward_ess": self.forward_ess,
            "forward_ess_stderr": self.forward_ess_stderr,
            "reverse_ess": self.reverse_ess,
            "beyond_share": self.beyond,
            "unseen_share": self.unseen_share,
            "unseen_chance": self.chance,
        }


def weight_gap(
    log_w_frames: ArrayLike, chain: ArrayLike, log_w_generated: ArrayLike, *, seed: int
) -> WeightGap:
    """Compares the frames of one state with the samples generated in it.

    Args:
        log_w_frames: -u - ln q of frames that training did not see, in order of time within each chain, ``(n,)``,
            with u at the positions as stored: rounded ones have another u *and* another ln q. +inf where
            q = 0; NaN, where it could not be computed, is left out.
        chain: the independent chain of each frame, ``(n,)`` integers.
        log_w_generated: of all generated samples in the state, ``(m,)``; not finite = weight zero.
        seed: of the bootstrap over chains.

    Returns:
        The numbers above. Frames of one chain above a threshold, with gaps of up to BRIDGE frames, are one visit:
        ``chance`` is the least of the binomial tail probabilities of the numbers of visits, out of as many as
        there is room for, at the thresholds, times the number of these.
    """
    frames = np.asarray(log_w_frames, np.float64)
    known = ~np.isnan(frames)
    frames, chain = frames[known], np.asarray(chain)[known]
    samples = np.asarray(log_w_generated, np.float64)
    samples = np.sort(samples[np.isfinite(samples)])[::-1]
    if not frames.size or samples.size < 2:
        return WeightGap(int(frames.size), *[None] * 6)
    forward, error = _forward_ess(frames, chain, samples, seed)
    beyond = float(np.mean(frames > samples[0] + MARGIN))
    return WeightGap(
        int(frames.size),
        forward,
        error,
        ess_fraction(samples),
        beyond,
        *_unseen(frames, chain, samples),
    )


def _forward_ess(frames, chain, samples, seed) -> tuple[float, float]:
    """Z / <w>_p with Z = <w>_q, and its error by bootstrap over chains and first order in Z."""
    log_z = np.logaddexp.reduce(samples) - math.log(samples.size)
    z_error = float(np.std(relative_weights(samples)) / np.mean(relative_weights(samples)))
    z_error /= math.sqrt(samples.size)
    with np.errstate(over="ignore"):
        w = np.exp(np.minimum(frames - log_z, 700.0))
    _, place = np.unique(chain, return_inverse=True)
    n_chains = place.max() + 1
    if n_chains == 1:  # its own parts in its place
        n_chains = min(N_BLOCKS, frames.size)
        place = np.arange(frames.size) * n_chains // frames.size
    sums, counts = np.bincount(place, w), np.bincount(place)
    rng = np.random.default_rng(seed)
    times = rng.multinomial(n_chains, np.full(n_chains, 1 / n_chains), size=N_BOOTSTRAP)
    replicas = (times @ counts) / (times @ sums)
    value = min(1.0, float(frames.size / w.sum()))
    return value, float(np.hypot(np.std(replicas), value * z_error))


def _unseen(frames, chain, samples) -> tuple[float | None, float | None]:
    """The share of frames beyond the samples at the most telling threshold, and the chance of it; None where the
    heaviest sample holds so much of the weight that no number of frames beyond it would tell."""
    share = np.cumsum(relative_weights(samples))
    share /= share[-1]
    ranks = [r for r in RANKS if r <= samples.size and share[r - 1] <= LARGEST_SHARE]
    if not ranks:
        return None, None
    best = (0.0, 1.0)
    for rank in ranks:
        above = np.flatnonzero(frames > samples[rank - 1] + MARGIN)
        if not above.size:
            continue
        apart = (np.diff(above) > BRIDGE) | (np.diff(chain[above]) != 0)
        visits = 1 + np.count_nonzero(apart)
        room = round(frames.size * visits / above.size)
        # the weight of the few heaviest samples, as they would be drawn again, is uncertain
        expected = min(1.0, share[rank - 1] * (1 + INFLATION / math.sqrt(rank)))
        chance = float(stats.binom.sf(visits - 1, room, expected))
        if chance < best[1]:
            best = (max(0.0, above.size / frames.size - float(share[rank - 1])), chance)
    return best[0], min(1.0, best[1] * len(ranks))
