"""The commands of ``jbg``: from options to calls of ``jbg.studies`` and the rest of the library.

JAX, OpenMM and the study are imported inside the commands, so that ``jbg --help`` answers at once.
"""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jbg.cli import questions
from jbg.cli.interrupt import interruptible
from jbg.cli.options import (
    DoctorOptions,
    ExportOptions,
    FolderOptions,
    NoOptions,
    RunOptions,
    SampleOptions,
    SharedStageOptions,
    StageOptions,
    composed,
    separated,
)
from jbg.cli.questions import EvaluateOptions, MeanOptions


def _begin(name: str, options: RunOptions) -> Any:
    """The run folder for ``options``, or None after a dry run."""
    from jbg.studies import engine

    given = separated(options)
    plan = engine.make_plan(name, preset=options.preset, seed=options.seed, **given)
    questions.check(plan, options)
    if options.dry_run:
        _print_rows(engine.describe(plan))
        _print_cost(engine.cost(plan))
        return None
    run = engine.open_run(options.out or Path("runs") / name, plan)
    questions.keep(run, options)
    _print_rows(engine.describe(plan, run), to=sys.stderr)
    return run


def _run(name: str, options: RunOptions) -> int:
    from jbg.studies import engine

    run = _begin(name, options)
    if run is not None:
        with interruptible(run):
            engine.run_all(run, quiet=options.quiet)
        _print_results(run)
    return 0


def _simulate(name: str, options: RunOptions) -> int:
    from jbg.studies import engine

    run = _begin(name, options)
    if run is not None:
        with interruptible(run):
            engine.simulate(run, quiet=options.quiet)
        print(f"next: jbg train {run.path}")
    return 0


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
    _print_results(run)
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
    from jbg.studies.molecule import export

    run = _load(options.dir)
    done = export.write_trajectory(run, options.out, what=options.what, n=options.n)
    print(f"{options.out}: {done.frames} frames, {done.distinct} distinct")
    return 0


def _md(options: Any) -> int:
    from jbg.studies.molecule import dynamics

    plan = dynamics.make_plan(seed=options.seed, **separated(options))
    if options.dry_run:
        _print_rows(dynamics.describe(plan))
        _print_cost(dynamics.cost(plan))
        return 0
    run = dynamics.open_run(options.out or Path("runs") / dynamics.NAME, plan)
    _print_rows(dynamics.describe(plan, run), to=sys.stderr)
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


def _print_results(run: Any) -> None:
    """Print the main numbers in a few lines."""
    results = run.read_json("results.json")
    print(
        f"ESS fraction {_number(results.get('ess_fraction'))} of {results.get('n_samples')} samples"
    )
    gap = results.get("gap") or {}
    if gap.get("value") is not None:
        print(f"gap to the simulation {gap['value']:.2f} +- {gap['stderr']:.2f} nats")
    elif gap:
        print(f"gap to the simulation not given: {gap['reason']}")
    entries = results.get("free_energy_differences", [])
    several = len({entry.get("tau") for entry in entries}) > 1
    for entry in entries:
        to, of = entry["states"][::-1][:2]
        at = f" at tau {entry['tau']:g}" if several else ""
        if entry.get("value") is None:
            figure = f"not given: {entry.get('reason')}"
        else:
            figure = questions.free_energy_text(entry)
        print(f"F({to}) - F({of}){at} = {figure}{questions.reference_text(entry)}")
    questions.print_answers(results)
    for warning in results.get("warnings", []):
        print(f"warning: {warning}")
    report = run.path / "report.html"
    if report.exists() and report.stat().st_mtime >= (run.path / "results.json").stat().st_mtime:
        print(f"report: {report}")


def _print_rows(rows: list[tuple[str, str]], to: Any = None) -> None:
    """Print what will be simulated; to standard error where results go to standard output."""
    for what, which in rows:
        print(f"{what}: {which}", file=to)


def _print_cost(cost: dict[str, Any]) -> None:
    for what, value in cost.items():
        print(f"{what.replace('_', ' ')}: {_number(value)}")


def _number(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ")
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _require_molecules(what: str) -> None:
    """Raises ConfigError where a package that molecules need is not installed."""
    from jbg.runs.extras import require
    from jbg.studies.registry import MOLECULES

    require(MOLECULES, what)


def _energy_options() -> type:
    _require_molecules("jbg energy")
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
        options: gives the class of its options.
        per_system: its first argument names the system, and so the options.
    """

    about: str
    handle: Callable[..., int]
    options: Callable[[], type] = lambda: NoOptions
    per_system: bool = False


COMMANDS: dict[str, Command] = {
    "run": Command(about="simulate, train, sample, evaluate, report", handle=_run, per_system=True),
    "simulate": Command(about="first stage: reference data", handle=_simulate, per_system=True),
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
    "export": Command(
        about="samples or data of a molecule as a trajectory",
        handle=_export,
        options=lambda: ExportOptions,
    ),
    "md": Command(about="Langevin dynamics of a molecule", handle=_md, options=_md_options),
    "systems": Command(about="list the systems", handle=_systems),
    "energy": Command(about="energies of configurations", handle=_energy, options=_energy_options),
    "doctor": Command(
        about="check the installation", handle=_doctor, options=lambda: DoctorOptions
    ),
}
