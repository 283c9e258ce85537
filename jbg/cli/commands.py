"""The commands of ``jbg``: from options to calls of ``jbg.studies`` and the rest of the library.

JAX, OpenMM and the study are imported inside the commands, so that ``jbg --help`` answers at once.
"""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jbg.cli import begin, continued, questions
from jbg.cli.interrupt import interruptible
from jbg.cli.options import (
    DoctorOptions,
    ExportOptions,
    FolderOptions,
    NoOptions,
    PlanOptions,
    RunOptions,
    SampleOptions,
    SharedStageOptions,
    StageOptions,
    composed,
    separated,
)
from jbg.cli.printing import print_cost, print_results, print_rows
from jbg.cli.questions import EvaluateOptions, MeanOptions
from jbg.cli.settings import default_folder


def _load(folder: Path) -> Any:
    """The run folder of a study, whose stages are resumed."""
    from jbg import runs
    from jbg.studies import engine

    run = runs.load_run(folder)
    engine.plan_of(run)
    return run


def _train(options: SharedStageOptions) -> int:
    from jbg.studies import engine

    run = _load(options.dir)
    with interruptible(run):
        engine.train(run, quiet=options.quiet)
    print(f"next: jbg sample {options.dir}")
    return 0


def _sample(options: SampleOptions) -> int:
    from jbg.interfaces import ConfigError
    from jbg.studies import engine

    if options.n < 0:
        raise ConfigError(f"-n must be a positive number of samples, got {options.n}")
    run = _load(options.dir)
    with interruptible(run):
        n = engine.sample(run, n=options.n or None, quiet=options.quiet)
    print(f"{n} samples; next: jbg {engine.after_sampling(run)} {options.dir}")
    return 0


def _correct(options: SharedStageOptions) -> int:
    from jbg.studies import engine

    run = _load(options.dir)
    with interruptible(run):
        engine.correct(run, quiet=options.quiet)
    print(f"next: jbg evaluate {options.dir}")
    return 0


def _evaluate(options: EvaluateOptions) -> int:
    from jbg.studies import engine

    run = _load(options.dir)
    with interruptible(run):
        engine.evaluate(run, questions=questions.of(options), quiet=options.quiet)
    print_results(run)
    print(f"next: jbg report {options.dir}")
    return 0


def _mean(options: MeanOptions) -> int:
    _require_molecules("jbg mean")
    return questions.print_means(_load(options.dir), options)


def _report(options: StageOptions) -> int:
    from jbg import report

    print(report.write_report(_load(options.dir)))
    return 0


def _export(options: ExportOptions) -> int:
    _require_molecules("jbg export")
    from jbg.runs.trajectory import rounding
    from jbg.studies.molecule import export

    run = _load(options.dir)
    done = export.write_trajectory(
        run, options.out, what=options.what, n=options.n, weighted=options.weighted
    )
    print(f"{options.out}: {done.frames} frames, {done.distinct} distinct")
    if done.weights is not None:
        print(f"{done.weights}: their weights")
    if rounding(options.out):
        print(f"note: {rounding(options.out)}", file=sys.stderr)
    return 0


def _md(options: Any) -> int:
    from jbg.studies.molecule import dynamics

    plan = dynamics.make_plan(seed=options.seed, **separated(options))
    if options.dry_run:
        print_rows(dynamics.describe(plan))
        print_cost(dynamics.cost(plan))
        return 0
    run = dynamics.open_run(options.out or default_folder(dynamics.NAME, options), plan)
    print_rows(dynamics.describe(plan, run), to=sys.stderr)
    with interruptible(run):
        dynamics.simulate(run, quiet=options.quiet)
    print(json.dumps(run.read_json(dynamics.RESULTS), indent=2))
    return 0


def _systems(_: NoOptions) -> int:
    from jbg.studies.registry import PRESETS, STUDIES

    for name, entry in STUDIES.items():
        print(f"{name:<20}{entry.about}  [presets: {', '.join(PRESETS)}]")
    return 0


def _energy(options: Any) -> int:
    from jbg.cli.energy import print_energies

    return print_energies(options)


def _doctor(options: DoctorOptions) -> int:
    from jbg.cli import doctor

    return doctor.main(as_json=options.json)


def _require_molecules(what: str) -> None:
    """Raises ConfigError where a package that molecules need is not installed."""
    from jbg.runs.extras import require
    from jbg.studies.registry import MOLECULES

    require(MOLECULES, what)


def _energy_options() -> type:
    _require_molecules("jbg energies")
    from jbg.cli.energy import EnergyOptions

    return EnergyOptions


def _md_options() -> type:
    _require_molecules("jbg md")
    from jbg.studies.molecule.dynamics import MdOptions

    return composed(MdOptions, FolderOptions)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """One subcommand.

    Attributes:
        about: one line.
        handle: its options -> exit status; of a command per system, the system's name comes first.
        options: gives the class of its options; of a command per system, without those of the system.
        per_system: its first argument names the system.
        first: the option that a first argument without a flag is the value of.
    """

    about: str
    handle: Callable[..., int]
    options: Callable[[], type] = lambda: NoOptions
    per_system: bool = False
    first: str = ""


ENERGIES = Command(
    about="energies and forces of a trajectory",
    handle=_energy,
    options=_energy_options,
    first="trajectory",
)

COMMANDS: dict[str, Command] = {
    "run": Command(
        about="simulate, train, sample, evaluate, report",
        handle=begin.run,
        options=lambda: RunOptions,
        per_system=True,
    ),
    "simulate": Command(
        about="first stage: reference data",
        handle=begin.simulate,
        options=lambda: PlanOptions,
        per_system=True,
    ),
    "train": Command(
        about="second stage: train the flow", handle=_train, options=lambda: SharedStageOptions
    ),
    "sample": Command(
        about="third stage: weighted samples", handle=_sample, options=lambda: SampleOptions
    ),
    "correct": Command(
        about="fourth stage: chains where weights do not carry",
        handle=_correct,
        options=lambda: SharedStageOptions,
    ),
    "evaluate": Command(
        about="fifth stage: results.json", handle=_evaluate, options=lambda: EvaluateOptions
    ),
    "report": Command(
        about="last stage: report.html", handle=_report, options=lambda: StageOptions
    ),
    "mean": Command(about="mean of a function", handle=_mean, options=lambda: MeanOptions),
    "continue": Command(
        about="train a finished run further",
        handle=continued.continue_run,
        options=lambda: continued.ContinueOptions,
    ),
    "export": Command(
        about="samples or data of a molecule as a trajectory",
        handle=_export,
        options=lambda: ExportOptions,
    ),
    "md": Command(about="Langevin dynamics of a molecule", handle=_md, options=_md_options),
    "systems": Command(about="list the systems", handle=_systems),
    "energies": ENERGIES,
    "energy": dataclasses.replace(ENERGIES, about="the same as energies"),
    "doctor": Command(
        about="check the installation", handle=_doctor, options=lambda: DoctorOptions
    ),
}
