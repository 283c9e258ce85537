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
    """Relative temperatures to sample and report at, 1 among them."""
    dimer: str = "tilted"
    """The dimer's term: tilted (the published runs), default, printed or hsu-fobe."""
    wall: float = 200.0
    """Force constant of the walls."""

    def __post_init__(self):
        super().__post_init__()
        lj_dimer(
            dimer=self.dimer, wall=self.wall, relax=False
        )  # raises for an unknown term or wall

    def system(self) -> System:
        """One object for equal options, so that what is compiled for it serves again."""
        return _system(self.dimer, self.wall)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExploredDimerOptions(DimerOptions):
    """The same dimer from one closed configuration, without umbrella sampling."""

    taus: tuple[float, ...] = (1.0,)
    """Relative temperatures to sample and report at, 1 among them."""


@functools.cache
def _system(dimer: str, wall: float) -> System:
    return lj_dimer(dimer=dimer, wall=wall)
