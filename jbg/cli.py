"""The command line ``jbg``: reads options, calls ``jbg.study``, turns errors into one line.

Statuses: 0 done, 1 a run cannot go on, 2 something given is wrong, 130 interrupted. JAX, OpenMM
and the study are imported inside the commands, so that ``jbg --help`` answers at once.
"""

import contextlib
import dataclasses
import difflib
import errno
import importlib.metadata
import io
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tyro

from jbg import cli_help
from jbg.options import (
    SYSTEMS,
    DoctorOptions,
    EnergyOptions,
    ExportOptions,
    MdOptions,
    NoOptions,
    RunOptions,
    SampleOptions,
    StageOptions,
)

INTERRUPTED = "interrupted; the same command goes on from the last checkpoint"


def _begin(name: str, options: RunOptions) -> Any:
    """The run folder for ``options``, or None after a dry run."""
    from jbg import presets, runs, study

    _require_known("preset", options.preset, presets.PRESETS)
    given = {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(options)
        if field.name not in {f.name for f in dataclasses.fields(RunOptions)}
    }
    config = study.make_config(name, preset=options.preset, seed=options.seed, **given)
    if options.dry_run:
        _print_cost(study.cost(config))
        return None
    return runs.open_run(options.out or Path("runs") / name, config)


@contextlib.contextmanager
def _interruptible(run: Any) -> Iterator[None]:
    """Inside, Ctrl-C saves the wall time and ends the process at once.

    An exception raised wherever the signal falls may fall into a callback of JAX, where it is lost
    or crashes the interpreter. All that a run writes is made to survive a kill.
    """

    def leave(*_: Any) -> None:
        try:
            run.touch()
        finally:
            show_cursor = "\n\x1b[?25h" if sys.stderr.isatty() else ""
            os.write(2, f"{show_cursor}{INTERRUPTED}\n".encode())
            os._exit(130)

    previous = signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _run(name: str, options: RunOptions) -> int:
    from jbg import study

    run = _begin(name, options)
    if run is not None:
        with _interruptible(run):
            study.run_all(run, quiet=options.quiet)
        _print_results(run)
    return 0


def _simulate(name: str, options: RunOptions) -> int:
    from jbg import study

    run = _begin(name, options)
    if run is not None:
        with _interruptible(run):
            study.simulate(run, quiet=options.quiet)
        print(f"next: jbg train {run.path}")
    return 0


def _load(folder: Path) -> Any:
    """The run folder of a study, in which stages go on."""
    from jbg import runs
    from jbg.interfaces import ConfigError

    run = runs.load_run(folder)
    if run.config.get("system") == "md":
        raise ConfigError(f"{folder} is of `jbg md` and has no stages: all it gives is in there")
    return run


def _train(options: StageOptions) -> int:
    from jbg import study

    run = _load(options.dir)
    with _interruptible(run):
        study.train(run, quiet=options.quiet)
    print(f"next: jbg sample {options.dir}")
    return 0


def _sample(options: SampleOptions) -> int:
    from jbg import study
    from jbg.interfaces import ConfigError

    if options.n < 0:
        raise ConfigError(f"-n must be a positive number of samples, got {options.n}")
    run = _load(options.dir)
    with _interruptible(run):
        study.sample(run, n=options.n or None, quiet=options.quiet)
    print(f"next: jbg evaluate {options.dir}")
    return 0


def _evaluate(options: StageOptions) -> int:
    from jbg import study

    run = _load(options.dir)
    with _interruptible(run):
        study.evaluate(run)
    _print_results(run)
    print(f"next: jbg report {options.dir}")
    return 0


def _report(options: StageOptions) -> int:
    from jbg import report

    print(report.write_report(_load(options.dir)))
    return 0


def _export(options: ExportOptions) -> int:
    from jbg import export

    run = _load(options.dir)
    done = export.write_trajectory(run, options.out, what=options.what, n=options.n)
    print(f"{options.out}: {done.frames} frames, {done.distinct} distinct")
    return 0


def _md(options: MdOptions) -> int:
    from jbg import dynamics, runs

    given = dataclasses.asdict(options)
    out, dry_run, quiet = (given.pop(name) for name in ("out", "dry_run", "quiet"))
    config = dynamics.make_config(**given)
    if dry_run:
        _print_cost(dynamics.cost(config))
        return 0
    run = runs.open_run(out, config)
    with _interruptible(run):
        dynamics.simulate(run, quiet=quiet)
    print(json.dumps(run.read_json(dynamics.RESULTS), indent=2))
    return 0


def _systems(_: NoOptions) -> int:
    from jbg import study

    for name, description, presets in study.list_systems():
        print(f"{name:<20}{description}  [presets: {', '.join(presets)}]")
    return 0


def _energy(options: EnergyOptions) -> int:
    from jbg.systems import openmm_energies

    found = openmm_energies.evaluate(
        options.pdb,
        forcefield=options.forcefield,
        trajectory=options.trajectory,
        backend=options.backend,
    )
    print(json.dumps(found, indent=2))
    return 0


def _doctor(options: DoctorOptions) -> int:
    from jbg import doctor

    return doctor.main(as_json=options.json)


def _print_results(run: Any) -> None:
    """The numbers a user came for, in a few lines."""
    results = run.read_json("results.json")
    print(
        f"ESS fraction {_number(results.get('ess_fraction'))} of {results.get('n_samples')} samples"
    )
    entries = results.get("free_energy_differences", [])
    several = len({entry.get("tau") for entry in entries}) > 1
    for entry in entries:
        to, of = entry["states"][::-1][:2]
        at = f" at tau {entry['tau']:g}" if several else ""
        value, stderr = entry.get("value"), entry.get("stderr")
        if value is None:
            figure = f"not given: {entry.get('reason')}"
        else:
            figure = f"{value:.3f} +- {stderr:.3f} kT"
        known = entry.get("reference")
        against = "" if known is None else f"  (reference {known:.3f})"
        print(f"F({to}) - F({of}){at} = {figure}{against}")
    if (run.path / "report.html").exists():
        print(f"report: {run.path / 'report.html'}")


def _print_cost(cost: dict[str, Any]) -> None:
    for what, value in cost.items():
        print(f"{what.replace('_', ' ')}: {_number(value)}")


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """One subcommand; ``per_system``: its first argument names the system, and so the options."""

    about: str
    handle: Callable[..., int]
    options: type | None = None
    per_system: bool = False


COMMANDS: dict[str, Command] = {
    "run": Command(about="simulate, train, sample, evaluate, report", handle=_run, per_system=True),
    "simulate": Command(about="first stage: reference data", handle=_simulate, per_system=True),
    "train": Command(about="second stage: train the flow", handle=_train, options=StageOptions),
    "sample": Command(about="third stage: weighted samples", handle=_sample, options=SampleOptions),
    "evaluate": Command(about="fourth stage: results.json", handle=_evaluate, options=StageOptions),
    "report": Command(about="last stage: report.html", handle=_report, options=StageOptions),
    "export": Command(
        about="samples or data of a molecule as a trajectory",
        handle=_export,
        options=ExportOptions,
    ),
    "md": Command(about="Langevin dynamics of a molecule", handle=_md, options=MdOptions),
    "systems": Command(about="list the systems", handle=_systems, options=NoOptions),
    "energy": Command(about="energies of configurations", handle=_energy, options=EnergyOptions),
    "doctor": Command(about="check the installation", handle=_doctor, options=DoctorOptions),
}


class UsageError(Exception):
    """The command line itself cannot be read; one line, status 2."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _set_environment()
    try:
        return _dispatch(arguments)
    except UsageError as error:
        return _fail(str(error), 2)
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return _fail("disk full: free space and run the same command again", 1)
    except (ValueError, RuntimeError) as error:
        from jbg.interfaces import ConfigError, RunError

        if isinstance(error, ConfigError):
            return _fail(str(error), 2)
        if isinstance(error, RunError):
            return _fail(str(error), 1)
        raise


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(cli_help.overview(COMMANDS))
        return 0
    if arguments[0] == "--version":
        print(f"jbg {importlib.metadata.version('jbg')}")
        return 0
    name, rest = arguments[0], arguments[1:]
    _require_known("command", name, COMMANDS)
    command = COMMANDS[name]
    if not command.per_system:
        options = _parse(command.options, rest, f"jbg {name}")
        return 0 if options is None else command.handle(options)
    if not rest or rest[0] in ("-h", "--help"):
        print(cli_help.of_command(name, command))
        return 0 if rest else 2
    system = rest[0]
    _require_known("system", system, SYSTEMS)
    options = _parse(SYSTEMS[system], rest[1:], f"jbg {name} {system}")
    return 0 if options is None else command.handle(system, options)


def _parse(kind: type, arguments: list[str], program: str) -> Any:
    """The options that ``arguments`` spell, None after printing help.

    tyro explains errors in a box on the error stream; its message is kept, in one line.
    """
    flags = {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(kind)} | {"--help"}
    for argument in arguments:
        if argument.startswith("--"):
            _require_known("option", argument.partition("=")[0].replace("_", "-"), flags)
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(kind, args=arguments, prog=program)
    except SystemExit as stop:
        if not stop.code:
            return None
        raise UsageError(f"{_one_line(box.getvalue())} (see {program} --help)") from None


def _one_line(box: str) -> str:
    """The message of a tyro error box: its lines up to the first rule, without the frame."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    lines = [line.strip("│ ") for line in plain.splitlines() if line.startswith("│")]
    rules = [i for i, line in enumerate(lines) if line.startswith("──")]
    return " ".join(lines[: rules[0]] if rules else lines) or plain.strip()


def _require_known(what: str, name: str, known: Iterable[str]) -> None:
    """Raises UsageError, with the nearest name, when ``name`` is not among ``known``."""
    known = sorted(known)
    if name in known:
        return
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]}?" if nearest else f"known: {', '.join(known)}"
    raise UsageError(f"unknown {what} {name!r}: {hint}")


def _set_environment() -> None:
    """What must stand in the environment before JAX starts its backend.

    A host callback beside a collective deadlocks unless XLA has more threads than (fake) devices;
    XLA takes their number from NPROC.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    forced = re.search(r"host_platform_device_count=(\d+)", os.environ.get("XLA_FLAGS", ""))
    if forced:
        os.environ.setdefault("NPROC", str(max(2 * int(forced[1]), os.cpu_count() or 1)))
    if not logging.getLogger("jbg").handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("jbg: %(levelname)s: %(message)s"))
        logging.getLogger("jbg").addHandler(handler)


def _fail(message: str, status: int) -> int:
    print(f"jbg: error: {' '.join(message.split())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
