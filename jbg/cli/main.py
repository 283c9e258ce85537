"""The command line ``jbg``: reads options, calls a command (``jbg.cli.commands``), turns errors into one line.

Exit statuses: 0 done, 1 a run cannot continue, 2 an input is wrong, 130 interrupted.
"""

import contextlib
import dataclasses
import difflib
import importlib.metadata
import io
import logging
import os
import re
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import tyro

from jbg.cli import help as cli_help
from jbg.cli.commands import COMMANDS
from jbg.cli.compiled import keep_compiled
from jbg.cli.interrupt import leaving
from jbg.cli.options import SharedOptions, composed
from jbg.cli.questions import options_beside
from jbg.cli.settings import expanded
from jbg.processes import WORKER
from jbg.studies import registry
from jbg.studies.registry import PRESETS, STUDIES

# of JAX; the numbers of a run must not depend on them
FIXED_BY_RUNS = ("JAX_ENABLE_X64", "JAX_DEFAULT_PRNG_IMPL", "JAX_THREEFRY_PARTITIONABLE")


class UsageError(Exception):
    """The command line itself cannot be read; one line, status 2."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _set_environment()
    status = _status(arguments)
    if WORKER in os.environ:
        from jbg.processes import worker

        worker.leave(status)
    return status


def _status(arguments: list[str]) -> int:
    """Runs a command; what went wrong is said in one line."""
    try:
        with leaving():
            status = _dispatch(arguments)
        sys.stdout.flush()  # here, where a closed pipe can be answered
        return status
    except UsageError as error:
        return _fail(str(error), 2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # outside of a run, which says how to go on
        return 130
    except BrokenPipeError:
        return _leave_pipe()
    except Exception as error:
        from jbg.cli.errors import explain

        explained = explain(error)
        if WORKER in os.environ:
            from jbg.processes import worker

            worker.settle()
            if explained is None:
                traceback.print_exc()
                return 1
        if explained is None:
            raise
        return _fail(*explained)


def _leave_pipe() -> int:
    """Whoever read our output reads no more: nothing is left to say, not even at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE


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
    if command.first and rest and not rest[0].startswith("-"):
        rest = [f"--{command.first}", *rest]
    if not command.per_system:
        options = _parse(command.options(), rest, f"jbg {name}")
        return 0 if options is None else _shared(options, lambda: command.handle(options))
    if not rest or rest[0] in ("-h", "--help"):
        print(cli_help.of_command(name, command))
        return 0 if rest else 2
    system = rest[0]
    _require_system(name, system)
    study = registry.study(system)
    kind = composed(study.options, *options_beside(system, command.options()))
    given = expanded(study, rest[1:])
    options = _parse(kind, given, f"jbg {name} {system}", STUDIES[system].about)
    if options is None:
        return 0
    _require_known("preset", options.preset, PRESETS)
    return _shared(options, lambda: command.handle(system, options))


def _shared(options: Any, handle: Callable[[], int]) -> int:
    """The command on the devices asked for, alone or with other processes."""
    if not isinstance(options, SharedOptions) or getattr(options, "dry_run", False):
        return handle()
    from jbg.processes.share import share

    return share(
        handle,
        devices=options.devices,
        coordinator=options.coordinator,
        processes=options.processes,
        process=options.process,
    )


def _parse(kind: type, arguments: list[str], program: str, about: str | None = None) -> Any:
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
            return tyro.cli(kind, args=arguments, prog=program, description=about)
    except SystemExit as stop:
        if not stop.code:
            return None
        message = _one_line(box.getvalue()).removeprefix(f"Error parsing {kind.__name__}: ")
        raise UsageError(f"{message} (see {program} --help)") from None


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


def _require_system(command: str, name: str) -> None:
    """Raises UsageError, with what was likely meant, when ``name`` is not a system."""
    if name.startswith("-"):
        raise UsageError(f"the system comes first, then its options: jbg {command} NAME {name} ...")
    if name.lower().endswith(".pdb"):
        raise UsageError(
            f"a molecule of your own: jbg {command} molecule --pdb {shlex.quote(name)}"
        )
    _require_known("system", name, STUDIES)


def _set_environment() -> None:
    """What must stand in the environment before JAX starts its backend.

    A host callback beside a collective deadlocks unless XLA has more threads than (fake) devices;
    XLA takes their number from NPROC.
    """
    if "jax" not in sys.modules:
        keep_compiled(os.environ)
    os.environ["MPLBACKEND"] = "Agg"  # figures go to files
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # names that the locale has no letters for
            stream.reconfigure(errors="backslashreplace")
    forced = re.search(r"host_platform_device_count=(\d+)", os.environ.get("XLA_FLAGS", ""))
    if forced:
        os.environ.setdefault("NPROC", str(max(2 * int(forced[1]), os.cpu_count() or 1)))
    if not logging.getLogger("jbg").handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("jbg: %(levelname)s: %(message)s"))
        logging.getLogger("jbg").addHandler(handler)
        # some library that is imported gives the root logger a handler too
        logging.getLogger("jbg").propagate = False
    for name in FIXED_BY_RUNS:
        if name in os.environ and "jax" not in sys.modules:
            value = os.environ.pop(name)
            logging.getLogger("jbg").warning("%s=%s is ignored: it changes numbers", name, value)


def _fail(message: str, status: int) -> int:
    print(f"jbg: error: {' '.join(message.split())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
