"""Which corrector a study uses after sampling, and the settings of each."""

import dataclasses
from typing import Literal, get_args

from jbg.interfaces import ConfigError
from jbg.sampling.flow_moves import FlowMoves
from jbg.sampling.latent_ladder import LatentLadder
from jbg.training import Stage

CorrectorChoice = Literal["auto", "none", "moves", "ladder"]
CORRECTORS: tuple[str, ...] = get_args(CorrectorChoice)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorrectionPlan:
    """Which corrector, and the settings of each.

    Attributes:
        corrector: "auto" chooses by the gap, the weights and the expected acceptance (`correction.choose`).
        moves: chains of the target with flow moves.
        ladder: ladders between flow and target.
        cycles: how often the flow learns again from chains before samples are drawn (`relearned`), at most.
        learning: the training of a cycle.

    Raises:
        ConfigError: an unknown corrector, or a number of cycles that is negative.
    """

    corrector: CorrectorChoice
    moves: FlowMoves
    ladder: LatentLadder
    cycles: int
    learning: Stage

    def __post_init__(self):
        if self.corrector not in CORRECTORS:
            *others, last = CORRECTORS
            raise ConfigError(
                f"corrector must be {', '.join(others)} or {last}, got {self.corrector!r}"
            )

        if self.cycles < 0:
            raise ConfigError(f"cycles must be 0 or more, got {self.cycles}")

    @property
    def short(self) -> "CorrectionPlan":
        """The chains of a cycle: a third of the rounds."""

        def third(settings):
            blocks = max(1, settings.n_rounds // 3 // settings.block)
            return dataclasses.replace(settings, n_rounds=blocks * settings.block)

        return dataclasses.replace(self, moves=third(self.moves), ladder=third(self.ladder))

    @property
    def evaluations(self) -> int:
        """Energies of the corrector, at most where it is chosen later."""
        of = {"moves": self.moves.evaluations, "ladder": self.ladder.evaluations, "none": 0}
        return of.get(self.corrector, max(of.values()))
