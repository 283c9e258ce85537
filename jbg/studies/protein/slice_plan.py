"""Settings of a protein's data: dynamics of all atoms, and a ladder of chains on the slice."""

import dataclasses

from jbg.coords import CoordinateSet
from jbg.interfaces import ConfigError
from jbg.simulation.hmc_ladder import HmcLadder
from jbg.studies.molecule.dynamics_plan import MdPlan


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlicePlan:
    """Chains of all atoms, which the coordinates are fitted to, then chains on the slice.

    Attributes:
        dynamics: Langevin dynamics of all atoms.
        coordinates: what is kept.
        whiten: variables on the line are whitened given the circular ones, else standardised.
        ladder: chains on the slice.
        watched: share of the chains, of either kind, that monitor the training.
        aside: share of the chains that neither training nor its choice of parameters sees.
        within: largest backbone RMSD in nm of the target; 0 for any.
        variables: number of kept coordinates.
        atoms: number of atoms.
        sha256: digest of the PDB file; None for a sequence.
    """

    dynamics: MdPlan
    coordinates: CoordinateSet
    whiten: bool
    ladder: HmcLadder
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
        for name, n in (
            ("dynamics", self.dynamics.options.chains),
            ("ladder", self.ladder.n_ladders),
        ):
            if n < 4:
                raise ConfigError(
                    f"protein: {name} needs 4 chains or more, to learn from, watch and set aside, got {n}"
                )

    @property
    def evaluations(self) -> int:
        options, md = self.dynamics.options, self.dynamics
        return options.chains * md.n_blocks * md.block * options.stride + self.ladder.evaluations

    @property
    def frames(self) -> int:
        return self.ladder.n_ladders * (self.ladder.n_rounds // self.ladder.stride)

    def roles(self, n: int) -> tuple[int, int]:
        """How many of n chains watch, and how many are set aside; at least one and two."""
        return max(1, round(n * self.watched)), max(2, round(n * self.aside))
