"""The plan of a study whose data are trajectories of the user."""

import dataclasses
import hashlib
from pathlib import Path

from jbg.interfaces import ConfigError
from jbg.simulation.restored_frames import most_sweeps
from jbg.studies.molecule.data_options import DataOptions
from jbg.studies.molecule.stored import Built
from jbg.studies.molecule.trajectory_reading import lengths_of

MOST_FRAMES = 200_000  # that are used; more teach a flow nothing


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrajectoryPlan:
    """Frames of the user, which the options name.

    Attributes:
        lengths: number of frames of each file.
        stride: every so many of them are used.
        balance: least share of the training data that a state gets (`balance`); 0 for as they are.
        atoms: number of atoms of the molecule.
        sha256: digest of its PDB file; None for a sequence.
        digests: SHA-256 of every file of the user: trajectories, topology, weights.
    """

    lengths: tuple[int, ...]
    stride: int
    balance: float
    atoms: int
    sha256: str | None
    digests: tuple[str, ...]

    @property
    def frames(self) -> int:
        return sum(-(-n // self.stride) for n in self.lengths)

    @property
    def evaluations(self) -> int:
        """Upper bound: what restoring takes, where a file rounds or a simulation held bonds rigid."""
        return self.frames * (1 + most_sweeps(self.atoms))


def trajectory_plan(
    options: DataOptions, molecule: Built, *, balance: float, sha256: str | None
) -> TrajectoryPlan:
    """The plan of the files that the options name.

    Args:
        options: names them.
        molecule: whose frames they hold.
        balance, sha256: as of the plan.

    Raises:
        ConfigError: missing or unreadable, or without the molecule among its atoms.
    """
    named = [
        *options.trajectories,
        *([options.topology] if options.topology else []),
        *options.weights,
    ]
    for path in named:
        if not path.is_file():
            raise ConfigError(f"{path}: no such file")
    lengths = lengths_of(molecule, options.trajectories, options.topology)
    return TrajectoryPlan(
        lengths=lengths,
        stride=-(-sum(lengths) // MOST_FRAMES),
        balance=balance,
        atoms=molecule.topology.n_atoms,
        sha256=sha256,
        digests=tuple(_digest(path) for path in named),
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
