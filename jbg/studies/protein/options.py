"""Options of a protein's study: which molecule, which coordinates, and how its flow learns them."""

import dataclasses
import math
from pathlib import Path
from typing import Any, Literal, get_args

from jbg.interfaces import ConfigError
from jbg.studies.molecule.options import ForceFieldOptions
from jbg.studies.protein.mixed_stages import MixedStrategy
from jbg.studies.protein.stages import Strategy
from jbg.systems.given_molecule import GivenMolecule

CoordinateChoice = Literal["kim", "heavy", "mixed"]
LearnChoice = Literal["slice", "dynamics"]
NetworkChoice = Literal["mlp", "attention", "realnvp"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProteinOptions(ForceFieldOptions, GivenMolecule):
    """A protein near the structure given, in reduced internal coordinates or with all of its atoms.

    Raises:
        ConfigError: also unknown choices or such as do not go together, a temperature of the ladder that is not
            above that of the target, or a negative radius.
    """

    coordinates: CoordinateChoice = "kim"
    """Coordinates: kim (backbone angles, torsions of single bonds), heavy (other heavy-atom angles too) or mixed
    (all atoms: components of the backbone, internal coordinates of the rest)."""
    learn: LearnChoice | None = None
    """Data of the flow: slice (Boltzmann density with the rest fixed; default) or dynamics (MD frames, rebuilt;
    with mixed coordinates nothing is fixed, and the frames are taken as they are)."""
    starts: Path | None = None
    """Frames that the dynamics start from in turn, minimised (any mdtraj format); else the structure given."""
    network: NetworkChoice = "mlp"
    """Networks of the flow: mlp (fast on a CPU), attention (gated attention, split backbone and side chains), or
    realnvp (of Noe et al. 2019; mixed coordinates)."""
    strategy: Strategy | None = None
    """Losses: nll, nll-kl, nll-w2, all (the four stages of Kim et al. 2023), by-energy, or own-samples (default);
    with mixed coordinates nll, by-energy (default) or own-samples."""
    within: float = 0.2
    """Largest backbone RMSD in nm from the structure given that belongs to the target; 0 for any."""
    hottest: float = 600.0
    """Highest temperature in K of the ladder of simulations on the slice."""
    anneal: int = 10_000
    """Particles annealed from the flow to the target; 0 for none."""

    def __post_init__(self):
        ForceFieldOptions.__post_init__(self)
        GivenMolecule.__post_init__(self)
        choices = {
            "coordinates": CoordinateChoice,
            "learn": LearnChoice,
            "network": NetworkChoice,
            "strategy": Strategy,
        }
        for name, hint in choices.items():
            if (value := getattr(self, name)) is not None:
                _check_choice(name, value, hint)
        if self.coordinates == "mixed":
            self._check_mixed()
        elif self.network == "realnvp":
            raise ConfigError(
                "network: realnvp makes angles on the line, of which reduced coordinates have many: choose "
                "--network mlp, or --coordinates mixed"
            )
        if self.starts is not None:
            object.__setattr__(self, "starts", Path(self.starts).absolute())
        if not (math.isfinite(self.within) and self.within >= 0):
            raise ConfigError(f"within must be a radius of 0 nm or more, got {self.within}")
        if not (math.isfinite(self.hottest) and self.hottest > self.temperature):
            raise ConfigError(
                f"hottest must be above the temperature of {self.temperature:g} K, got {self.hottest}"
            )
        if self.anneal < 0:
            raise ConfigError(f"anneal must be a number of particles >= 0, got {self.anneal}")
        for name in ("within", "hottest"):
            object.__setattr__(self, name, float(getattr(self, name)))

    @property
    def learnt(self) -> LearnChoice:
        """``learn``, or what the coordinates suggest."""
        if self.learn is not None:
            return self.learn
        return "dynamics" if self.coordinates == "mixed" else "slice"

    @property
    def losses(self) -> Strategy:
        """``strategy``, or what the coordinates suggest."""
        if self.strategy is not None:
            return self.strategy
        return "by-energy" if self.coordinates == "mixed" else "own-samples"

    def _check_mixed(self) -> None:
        if self.learn == "slice":
            raise ConfigError(
                "learn: mixed coordinates fix nothing and have no slice: leave --learn out, or choose "
                "--coordinates kim or heavy"
            )
        _check_choice("strategy, with mixed coordinates,", self.losses, MixedStrategy)
        if self.network == "attention":
            raise ConfigError(
                "network: attention needs reduced coordinates, which belong to one residue each: choose --network "
                "mlp, or --coordinates kim or heavy"
            )


def _check_choice(name: str, value: str, hint: Any) -> None:
    *others, last = get_args(hint)
    if value not in (*others, last):
        raise ConfigError(f"{name} must be {', '.join(others)} or {last}, got {value!r}")
