"""Options of commands: frozen dataclasses that tyro turns into flags and help. Studies define theirs."""

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
    """Options of every command that creates a run folder."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Run folder; default runs/NAME, after the molecule. An unfinished run in it is resumed."""
    seed: int = 0
    """Seed of all random numbers."""
    dry_run: Flag = False
    """Print the cost of the run without running it."""
    quiet: Flag = False
    """No progress bars."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SharedOptions:
    """Options of every command that several devices and processes can share."""

    devices: int | None = None
    """Number of devices of this process; default all. A CPU is split into as many."""
    coordinator: Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT")] = None
    """Address of process 0, where several processes share the run. SLURM and Open MPI tell it."""
    processes: int | None = None
    """Number of processes. SLURM and Open MPI tell it."""
    process: int | None = None
    """Number of this process, from 0. SLURM and Open MPI tell it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrackOptions:
    """Options of every command that trains from the beginning to the end."""

    track: Literal["wandb", "mlflow", "tensorboard"] | None = None
    """Experiment tracker that metrics go to beside metrics.jsonl; needs its package."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SettingOptions:
    """Options of every command that takes settings by their name."""

    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Settings as in config.json of a run, all or some of them; flags have precedence."""
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE")] = ()
    """Single settings by their place in config.json, such as stages.1.steps=10000."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanOptions(SettingOptions, FolderOptions, SharedOptions):
    """Options of every command that begins a study."""

    preset: Annotated[str, tyro.conf.arg(metavar="{quick,full}")] = "quick"
    """Size of the run: quick (minutes) or full (up to hours)."""


Many = tyro.conf.UseAppendAction[tuple[str, ...]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuestionOptions:
    """What to evaluate of a molecule beside the states of the study."""

    state: Annotated[Many, tyro.conf.arg(metavar="'NAME: DEFINITION'")] = ()
    """State, such as 'alpha: torsion phi2 in -120..-30'; several times for several (docs/states.md)."""
    cv: Annotated[Many, tyro.conf.arg(metavar="'NAME: QUANTITY'")] = ()
    """Collective variable, such as 'psi: torsion psi2', for a profile; two with a comma between for a map."""
    temperatures: tuple[float, ...] = ()
    """Temperatures in K to reweight the samples to: free energies, energies, entropies, heat capacities."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions(PlanOptions, TrackOptions):
    """Options of `jbg run`."""

    seeds: Annotated[tuple[str, ...], tyro.conf.arg(metavar="SEED|N..M")] = ()
    """Several seeds, as 0..4 or 0 1 7: a run for each in DIR/seed-N, then a table of how they scatter."""


def composed(options: type, *with_those_of: type) -> type:
    """The options of a study and those of its command, as one class of flags."""
    both = type(options.__name__, (options, *with_those_of), {"__doc__": options.__doc__})
    return dataclasses.dataclass(frozen=True, kw_only=True)(both)


def separated(given: FolderOptions) -> dict[str, Any]:
    """The study's options, from an instance of a class that `composed` made."""
    beside = (RunOptions, QuestionOptions)
    # the most that there are
    shared = {field.name for kind in beside for field in dataclasses.fields(kind)}
    names = (field.name for field in dataclasses.fields(given))
    return {name: getattr(given, name) for name in names if name not in shared}


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageOptions:
    """Resume a run folder."""

    dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    """Run folder."""
    quiet: Flag = False
    """No progress bars."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SharedStageOptions(StageOptions, SharedOptions):
    """Resume a run folder."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleOptions(SharedStageOptions):
    """Draw weighted samples from the trained flow and stream them to disk."""

    n: Count = 0
    """Number of samples, such as 1000000 or 1e6; 0 means that of the preset."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Write configurations of a molecule's run as a trajectory; its topology is data/molecule.pdb in DIR."""

    dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    """Run folder."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """Output file; its suffix is the format: .dcd, .nc, .h5, .trr, .xtc (rounds to 0.001 nm), .gro or .pdb."""
    what: Literal["samples", "data"] = "samples"
    """Configurations: generated ones resampled by weight (samples), or simulated ones (data)."""
    n: Count = 1000
    """Number of frames."""
    weighted: Flag = False
    """Samples as generated, with their weights beside them in FILE.weights.npy, in place of resampled ones."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """Check the installation; exit status 1 if something is broken."""

    json: Flag = False
    """Print JSON instead of a table."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoOptions:
    """List the systems and their presets."""
