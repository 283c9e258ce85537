"""Settings of a molecule's data: replica exchange, or frames that no simulation made."""

import dataclasses

from jbg.interfaces import ConfigError
from jbg.simulation.harmonic import harmonic_evaluations
from jbg.simulation.replica_exchange_config import HYDROGEN_MASS, ReplicaExchangeConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExchangePlan:
    """Frames of replica exchange, at its lowest temperature.

    Attributes:
        exchange: settings of the replica exchange.
        heldout: fraction of the ladders that monitor the training.
        aside: fraction of the ladders that are set aside for estimates.
        balance: least share of the training data that a state gets (`balance`); 0 for as simulated.
        hydrogen_mass: mass of hydrogens in the simulation, dalton.
        atoms: number of atoms of the molecule.
        sha256: digest of its PDB file; None for a sequence.
    """

    exchange: ReplicaExchangeConfig
    heldout: float
    aside: float
    balance: float
    hydrogen_mass: float
    atoms: int
    sha256: str | None

    def __post_init__(self):
        if not 0 <= self.balance <= 0.5:
            raise ConfigError(f"replica exchange: balance must lie in [0, 0.5], got {self.balance}")
        if not (0 < self.heldout < 1 and 0 <= self.aside < 1):
            raise ConfigError(
                "replica exchange: heldout must lie in (0, 1) and aside in [0, 1), got "
                f"{self.heldout} and {self.aside}"
            )

    @property
    def evaluations(self) -> int:
        """Energies of all rounds; finding the starts of the ladders costs little more."""
        return self.exchange.energy_evaluations

    @property
    def frames(self) -> int:
        """Frames of all ladders at the lowest temperature."""
        return self.exchange.n_ladders * (self.exchange.n_rounds // self.exchange.record_every)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChainsPlan:
    """Short Langevin chains that check a flow trained without data.

    By default: 2 fs with hydrogens of 6 dalton, 4 ps of equilibration, then a frame every 0.1 ps for 4 ps.

    Attributes:
        n: number of chains.
        left_out: steps discarded at the beginning of each.
        steps: steps after these.
        stride: steps between frames.
        timestep_ps: time step, ps.
        friction: friction, 1/ps.
        hydrogen_mass: mass of hydrogens, dalton.
    """

    n: int = 48
    left_out: int = 2000
    steps: int = 2000
    stride: int = 50
    timestep_ps: float = 0.002
    friction: float = 5.0
    hydrogen_mass: float = HYDROGEN_MASS

    @property
    def evaluations(self) -> int:
        """Energies of the chains, with forces."""
        return self.n * (self.left_out + self.steps + 2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HarmonicPlan:
    """Conformations that the force field's minimum and Hessian suggest (`simulation.harmonic`): no ensemble.

    Attributes:
        n_frames: number of conformations that coordinates are fitted to.
        chains: settings of the chains that check the flow.
        atoms: number of atoms of the molecule.
        sha256: digest of its PDB file; None for a sequence.
    """

    n_frames: int
    chains: ChainsPlan
    atoms: int
    sha256: str | None

    @property
    def evaluations(self) -> int:
        """Energies of frames and chains, without the scan of each rotatable bond."""
        return harmonic_evaluations(self.n_frames) + self.chains.evaluations

    @property
    def frames(self) -> int:
        """Harmonic ones and those of the chains."""
        return self.n_frames + self.chains.n * (self.chains.steps // self.chains.stride)
