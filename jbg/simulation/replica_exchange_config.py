"""Settings of replica exchange: ladders of temperatures, time steps, and what suits a molecule of n atoms."""

import dataclasses

import numpy as np

from jbg.interfaces import ConfigError

HYDROGEN_MASS = 6.0  # dalton, of simulations: twice the time step


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReplicaExchangeConfig:
    """What to simulate.

    Attributes:
        temperatures: K, ascending; frames are kept at the first.
        n_ladders: independent copies of the ladder.
        n_burn_in: rounds thrown away first; the time step grows to its full length over them,
            because far below the mean energy, at a minimum, full steps would nearly all be
            rejected.
        n_rounds: rounds after that.
        record_every: rounds between the frames kept.
        n_steps: leapfrog steps of one trajectory.
        timestep_ps: mean time step; each round draws its own within 10 %, so that no trajectory
            stays a multiple of a vibration's period.
        n_rotations: torsion rotations tried by each replica in each round.
    """

    temperatures: tuple[float, ...]
    n_ladders: int = 16
    n_burn_in: int = 100
    n_rounds: int = 3000
    record_every: int = 1
    n_steps: int = 12
    timestep_ps: float = 0.004
    n_rotations: int = 6

    def __post_init__(self) -> None:
        t = np.asarray(self.temperatures, float)
        if t.size == 0 or not (np.isfinite(t).all() and (t > 0).all() and (np.diff(t) > 0).all()):
            raise ConfigError(
                "replica exchange: temperatures must be positive and ascending, got "
                f"{self.temperatures}"
            )
        for name in ("n_ladders", "n_rounds", "record_every", "n_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"replica exchange: {name} must be at least 1, got {getattr(self, name)}"
                )
        if not self.timestep_ps > 0 or self.n_burn_in < 0 or self.n_rotations < 0:
            raise ConfigError(
                "replica exchange: timestep_ps must be positive, "
                "n_burn_in and n_rotations not negative"
            )

    @property
    def total_rounds(self) -> int:
        return self.n_burn_in + self.n_rounds

    @property
    def n_records(self) -> int:
        return self.n_rounds // self.record_every

    @property
    def energy_evaluations(self) -> int:
        """Energies that a run computes: one for each step, rotation and start of a trajectory."""
        replicas = self.n_ladders * len(self.temperatures)
        return replicas * (1 + self.total_rounds * (self.n_steps + 1 + self.n_rotations))


def suggested_config(n_atoms: int, *, temperature: float, **changes) -> ReplicaExchangeConfig:
    """Settings tuned on alanine dipeptide (22 atoms, hydrogens of 6 dalton), scaled to ``n_atoms``.

    Half of all trajectories and of all swaps are accepted if the time step goes as n^(-1/4) and
    the spacing of ln T as n^(-1/2). The highest temperature is 5/3 of the lowest; ``changes``
    override fields.
    """
    highest = temperature * 5 / 3
    spacing = 0.18 * np.sqrt(22 / n_atoms)
    n_temperatures = 1 + round(np.log(highest / temperature) / spacing)
    settings = {
        "temperatures": geometric_ladder(temperature, highest, n_temperatures),
        "timestep_ps": float(0.004 * (22 / n_atoms) ** 0.25),
    }
    return ReplicaExchangeConfig(**{**settings, **changes})


def geometric_ladder(lowest: float, highest: float, n: int) -> tuple[float, ...]:
    """``n`` temperatures with a constant ratio, which gives about constant swap acceptance."""
    if n == 1:
        return (float(lowest),)
    return tuple((lowest * (highest / lowest) ** (np.arange(n) / (n - 1))).tolist())


def heavy_hydrogen_masses(masses: np.ndarray, hydrogen_mass: float = HYDROGEN_MASS) -> np.ndarray:
    """Masses with every hydrogen (below 3 dalton) at ``hydrogen_mass``: twice the time step."""
    masses = np.asarray(masses, float)
    return np.where(masses < 3.0, hydrogen_mass, masses)
