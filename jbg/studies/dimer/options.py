"""Options of the dimer's studies."""

import dataclasses
import functools

from jbg.interfaces import System
from jbg.studies.model_options import ModelOptions
from jbg.systems import lj_dimer


@dataclasses.dataclass(frozen=True, kw_only=True)
class DimerOptions(ModelOptions):
    """A bistable dimer in a dense bath of soft discs, in kT."""

    taus: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Relative temperatures T / T_ref for sampling and reporting; must include 1. Training is at 1."""
    dimer: str = "tilted"
    """Energy of the dimer bond: tilted (the published runs), default, printed or hsu-fobe."""
    wall: float = 200.0
    """Force constant of the walls, in kT per unit of length squared."""

    def __post_init__(self):
        super().__post_init__()
        # validates both
        lj_dimer(dimer=self.dimer, wall=self.wall, relax=False)

    def system(self) -> System:
        """One object for equal options, so that compiled functions are reused."""
        return _system(self.dimer, self.wall)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExploredDimerOptions(DimerOptions):
    """The same dimer from one closed configuration, without umbrella sampling."""

    taus: tuple[float, ...] = (1.0,)
    """Relative temperatures T / T_ref for sampling and reporting; must include 1."""


@functools.cache
def _system(dimer: str, wall: float) -> System:
    return lj_dimer(dimer=dimer, wall=wall)
