"""Options of Langevin dynamics, and the plan that its run folder holds."""

import dataclasses
import math
from pathlib import Path
from typing import Literal

from jbg.interfaces import ConfigError
from jbg.studies.molecule.options import ForceFieldOptions
from jbg.systems.given_molecule import GivenMolecule
from jbg.systems.langevin_config import LangevinConfig

NAME = "md"


@dataclasses.dataclass(frozen=True, kw_only=True)
class MdOptions(ForceFieldOptions, GivenMolecule):
    """Langevin dynamics of many chains of one molecule: trajectory, energies, averages with errors.

    Raises:
        ConfigError: also invalid settings, such as a stride that is not a whole number of time steps.
    """

    chains: int = 64
    """Number of independent chains, with different velocities."""
    starts: Path | None = None
    """Frames that chains start from in turn, minimised (any mdtraj format); else all from the structure given."""
    ns: float = 0.1
    """Length of each chain in ns, without equilibration."""
    equilibrate_ps: float = 10.0
    """Equilibration in ps, discarded at the beginning of each chain."""
    timestep_fs: float = 1.0
    """Time step in fs. Bonds are unconstrained: 2 fs is already large, 4 fs with heavy hydrogens."""
    hydrogen_mass: float = 0.0
    """Mass of hydrogens in dalton; 0: as in the force field. Averages over configurations do not depend on it, and
    with 6 dalton steps may be twice as long."""
    friction: float = 1.0
    """Friction in 1/ps."""
    stride_ps: float = 0.1
    """Time between frames in ps."""
    format: Literal["dcd", "trr", "xtc"] = "dcd"
    """Format of the trajectory; xtc rounds to 0.001 nm."""

    def __post_init__(self):
        ForceFieldOptions.__post_init__(self)
        for name in ("timestep_fs", "friction", "stride_ps", "ns"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                flag = name.replace("_", "-")
                raise ConfigError(f"{flag} must be a positive number, got {value}")
            object.__setattr__(self, name, float(value))
        if not (
            math.isfinite(self.hydrogen_mass)
            and (self.hydrogen_mass == 0 or self.hydrogen_mass >= 1)
        ):
            raise ConfigError(
                f"hydrogen-mass must be 1 dalton or more, or 0 for the force field's, got {self.hydrogen_mass}"
            )
        object.__setattr__(self, "hydrogen_mass", float(self.hydrogen_mass))
        if self.chains < 1:
            raise ConfigError(f"chains must be at least 1, got {self.chains}")
        # each is checked where it is computed
        _ = self.stride, self.n_frames, self.n_left_out
        GivenMolecule.__post_init__(self)
        if self.starts is not None:
            object.__setattr__(self, "starts", Path(self.starts).absolute())

    @property
    def stride(self) -> int:
        """Steps between frames."""
        return _whole("stride-ps", 1000 * self.stride_ps, "timestep-fs", self.timestep_fs, least=1)

    @property
    def n_frames(self) -> int:
        """Frames of each chain."""
        return _whole("ns", 1000 * self.ns, "stride-ps", self.stride_ps, least=1)

    @property
    def n_left_out(self) -> int:
        """Frames discarded at the beginning of each chain."""
        return _whole("equilibrate-ps", self.equilibrate_ps, "stride-ps", self.stride_ps, least=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MdPlan:
    """Every number of a run of Langevin dynamics. ``config.json`` holds it (`codec`).

    Attributes:
        study: always NAME; tells such a folder from those of the studies.
        seed: seed of all random numbers.
        options: choices of the user.
        block: frames that are simulated between two checks of the chains; the last block may run past the end.
        atoms: number of atoms of the molecule.
        sha256: of its PDB file; None for a sequence.
        starts_sha256: of the file of starts; None without.
    """

    study: Literal["md"]
    seed: int
    options: MdOptions
    block: int
    atoms: int
    sha256: str | None
    starts_sha256: str | None

    @property
    def n_blocks(self) -> int:
        """Number of blocks; all have the same length, so that one program is compiled."""
        return -(-(self.options.n_left_out + self.options.n_frames) // self.block)

    @property
    def integrator(self) -> LangevinConfig:
        """Settings of one block."""
        return LangevinConfig(
            n_steps=self.block * self.options.stride,
            stride=self.options.stride,
            timestep_ps=self.options.timestep_fs / 1000,
            friction=self.options.friction,
        )


def _whole(name: str, value: float, of: str, unit: float, *, least: int) -> int:
    """``value / unit``, which has to be a whole number; both in the same unit of time."""
    n = round(value / unit) if math.isfinite(value) else -1
    if n < least or abs(value / unit - n) > 1e-6 * max(1, n):
        raise ConfigError(
            f"{name} must be a whole number of times {of}, at least {least}, got {value / unit:g} times"
        )
    return n
