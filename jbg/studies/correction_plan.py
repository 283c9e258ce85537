"""Which corrector a study uses after sampling, and the settings of each."""

import dataclasses
from typing import Literal, get_args

from jbg.interfaces import ConfigError
from jbg.sampling.flow_moves import FlowMoves
from jbg.sampling.latent_ladder import LatentLadder
from jbg.training import Stage, evaluations

CorrectorChoice = Literal["auto", "none", "moves", "ladder"]
PILOT = 20_000  # samples that a cycle of learning starts from
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
        balance: least share of a state in what a cycle learns, where nothing was simulated (`balance`); 0 for as
            in the chains.
        rough: the flow that cycles start from knows next to nothing, so that all but the last of them also learn
            from chains that have not mixed, the first from flow moves.

    Raises:
        ConfigError: an unknown corrector, or a number of cycles that is negative.
    """

    corrector: CorrectorChoice
    moves: FlowMoves
    ladder: LatentLadder
    cycles: int
    learning: Stage
    balance: float
    rough: bool = False

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
        return 0 if self.corrector == "none" else self.chain_evaluations(self.corrector)

    def chain_evaluations(self, corrector: str) -> int:
        """Energies of chains by one of the correctors, or the most of both where it is neither."""
        of = {"moves": self.moves.evaluations, "ladder": self.ladder.evaluations}
        return of.get(corrector, max(of.values()))

    def cycle_evaluations(self, corrector: str, batch: int) -> int:
        """Energies of a cycle with its pilot and its training, by chains as of `chain_evaluations`; ``batch``: of
        samples that watch the training."""
        learning = evaluations((self.learning,), batch)
        return PILOT + self.short.chain_evaluations(corrector) + learning
