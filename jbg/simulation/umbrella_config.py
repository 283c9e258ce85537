"""Settings of umbrella sampling: where the windows lie and how long they are sampled."""

import dataclasses
import math

from jbg.interfaces import ConfigError


def check_bounds(bounds: tuple[float, float]) -> None:
    if len(bounds) != 2 or not (all(map(math.isfinite, bounds)) and bounds[0] < bounds[1]):
        raise ConfigError(
            f"umbrella sampling: bounds must be finite and rising, got {tuple(bounds)};"
            " give (lowest, highest) centre"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class UmbrellaConfig:
    """What to simulate. Windows lie at equal distances, the outer ones on the bounds.

    Attributes:
        n_windows: 2 or more.
        bounds: of the window centres; None for the variable's own.
        force_constant: k in kT (at the reference temperature) by squared unit of the variable.
        n_replicas: independent grids of chains; they give the error.
        n_leapfrog: leapfrog steps of one trajectory.
        n_pull: trajectories over which the bias travels from the start to the window's centre.
        n_burn_in: trajectories thrown away after that. The time step adapts in both.
        n_steps: trajectories after burn-in, in every window of every replica.
        stride: trajectories between values kept; divides ``frame_stride``.
        frame_stride: trajectories between frames kept; divides ``n_steps``.
        exchange: whether neighbouring windows, and temperatures, swap.
    """

    n_windows: int = 22
    bounds: tuple[float, float] | None = None
    force_constant: float = 300.0
    n_replicas: int = 16
    n_leapfrog: int = 4
    n_pull: int = 500
    n_burn_in: int = 1500
    n_steps: int = 15_000
    stride: int = 5
    frame_stride: int = 75
    exchange: bool = True

    def __post_init__(self) -> None:
        if self.bounds is not None:
            check_bounds(self.bounds)
            object.__setattr__(self, "bounds", tuple(map(float, self.bounds)))  # hashable
        if not (math.isfinite(self.force_constant) and self.force_constant > 0):
            raise ConfigError(
                f"umbrella sampling: force_constant must be > 0, got {self.force_constant}"
            )
        least = {"n_windows": 2, "n_burn_in": 0}
        for field in dataclasses.fields(self):
            value, low = getattr(self, field.name), least.get(field.name, 1)
            if field.type is int and (value < low or value != int(value)):
                raise ConfigError(
                    f"umbrella sampling: {field.name} must be a whole number, at least {low}, got {value}"
                )
        if self.frame_stride % self.stride or self.n_steps % self.frame_stride:
            raise ConfigError(
                "umbrella sampling: stride must divide frame_stride, and that n_steps, got"
                f" {self.stride}, {self.frame_stride} and {self.n_steps}"
            )

    @property
    def n_adapt(self) -> int:
        """Trajectories before the first value is kept."""
        return self.n_pull + self.n_burn_in

    @property
    def n_trajectories(self) -> int:
        """Trajectories of each chain."""
        return self.n_adapt + self.n_steps

    @property
    def evaluations_per_trajectory(self) -> int:
        """Energies with gradients of all chains at one temperature: each leapfrog step, and the start."""
        return self.n_windows * self.n_replicas * (self.n_leapfrog + 1)

    @property
    def evaluations_per_tau(self) -> int:
        """The same over the whole run."""
        return self.n_trajectories * self.evaluations_per_trajectory
