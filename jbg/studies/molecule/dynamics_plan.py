"""What a user chooses of Langevin dynamics, and the plan that its run folder holds."""

import dataclasses
import math
from typing import Literal, TypedDict

from jbg.interfaces import ConfigError
from jbg.studies.molecule.options import ForceFieldOptions, GivenMolecule

NAME = "md"


class Integrator(TypedDict):
    """Settings of one block, as `simulation.langevin` and `systems.openmm_langevin` name them."""

    temperature: float
    friction: float
    timestep_ps: float
    stride: int
    n_steps: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class MdOptions(ForceFieldOptions, GivenMolecule):
    """Langevin dynamics of many chains of one molecule: trajectory, energies, averages with errors.

    Raises:
        ConfigError: also settings that cannot be run, such as a stride that is no whole number of time steps.
    """

    chains: int = 64
    """Independent ones, from the same start with velocities of their own."""
    ns: float = 0.1
    """Length of each chain after equilibration."""
    equilibrate_ps: float = 10.0
    """Left out at the beginning of each chain."""
    timestep_fs: float = 1.0
    """In fs; nothing is constrained, so that 2 is much."""
    friction: float = 1.0
    """In 1/ps."""
    stride_ps: float = 0.1
    """Between frames."""
    format: Literal["dcd", "trr", "xtc"] = "dcd"
    """Of the trajectory; xtc rounds to 0.001 nm."""

    def __post_init__(self):
        ForceFieldOptions.__post_init__(self)
        for name in ("timestep_fs", "friction", "stride_ps", "ns"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                flag = name.replace("_", "-")
                raise ConfigError(f"{flag} must be a positive number, got {value}")
            object.__setattr__(self, name, float(value))
        if self.chains < 1:
            raise ConfigError(f"chains must be at least 1, got {self.chains}")
        # each is checked where it is computed
        _ = self.stride, self.n_frames, self.n_left_out
        GivenMolecule.__post_init__(self)

    @property
    def stride(self) -> int:
        """Steps between frames."""
        return _whole("stride-ps", 1000 * self.stride_ps, "timestep-fs", self.timestep_fs, least=1)

    @property
    def n_frames(self) -> int:
        """Of each chain."""
        return _whole("ns", 1000 * self.ns, "stride-ps", self.stride_ps, least=1)

    @property
    def n_left_out(self) -> int:
        """Frames at the beginning of each chain."""
        return _whole("equilibrate-ps", self.equilibrate_ps, "stride-ps", self.stride_ps, least=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MdPlan:
    """Every number of a run of Langevin dynamics. ``config.json`` holds it (`codec`).

    Attributes:
        study: always NAME; tells such a folder from those of the studies.
        seed: root of all random numbers.
        options: what the user chose.
        block: frames that are simulated between two looks at the chains; the last block may run over the end.
        atoms: of the molecule.
        sha256: of its PDB file; None for a sequence.
    """

    study: Literal["md"]
    seed: int
    options: MdOptions
    block: int
    atoms: int
    sha256: str | None

    @property
    def n_blocks(self) -> int:
        """All are of one length, which compiles once."""
        return -(-(self.options.n_left_out + self.options.n_frames) // self.block)

    def integrator(self) -> Integrator:
        """Settings of one block."""
        return {
            "temperature": self.options.temperature,
            "friction": self.options.friction,
            "timestep_ps": self.options.timestep_fs / 1000,
            "stride": self.options.stride,
            "n_steps": self.block * self.options.stride,
        }


def _whole(name: str, value: float, of: str, unit: float, *, least: int) -> int:
    """``value / unit``, which has to be a whole number; both in the same unit of time."""
    n = round(value / unit) if math.isfinite(value) else -1
    if n < least or abs(value / unit - n) > 1e-6 * max(1, n):
        raise ConfigError(
            f"{name} must be a whole number of times {of}, at least {least}, got {value / unit:g} times"
        )
    return n
