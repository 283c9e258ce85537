"""Settings of the annealing from a flow to its target, and what it costs."""

import dataclasses
import math

import numpy as np

from jbg.interfaces import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Annealing:
    """Settings of the annealing.

    Attributes:
        n_particles: particles whose weights are reported, a multiple of ``batch``.
        batch: particles of one block, which bounds the memory; the pilot run has one block of its own.
        n_levels: K, levels after the flow.
        power: b_k = (k/K)^power.
        n_leapfrog: steps of a trajectory.
        n_jumps: jumps tried before each trajectory; 0 where there is nothing to jump.
        step: time step that the pilot starts from, in the width of the density at its level.
        e_high: kT above the reference energy at which softening begins, on the way only.
        e_max: kT above the reference energy at which the softened energy ends.
        pilot_moves: trajectories of each pilot particle at each level, in which time steps adapt.

    Raises:
        ConfigError: numbers that cannot be run.
    """

    n_particles: int
    batch: int = 256
    n_levels: int = 50
    power: float = 2.0
    n_leapfrog: int = 4
    n_jumps: int = 0
    step: float = 0.3
    e_high: float = 60.0
    e_max: float = 1e20
    pilot_moves: int = 2

    def __post_init__(self):
        for name in ("n_particles", "batch", "n_levels", "n_leapfrog", "pilot_moves"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise ConfigError(f"annealing: {name} must be a whole number >= 1, got {value}")
        if isinstance(self.n_jumps, bool) or not isinstance(self.n_jumps, int) or self.n_jumps < 0:
            raise ConfigError(f"annealing: n_jumps must be a whole number >= 0, got {self.n_jumps}")
        if self.n_particles % self.batch:
            raise ConfigError(
                f"annealing: n_particles must be a multiple of batch = {self.batch}, got {self.n_particles}"
            )
        for name in ("power", "step"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"annealing: {name} must be finite and > 0, got {value}")
        if not (math.isfinite(self.e_max) and -math.inf < self.e_high < self.e_max):
            raise ConfigError(
                f"annealing: needs finite e_high < e_max, got {self.e_high} and {self.e_max}"
            )

    @property
    def n_blocks(self) -> int:
        """Blocks of reported particles."""
        return self.n_particles // self.batch

    @property
    def b(self) -> np.ndarray:
        """b_0 = 0 to b_K = 1, ``(K + 1,)``."""
        return (np.arange(self.n_levels + 1) / self.n_levels) ** self.power

    @property
    def evaluations_each(self) -> int:
        """Energies of one particle, in either direction: of its start and of its moves."""
        return 1 + self.n_levels * self.level_evaluations

    @property
    def level_evaluations(self) -> int:
        """Energies of a particle's moves at one level: with forces those of the trajectory and of the place where
        jumps ended, without them those of jumps."""
        return self.n_leapfrog + (self.n_jumps + 1 if self.n_jumps else 0)

    @property
    def pilot_evaluations(self) -> int:
        """Energies of the pilot run."""
        return self.batch * (1 + self.n_levels * self.pilot_moves * self.level_evaluations)

    @property
    def evaluations(self) -> int:
        """Energies of the pilot run and the reported particles."""
        return self.pilot_evaluations + self.n_particles * self.evaluations_each
