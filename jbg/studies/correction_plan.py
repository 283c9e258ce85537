"""Which corrector a study uses after sampling, and the settings of each."""

import dataclasses
from typing import Literal, get_args

from jbg.interfaces import ConfigError
from jbg.sampling.flow_moves import FlowMoves
from jbg.sampling.latent_ladder import LatentLadder

CorrectorChoice = Literal["auto", "none", "moves", "ladder"]
CORRECTORS: tuple[str, ...] = get_args(CorrectorChoice)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorrectionPlan:
    """Which corrector, and the settings of each.

    Attributes:
        corrector: "auto" chooses by the gap, the weights and the expected acceptance (`correction.choose`).
        moves: chains of the target with flow moves.
        ladder: ladders between flow and target.

    Raises:
        ConfigError: an unknown corrector.
    """

    corrector: CorrectorChoice
    moves: FlowMoves
    ladder: LatentLadder

    def __post_init__(self):
        if self.corrector not in CORRECTORS:
            *others, last = CORRECTORS
            raise ConfigError(
                f"corrector must be {', '.join(others)} or {last}, got {self.corrector!r}"
            )

    @property
    def evaluations(self) -> int:
        """Energies of the corrector, at most where it is chosen later."""
        of = {"moves": self.moves.evaluations, "ladder": self.ladder.evaluations, "none": 0}
        return of.get(self.corrector, max(of.values()))
