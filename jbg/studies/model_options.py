"""Options that the studies of model systems in kT share."""

import math
from collections.abc import Sequence

from jbg.interfaces import ConfigError
from jbg.targets import check_taus


def check_options(taus: Sequence[float], w_rc: float) -> tuple[float, ...]:
    """The relative temperatures ``taus``, 1 among them, beside a weight ``w_rc`` of the reaction-coordinate loss.

    Raises:
        ConfigError: temperatures that are none, not rising or without 1; a weight that is negative or not finite.
    """
    taus = check_taus(taus)
    if 1.0 not in taus:
        raise ConfigError(f"taus: 1, the system's own temperature, must be among them, got {taus}")
    if len({f"{tau:g}" for tau in taus}) < len(taus):
        raise ConfigError(
            f"taus must differ in their first six digits, as their folders do, got {taus}"
        )
    if not (math.isfinite(w_rc) and w_rc >= 0):
        raise ConfigError(f"w_rc: the weight must be 0 or more, got {w_rc}")
    return taus
