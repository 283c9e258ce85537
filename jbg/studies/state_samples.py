"""A state as generated and as simulated samples see it: what BAR through the flow is given."""

from typing import Any

import numpy as np

from jbg.analysis import StateSamples
from jbg.studies.problem import Problem


def state_samples(
    problem: Problem,
    params: Any,
    frames: np.ndarray,
    *,
    log_q: np.ndarray,
    u: np.ndarray,
    inside: np.ndarray,
    tau: float,
) -> StateSamples:
    """One state at tau.

    Args:
        problem: whose generator and energy both are measured with.
        params: of ``problem.generator``.
        frames: of independent chains that stay in the state, ``(n_chains, n_frames, dim)``.
        log_q, u: of all generated samples, ``(n,)``. inside: which of them lie in the state, ``(n,)`` bool.
        tau: relative temperature of chains and samples.
    """
    flat = frames.reshape(-1, frames.shape[-1])
    return StateSamples(
        generated_log_q=log_q[inside],
        generated_u=u[inside],
        n_generated=len(inside),
        simulated_log_q=problem.log_probs(params, flat, (tau,))[0].reshape(frames.shape[:2]),
        simulated_u=problem.reduced_energies(flat).reshape(frames.shape[:2]),
    )
