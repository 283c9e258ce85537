"""Options of a molecule's study that say where its training data come from."""

import dataclasses
from pathlib import Path
from typing import Literal, get_args

from jbg.interfaces import ConfigError

DataChoice = Literal["simulated", "none"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Where training data come from.

    Raises:
        ConfigError: an unknown choice, or weights and a topology of no files.
    """

    data: DataChoice | tuple[Path, ...] = "simulated"
    """Training data: simulated (by replica exchange), none (energies alone; for a few residues), or trajectory
    files of yours, one for each chain (any format that mdtraj reads)."""
    topology: Path | None = None
    """Topology of --data FILE where the files hold more than the molecule, such as solvent, in an order of
    theirs."""
    weights: tuple[Path, ...] = ()
    """Weights of the frames of --data FILE, of a biased simulation: .npy, or a table with the bias in kJ/mol in a
    column such as metad.bias (COLVAR of PLUMED). One file for each trajectory, or one for all."""

    def __post_init__(self):
        for name in ("data", "weights"):
            given = getattr(self, name)
            if name == "data" and given in get_args(DataChoice):
                continue
            given = (given,) if isinstance(given, str | Path) else tuple(given)
            object.__setattr__(self, name, tuple(Path(path).absolute() for path in given))
        if self.topology is not None:
            object.__setattr__(self, "topology", Path(self.topology).absolute())
        words = [path.name for path in self.trajectories if not path.suffix]
        if words or not self.data:
            got = repr(words[0]) if words else "nothing"
            raise ConfigError(f"data must be simulated, none or trajectory files, got {got}")
        if not self.trajectories and (self.weights or self.topology):
            what = "weights" if self.weights else "topology"
            raise ConfigError(
                f"{what}: those of your own frames, which --data FILE names; data is {self.data}"
            )
        if len(self.weights) not in (0, 1, len(self.trajectories)):
            raise ConfigError(
                f"weights: {len(self.weights)} files for {len(self.trajectories)} trajectories: give one for "
                "each, or one for all"
            )

    @property
    def trajectories(self) -> tuple[Path, ...]:
        """The trajectories of the user; empty where data are something else."""
        return self.data if isinstance(self.data, tuple) else ()
