"""Short simulations from random conformations against a flow that learned without data.

With no equilibrium to compare with, chains of dynamics still know which conformations near their starts are
populated. Each is conditional on its start, so that shares of states cannot be read off them, and only one
statement is possible: a chain sits where the flow generates next to nothing. Its ln w = -u - ln q then lies above
that of all generated samples but a few, however the chain came there; for an exact flow ln w is ln Z everywhere.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

FEW = 10  # generated samples of such weights, of which there are fewer where next to nothing is generated
MASS = 0.003  # of the weight: a place that holds it would have fewer than THREE of the generated samples
THREE = 3
CLOSE = 8.0  # kT above the ensemble's mean energy, up to which a chain is taken to matter
UNSEEN = (
    "no equilibrium was simulated, and no number here can show a conformation that the flow never generates: "
    "effective samples, Pareto k and errors are of what it does generate"
)


def local_chain_gap(
    log_w: ArrayLike,
    u: ArrayLike,
    chain: ArrayLike,
    log_w_generated: ArrayLike,
    u_generated: ArrayLike,
) -> dict[str, Any]:
    """Which chains sit where the flow generates next to nothing.

    A chain does whose median ln w, D above the logarithm of the mean weight of the m generated samples, is so
    high that of m MASS exp(-D) samples, what a place with MASS of the weight would have, fewer than THREE are
    left, and is above that of all but fewer than FEW generated samples. Otherwise such samples are there, and
    the weights themselves show what is wrong. Chains whose mean energy is more than CLOSE above the weighted
    mean of the generated samples hold next to no weight and are passed over.

    Args:
        log_w: -u - ln q of the frames of all chains, ``(n,)``; frames where it is not finite, such as those
            outside the coordinates' domain, are left out.
        u: reduced energies of the frames, ``(n,)``.
        chain: index of the chain of each frame, ``(n,)``.
        log_w_generated: of the generated samples, ``(m,)``; -inf where one has no weight.
        u_generated: their reduced energies.

    Returns:
        ``n_chains`` with a frame inside, ``n_close`` of them with an energy that matters, ``n_above`` of these
        where the flow generates next to nothing; ``excess``, the largest median ln w of a close chain
        over the logarithm of the mean weight, in nats, None without such chains; ``outside_share`` of the frames.
    """
    log_w, u, chain = (np.asarray(a) for a in (log_w, u, chain))
    log_w_generated = np.asarray(log_w_generated, np.float64)
    weighted = np.isfinite(log_w_generated)
    generated = np.sort(log_w_generated[weighted])
    w = np.exp(log_w_generated[weighted] - generated[-1])
    log_mean_w = generated[-1] + np.log(w.sum() / log_w_generated.size)
    mean_u = np.average(np.asarray(u_generated, np.float64)[weighted], weights=w)
    limit = log_mean_w + np.log(max(1.0, log_w_generated.size * MASS / THREE))
    limit = max(limit, generated[-min(FEW, len(generated))])
    inside = np.isfinite(log_w) & np.isfinite(u)
    of_chains = [inside & (chain == k) for k in np.unique(chain[inside])]
    medians = [np.median(log_w[rows]) for rows in of_chains if u[rows].mean() <= mean_u + CLOSE]
    return {
        "n_chains": len(of_chains),
        "n_close": len(medians),
        "n_above": int(np.sum(np.array(medians) > limit)),
        "excess": float(max(medians) - log_mean_w) if medians else None,
        "outside_share": float(1.0 - inside.mean()),
    }


def unseen_alarms(gap: Mapping[str, Any] | None) -> list[str]:
    """What a run without simulated data cannot know, and what its short chains found.

    Args:
        gap: from `local_chain_gap`, or None where no chains were run.
    """
    if gap is None:
        return [UNSEEN]
    n, chains = gap["n_close"], "short chains from relaxed random conformations"
    if not gap["n_above"]:
        return [
            f"{UNSEEN}. Of {n} {chains} none sits where the flow generates next to nothing, which holds for the "
            "basins that they started in"
        ]
    return [
        UNSEEN,
        f"{gap['n_above']} of {n} {chains} sit where the flow generates next to nothing (ln w up to "
        f"{gap['excess']:.1f} nats above the mean weight): a part of the ensemble is missing, train longer",
    ]
