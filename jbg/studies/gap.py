"""The gap between a simulation and a flow: one number for how far reweighting can carry.

With ln w = -u - ln q, over frames of the equilibrium p that training did not see,

    gap = <ln w>_p - ln Z = KL(p | q),   in nats,

and ln Z by BAR between generated samples and frames. Below 2 nats importance sampling works; at 5 one sample in a
thousand counts, and beyond 10 none: a flow that has learnt few frames by heart has a large gap whatever its
training says.
"""

import math
from typing import Any

import numpy as np

from jbg.analysis import StateSamples, bar_log_z
from jbg.studies.evidence import Evidence
from jbg.studies.study import Finding

N_BOOTSTRAP = 200


def gap(evidence: Evidence) -> Finding:
    """``gap``: its value and standard error, or the reason why it is not known; nothing where nothing was
    simulated."""
    found = gap_of(evidence)
    return Finding({} if found is None else {"gap": found}, {})


def gap_of(evidence: Evidence) -> dict[str, Any] | None:
    """The gap of a study that is corrected by it: its frames are of the equilibrium between the states too."""
    frames = evidence.frames
    if evidence.plan.correction is None or frames is None:
        return None
    own = evidence.own
    samples = StateSamples(
        generated_log_q=own.samples.log_q[own.usable],
        generated_u=own.samples.reduced_energy[own.usable],
        n_generated=len(own.log_w),
        simulated_log_q=frames.log_q,
        simulated_u=frames.u,
        simulated_inside=frames.usable & np.isfinite(frames.log_q),
    )
    return mean_log_weight_gap(samples, seed=evidence.seed_for("gap"))


def mean_log_weight_gap(samples: StateSamples, *, seed: int) -> dict[str, Any]:
    """<ln w> of the frames less ln Z, with an error from their chains and that of ln Z.

    Args:
        samples: all generated ones, and the frames of independent chains.
        seed: of the bootstrap of ln Z.

    Returns:
        ``value``, ``stderr`` and ``frames``; the first two None with a ``reason``.
    """
    log_q, u = (np.asarray(a, np.float64) for a in (samples.simulated_log_q, samples.simulated_u))
    inside = np.ones(u.shape, bool)
    if samples.simulated_inside is not None:
        inside = np.asarray(samples.simulated_inside)
    n, log_w = inside.sum(axis=1), np.where(inside, -u - log_q, 0.0)
    found = {"value": None, "stderr": None, "frames": int(n.sum())}
    if np.count_nonzero(n) < 2:
        return found | {"reason": "needs frames of two chains or more"}
    log_z = bar_log_z(samples, seed=seed, n_bootstrap=N_BOOTSTRAP)
    if log_z.value is None or log_z.stderr is None:
        return found | {"reason": f"ln Z by BAR: {log_z.reason}"}
    mean = log_w.sum() / n.sum()
    # of a ratio of sums over chains
    spread = np.sqrt(np.sum((log_w.sum(axis=1) - mean * n) ** 2) * len(n) / (len(n) - 1)) / n.sum()
    return found | {
        "value": float(mean - log_z.value),
        "stderr": math.hypot(float(spread), log_z.stderr),
    }
