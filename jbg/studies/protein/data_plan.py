"""Settings of a protein's data: dynamics of all atoms, alone or followed by a ladder of chains on a slice."""

import dataclasses

from jbg.coords import CoordinateSet
from jbg.interfaces import ConfigError
from jbg.simulation.hmc_ladder import HmcLadder
from jbg.studies.molecule.dynamics_plan import MdPlan


@dataclasses.dataclass(frozen=True, kw_only=True)
class DynamicsPlan:
    """Chains of all atoms, which coordinates are fitted to.

    Attributes:
        dynamics: Langevin dynamics of all atoms.
        whiten: variables on the line are whitened given the circular ones, else standardised.
        watched: share of the chains that monitor the training.
        aside: share of the chains that neither training nor its choice of parameters sees.
        within: largest backbone RMSD in nm of the target; 0 for any.
        variables: number of kept coordinates.
        atoms: number of atoms.
        sha256: digest of the PDB file; None for a sequence.
    """

    dynamics: MdPlan
    whiten: bool
    watched: float
    aside: float
    within: float
    variables: int
    atoms: int
    sha256: str | None

    def __post_init__(self):
        if not (0 < self.watched < 1 and 0 < self.aside < 1 and self.watched + self.aside < 1):
            raise ConfigError(
                "protein: watched and aside must be shares in (0, 1) that leave chains to learn from, got "
                f"{self.watched} and {self.aside}"
            )
        _check_chains("dynamics", self.dynamics.options.chains)

    @property
    def evaluations(self) -> int:
        options, md = self.dynamics.options, self.dynamics
        return options.chains * md.n_blocks * md.block * options.stride

    @property
    def frames(self) -> int:
        return self.dynamics.options.chains * self.dynamics.options.n_frames

    def roles(self, n: int) -> tuple[int, int]:
        """How many of n chains watch, and how many are set aside; at least one and two."""
        return max(1, round(n * self.watched)), max(2, round(n * self.aside))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixedPlan(DynamicsPlan):
    """Dynamics alone: frames of all atoms are the data of mixed coordinates, which keep all of them.

    Attributes:
        components: number of principal components of the Cartesian atoms.
    """

    components: int

    def __post_init__(self):
        super().__post_init__()
        chains = self.dynamics.options.chains
        learnt = (chains - sum(self.roles(chains))) * self.dynamics.options.n_frames
        if learnt <= self.components:
            raise ConfigError(
                f"protein: {learnt} frames to learn from cannot give the variances of {self.components} "
                "components of the Cartesian atoms: simulate longer, or more chains"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlicePlan(DynamicsPlan):
    """Dynamics, then chains on the slice of reduced coordinates, whose frames are the data.

    Attributes:
        coordinates: what is kept.
        ladder: chains on the slice; as of the dynamics, a share of them watches and another is set aside.
    """

    coordinates: CoordinateSet
    ladder: HmcLadder

    def __post_init__(self):
        super().__post_init__()
        _check_chains("ladder", self.ladder.n_ladders)

    @property
    def evaluations(self) -> int:
        return super().evaluations + self.ladder.evaluations

    @property
    def frames(self) -> int:
        return self.ladder.n_ladders * (self.ladder.n_rounds // self.ladder.stride)


def _check_chains(name: str, n: int) -> None:
    if n < 4:
        raise ConfigError(
            f"protein: {name} needs 4 chains or more, to learn from, watch and set aside, got {n}"
        )
