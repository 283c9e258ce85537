"""Settings of Langevin dynamics, those of OpenMM's chains and of compiled ones."""

import dataclasses

from jbg.interfaces import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class LangevinConfig:
    """How long chains are and how they move.

    Attributes:
        n_steps: of each chain, a multiple of ``stride``.
        stride: steps between frames.
        timestep_ps: dt in ps.
        friction: 1/ps.

    Raises:
        ConfigError: numbers that cannot be run.
    """

    n_steps: int
    stride: int
    timestep_ps: float = 0.001
    friction: float = 1.0

    def __post_init__(self) -> None:
        if not (self.timestep_ps > 0 and self.friction >= 0):
            raise ConfigError(
                "langevin: needs timestep_ps > 0 and friction >= 0, got"
                f" {self.timestep_ps} and {self.friction}"
            )
        if self.stride < 1 or self.n_steps < self.stride or self.n_steps % self.stride:
            raise ConfigError(
                "langevin: n_steps must be a multiple of stride >= 1, got"
                f" {self.n_steps} and {self.stride}"
            )

    @property
    def n_frames(self) -> int:
        return self.n_steps // self.stride
