"""Options of a molecule: which one, its force field, and how a study learns it."""

import dataclasses
import math
from typing import Any, ClassVar, Literal, get_args

from jbg.interfaces import ConfigError
from jbg.studies.correction_plan import CorrectorChoice
from jbg.studies.molecule.data_options import DataOptions
from jbg.systems.given_molecule import ForceFieldFiles, GivenMolecule

TEMPERATURES = (1.0, 10_000.0)  # K; beyond, time steps and force fields mean nothing
MAX_CYCLES = 20
EnergyChoice = Literal["jax", "openmm"]
Recipe = Literal["own-samples", "transport", "bootstrap", "annealed-kl", "chains"]
RECIPES: tuple[str, ...] = get_args(Recipe)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForceFieldOptions(ForceFieldFiles):
    """The physics of a molecule.

    Raises:
        ConfigError: a temperature that is not positive, or unknown ``energies``.
    """

    temperature: float = 300.0
    """Temperature in K."""
    energies: EnergyChoice = "jax"
    """Implementation of the energies: jax (force field compiled to JAX) or openmm (OpenMM on the host)."""

    def __post_init__(self):
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ConfigError(
                f"temperature must be a positive number of kelvin, got {self.temperature}"
            )
        low, high = TEMPERATURES
        if not low <= self.temperature <= high:
            raise ConfigError(
                f"temperature must lie between {low:g} and {high:g} K, got {self.temperature}"
            )
        _check_choice("energies", self.energies, EnergyChoice)
        object.__setattr__(self, "temperature", float(self.temperature))
        object.__setattr__(self, "forcefield", tuple(self.forcefield))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MolecularOptions(DataOptions, ForceFieldOptions):
    """How a study learns a molecule.

    Raises:
        ConfigError: also unknown ``data`` or ``recipe``, or a recipe with other data than none.
    """

    recipe: Recipe = "own-samples"
    """Recipe for --data none; transport: CMT, bootstrap: FAB, annealed-kl: from 4 T, chains: see --relearn."""
    corrector: CorrectorChoice = "auto"
    """After sampling: none (weights), moves (chains with flow moves), ladder (flow to target), auto (by gap)."""

    relearn: int = 0
    """Cycles of chains by the corrector and learning from them, at most; 0 is 3 with --recipe chains."""

    def __post_init__(self):
        ForceFieldOptions.__post_init__(self)
        DataOptions.__post_init__(self)
        _check_choice("corrector", self.corrector, CorrectorChoice)
        if not 0 <= self.relearn <= MAX_CYCLES:
            raise ConfigError(f"relearn must lie between 0 and {MAX_CYCLES}, got {self.relearn}")
        _check_choice("recipe", self.recipe, Recipe)
        if self.data != "none" and self.recipe != RECIPES[0]:
            raise ConfigError(
                f"recipe {self.recipe} learns from energies alone: give data none (--data none)"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MoleculeOptions(MolecularOptions, GivenMolecule):
    """Any small molecule or peptide, from its files or its sequence."""

    def __post_init__(self):
        MolecularOptions.__post_init__(self)
        GivenMolecule.__post_init__(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlanineOptions(MolecularOptions):
    """ACE-ALA-NME, built from its sequence, in implicit solvent, no constraints."""

    sequence: ClassVar[str] = "ACE-ALA-NME"

    @property
    def given(self) -> GivenMolecule:
        """The molecule."""
        return GivenMolecule(sequence=self.sequence, forcefield=self.forcefield)


def _check_choice(name: str, value: str, choices: Any) -> None:
    if value not in get_args(choices):
        *others, last = get_args(choices)
        raise ConfigError(f"{name} must be {', '.join(others)} or {last}, got {value!r}")
