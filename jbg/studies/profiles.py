"""Free-energy profiles of observables: arrays for the figures, with weights and without."""

import numpy as np

from jbg.analysis import weighted_profile
from jbg.studies.evidence import Evidence


def profile_arrays(
    evidence: Evidence,
    name: str,
    values: np.ndarray,
    edges: np.ndarray,
    *,
    stream: str,
    min_effective: float = 0.0,
) -> dict[str, np.ndarray]:
    """Arrays ``profile_<name>_...`` of the profile along ``values``, one of each sample at tau = 1.

    Args:
        evidence: with the samples and their weights.
        name: of the profile.
        values: ``(n,)``.
        edges: of the bins.
        stream: name of the bootstrap's seed.
        min_effective: effective samples that a bin needs; the profile is NaN below.
    """
    log_w, seed = evidence.own.log_w, evidence.seed_for(stream)
    weighted = weighted_profile(values, log_w, edges, seed=seed, min_effective=min_effective)
    plain = weighted_profile(values, np.zeros_like(log_w), edges, seed=seed)
    return {
        f"profile_{name}_centers": 0.5 * (edges[1:] + edges[:-1]),
        f"profile_{name}_reweighted": weighted.free_energy,
        f"profile_{name}_stderr": weighted.stderr,
        f"profile_{name}_generated": plain.free_energy,
    }
