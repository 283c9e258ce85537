"""Options of commands: frozen dataclasses that tyro turns into flags and help. Those of a study are its own."""

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


def _count(text: str) -> int:
    """A whole number, as 100000 or 1e5."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value.is_integer():
        raise ValueError(f"not a whole number: {text!r}")
    return int(value)


Count = Annotated[
    int,
    tyro.conf.arg(aliases=["-n"]),
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda given: _count(given[0]),
        is_instance=lambda value: isinstance(value, int),
        str_from_instance=lambda value: [str(value)],
    ),
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FolderOptions:
    """Options of every command that makes a run folder."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Run folder; default runs/NAME. An unfinished run there is resumed."""
    seed: int = 0
    """Root of all random numbers."""
    dry_run: Flag = False
    """Print what the run would cost, and stop."""
    quiet: Flag = False
    """No progress bars."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions(FolderOptions):
    """Options of every study."""

    preset: str = "quick"
    """quick (minutes) or full (may take hours)."""


def composed(options: type, with_those_of: type[FolderOptions]) -> type:
    """The options of a study and those of its command, as one class of flags."""
    both = type(options.__name__, (options, with_those_of), {"__doc__": options.__doc__})
    return dataclasses.dataclass(frozen=True, kw_only=True)(both)


def separated(given: FolderOptions) -> dict[str, Any]:
    """What the study's own options are, of an instance of a class that `composed` made."""
    shared = {field.name for field in dataclasses.fields(RunOptions)}
    names = (field.name for field in dataclasses.fields(given))
    return {name: getattr(given, name) for name in names if name not in shared}


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageOptions:
    """Resumes a run folder."""

    dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    """Run folder."""
    quiet: Flag = False
    """No progress bars."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleOptions(StageOptions):
    """Draws weighted samples from the trained flow and streams them to disk."""

    n: Count = 0
    """Number of samples, as 1000000 or 1e6; 0 for the preset's."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Writes configurations of a molecule's run as a trajectory; data/molecule.pdb in DIR is its topology."""

    dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    """Run folder."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """What to write: .dcd, .xtc, .trr, .gro or .pdb."""
    what: Literal["samples", "data"] = "samples"
    """samples: generated, drawn by weight, so that frames need none; data: simulated."""
    n: Count = 1000
    """Number of frames."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """Checks the installation; status 1 when something is broken."""

    json: Flag = False
    """Print JSON instead of a table."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoOptions:
    """Lists the systems and their presets."""
