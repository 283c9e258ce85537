"""Options shared by the studies of model systems in kT."""

import dataclasses
import math

from jbg.interfaces import ConfigError
from jbg.targets import check_taus


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Options of a model system in kT.

    Raises:
        ConfigError: temperatures not positive, not increasing or without 1; a negative or infinite weight.
    """

    taus: tuple[float, ...] = (1.0,)
    """Relative temperatures T / T_ref for training, sampling and reporting; must include 1."""
    w_rc: float = 0.0
    """Weight of the loss that spreads samples along the collective variable and fills barriers; 1 to 10."""

    def __post_init__(self):
        taus = check_taus(self.taus)
        if 1.0 not in taus:
            raise ConfigError(
                f"taus: 1, the system's own temperature, must be among them, got {taus}"
            )
        if len({f"{tau:g}" for tau in taus}) < len(taus):
            raise ConfigError(f"taus must differ in their first six digits, got {taus}")
        if not (math.isfinite(self.w_rc) and self.w_rc >= 0):
            raise ConfigError(f"w_rc: the weight must be 0 or more, got {self.w_rc}")
        object.__setattr__(self, "taus", taus)
