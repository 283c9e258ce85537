"""Settings of a molecule's data: replica exchange, or frames that no simulation made."""

import dataclasses

from jbg.interfaces import ConfigError
from jbg.simulation.harmonic import harmonic_evaluations
from jbg.simulation.replica_exchange import ReplicaExchangeConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExchangePlan:
    """Frames of replica exchange, at its lowest temperature.

    Attributes:
        exchange: what is simulated.
        heldout: share of the ladders that training is watched by.
        aside: share of the ladders that are set aside for estimates.
        hydrogen_mass: of hydrogens in the simulation, dalton.
        atoms: of the molecule.
        sha256: of its PDB file; None for a sequence.
    """

    exchange: ReplicaExchangeConfig
    heldout: float
    aside: float
    hydrogen_mass: float
    atoms: int
    sha256: str | None

    def __post_init__(self):
        if not (0 < self.heldout < 1 and 0 <= self.aside < 1):
            raise ConfigError(
                "replica exchange: heldout must lie in (0, 1) and aside in [0, 1), got "
                f"{self.heldout} and {self.aside}"
            )

    @property
    def evaluations(self) -> int:
        """Energies that the rounds spend; where ladders start costs little more."""
        return self.exchange.energy_evaluations


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChainsPlan:
    """Short Langevin chains that check a flow which learned without data.

    As they stand: at 2 fs with hydrogens of 6 dalton, 4 ps to settle, then a frame every 0.1 ps for 4 ps.

    Attributes:
        n: chains.
        left_out: steps at the beginning of each.
        steps: after these.
        stride: steps between frames.
        timestep_ps: ps.
        friction: 1/ps.
        hydrogen_mass: dalton.
    """

    n: int = 48
    left_out: int = 2000
    steps: int = 2000
    stride: int = 50
    timestep_ps: float = 0.002
    friction: float = 5.0
    hydrogen_mass: float = 6.0

    @property
    def evaluations(self) -> int:
        """Energies that the chains spend, with their forces."""
        return self.n * (self.left_out + self.steps + 2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HarmonicPlan:
    """Conformations that the force field's minimum and Hessian suggest (`simulation.harmonic`): no ensemble.

    Attributes:
        n_frames: that coordinates are fitted to.
        chains: that the flow is checked with.
        atoms: of the molecule.
        sha256: of its PDB file; None for a sequence.
    """

    n_frames: int
    chains: ChainsPlan
    atoms: int
    sha256: str | None

    @property
    def evaluations(self) -> int:
        """Energies that frames and chains spend, without the search of each rotatable bond."""
        return harmonic_evaluations(self.n_frames) + self.chains.evaluations
