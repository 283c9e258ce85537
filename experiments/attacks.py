"""What damaged, foreign and hostile run folders do: the same numbers, or one clear line.

    python experiments/attacks.py --out attacks.json [--cases N]

A tiny double well and a tiny molecule, with and without simulated data, are run to their end. Then every file of
their folders is taken away, emptied, cut, flipped in one bit, replaced by garbage, by JSON of other types, by
values of other settings, by the same file of another run or by a link out of the folder, and the commands that go
on are called. Each outcome is

    same     status 0, and every number is as in the unbroken run
    clear    one line "jbg: error: ...", status 1 or 2
    traceback, unclear, other number, outside (a file written out of the folder): failures

The numbers are those in results.json, apart from wall times, and the samples, after the command and `evaluate`; of
an export the trajectory.
The table and all failures are written as JSON; the status is 1 if there are any.
"""

import argparse
import contextlib
import hashlib
import io
import json
import logging
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests import environment  # noqa: E402

os.environ.update(environment.settings())

import numpy as np  # noqa: E402

from experiments.attack_kinds import (  # noqa: E402
    array_attacks,
    bytes_attacks,
    json_attacks,
    link_out,
    swap,
)
from jbg.cli.main import main as jbg  # noqa: E402
from jbg.studies import engine  # noqa: E402
from tests import tiny  # noqa: E402

COMMANDS = {  # on a folder that is done
    "train": ("train",),
    "sample more": ("sample", "-n", "3000"),
    "evaluate": ("evaluate",),
    "report": ("report",),
    "export": ("export", "--out", "{out}"),
}
RUNS = {
    "double-well": lambda seed: tiny.double_well(steps=20, seed=seed),
    "molecule": lambda seed: tiny.molecule("alanine-dipeptide", steps=20, seed=seed, data="none"),
    "simulated": lambda seed: tiny.molecule("alanine-dipeptide", steps=20, seed=seed),
}
CHECKPOINT = "checkpoints/"


class Case(NamedTuple):
    """One attack: on which run, which file, how, and the command that meets it."""

    run: str
    file: str
    how: str
    command: str
    attack: Callable[[Path], None]


class Outcome(NamedTuple):
    """What came of it, and what was said."""

    kind: str
    said: str


def build(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """The runs that are attacked, and one beside each that foreign files are taken from."""
    made = {}
    for name in names:
        for beside, seed in (("", 1), (" other", 2)):
            made[name + beside] = folder / f"{name}-{seed}"
            run = engine.open_run(made[name + beside], RUNS[name](seed))
            engine.run_all(run, quiet=True)
            print(f"{name}{beside}: made", file=sys.stderr)
    return made


def numbers(folder: Path) -> dict[str, Any]:
    """All that may not change without a word; None where there is none."""
    found: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        results = json.loads((folder / "results.json").read_text())
        for times in ("wall_seconds", "worth"):
            results.pop(times, None)
        found["results"] = results
    for name in ("positions", "log_q", "reduced_energy"):
        with contextlib.suppress(OSError, ValueError, EOFError):
            array = np.load(folder / "samples" / "tau-1" / f"{name}.npy", mmap_mode="r")
            found[name] = hashlib.sha256(np.ascontiguousarray(array[:2000])).hexdigest()
    return found


def unbroken(made: dict[str, Path]) -> dict[tuple[str, str], dict[str, Any]]:
    """The numbers after each command on folders that are as they were."""
    nothing = lambda path: None
    found = {}
    for run in RUNS.keys() & made.keys():
        for command in COMMANDS:
            if command == "export" and run == "double-well":
                continue
            kept: dict[str, Any] = {}
            outcome = attempt(Case(run, "", "nothing", command, nothing), made, None, kept)
            if outcome.kind != "same":
                raise RuntimeError(f"{run}, {command}: {outcome}")
            found[run, command] = kept
    return found


def cases(made: dict[str, Path], rng: random.Random) -> Iterator[Case]:
    """All of them; each with one of the commands that may meet it, in turn."""
    for run in (name for name in RUNS if name in made):
        folder, other = made[run], made[f"{run} other"]
        files = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
        turn = 0
        for file in files:
            if file.parts[0] == "figures" or file.suffix == ".html" or file.name == ".lock":
                continue
            attacks = list(bytes_attacks(rng))
            if file.suffix == ".json" and file.parts[0] != "checkpoints":
                content = json.loads((folder / file).read_text())
                attacks += [
                    (how, lambda path, text=text: path.write_text(text))
                    for how, text in json_attacks(content)
                ]
            attacks += array_attacks(folder / file)
            if (other / file).is_file():
                foreign = other / file
                attacks.append(
                    ("of another run", lambda path, foreign=foreign: shutil.copy(foreign, path))
                )
            attacks.append(("a link out", link_out))
            for how, attack in attacks:
                turn += 1
                of = [c for c in COMMANDS if c != "export" or run != "double-well"]
                where = lambda path, file=file, attack=attack: attack(path / file)
                yield Case(run, str(file), how, of[turn % len(of)], where)
        for name in ("samples", "checkpoints", "data", "stages"):
            for command in ("train", "sample more", "evaluate", "report"):
                yield Case(run, name, "folder of another run", command, swap(name, other))
                yield Case(
                    run, name, "folder missing", command, lambda p, n=name: shutil.rmtree(p / n)
                )
        yield from _of_checkpoints(run, folder)


def _of_checkpoints(run: str, folder: Path) -> Iterator[Case]:
    steps = sorted(
        (p for p in (folder / "checkpoints").iterdir() if p.name.isdigit()),
        key=lambda p: int(p.name),
    )
    last = steps[-1].name
    for command in ("train", "sample more", "evaluate"):
        lose = lambda p: shutil.rmtree(p / CHECKPOINT / last)
        longer = lambda p: (p / CHECKPOINT / last).rename(p / CHECKPOINT / "1000")
        earlier = lambda p: shutil.copytree(
            p / CHECKPOINT / steps[0].name, p / CHECKPOINT / last, dirs_exist_ok=True
        )
        yield Case(run, CHECKPOINT, "last lost", command, lose)
        yield Case(run, CHECKPOINT, "last renamed", command, longer)
        yield Case(run, CHECKPOINT, "earlier one in place of the last", command, earlier)


def attempt(
    case: Case,
    made: dict[str, Path],
    expected: dict[str, Any] | None,
    kept: dict[str, Any] | None = None,
) -> Outcome:
    """Runs a case in a copy of its folder; the numbers at the end, put into ``kept``, must be as expected."""
    with tempfile.TemporaryDirectory() as scratch:
        top = Path(scratch)
        folder = top / "attacked" / "run"
        shutil.copytree(made[case.run], folder)
        try:
            case.attack(folder)
        except OSError as error:  # the attack itself does not work here
            return Outcome("not tried", str(error))
        before = _files(top)
        first, *rest = COMMANDS[case.command]
        rest = [word.format(out=top / "attacked" / "a.pdb") for word in rest]
        status, said = call([first, str(folder), *rest])
        outside = _files(top) - before
        if outside:
            return Outcome("outside", f"{sorted(map(str, outside))} {said}")
        if said.startswith("Traceback"):
            return Outcome("traceback", said[-2000:])
        if status in (1, 2):
            clear = said.startswith("jbg: error: ") and said.count("\n") == 1
            return Outcome("clear" if clear else "unclear", said)
        if status != 0:
            return Outcome("unclear", f"status {status}: {said}")
        if first in ("train", "sample"):
            status, said = call(["evaluate", str(folder)])
            if said.startswith("Traceback"):
                return Outcome("traceback", said[-2000:])
            if status:
                return Outcome("clear" if said.startswith("jbg: error: ") else "unclear", said)
        found = numbers(folder)
        if first == "report":  # it reads no samples, and leaves them as the attack did
            found = {name: found[name] for name in found if name == "results"}
        if first == "export":  # it reads no results, likewise
            found.pop("results", None)
            written = (top / "attacked" / "a.pdb").read_bytes()
            found["trajectory"] = hashlib.sha256(written).hexdigest()
        if kept is not None:
            kept |= found
        wrong = [name for name in expected or {} if name in found and found[name] != expected[name]]
        return Outcome("other number" if wrong else "same", f"{wrong} {said}")


def _files(top: Path) -> set[Path]:
    """Files beside the attacked folder, with their content's digest in the name: what may not change."""
    return {
        Path(str(p) + hashlib.sha256(p.read_bytes()).hexdigest())
        for p in top.rglob("*")
        if p.is_file() and not p.is_symlink() and "attacked" not in p.parts
    }


def call(arguments: list[str]) -> tuple[int, str]:
    """(status, what was said on the error stream, or the traceback) of a command, in this process."""
    out, err = io.StringIO(), io.StringIO()
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = jbg(arguments)
    except BaseException:  # noqa: BLE001  what the attack provokes is the result
        return -1, traceback.format_exc()
    finally:
        logging.disable(logging.NOTSET)
    lines = [
        line for line in err.getvalue().splitlines() if line.startswith(("jbg: error", "Traceback"))
    ]
    return status, "".join(f"{line}\n" for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the table, as JSON")
    parser.add_argument(
        "--cases", type=int, default=0, help="so many of them, drawn at random; 0 for all"
    )
    parser.add_argument("--runs", nargs="+", choices=list(RUNS), default=list(RUNS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, start = random.Random(options.seed), time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        made = build(Path(scratch), options.runs)
        expected = unbroken(made)
        chosen = list(cases(made, rng))
        if 0 < options.cases < len(chosen):
            chosen = rng.sample(chosen, options.cases)
        counts, failures, by_command = Counter(), [], {}
        for i, case in enumerate(chosen):
            outcome = attempt(case, made, expected[case.run, case.command])
            counts[outcome.kind] += 1
            by_command.setdefault(case.command, Counter())[outcome.kind] += 1
            if outcome.kind not in ("same", "clear", "not tried"):
                failures.append({**case._asdict(), **outcome._asdict(), "attack": None})
                print(f"{case[:4]}: {outcome.kind}: {outcome.said[:300]}", file=sys.stderr)
            if i % 50 == 49:
                print(f"{i + 1}/{len(chosen)}: {dict(counts)}", file=sys.stderr)
    table = {
        "cases": len(chosen),
        "seed": options.seed,
        "seconds": round(time.monotonic() - start, 1),
        "outcomes": dict(counts),
        "by_command": {name: dict(found) for name, found in by_command.items()},
        "failures": failures,
    }
    options.out.write_text(json.dumps(table, indent=2) + "\n")
    print(json.dumps({k: v for k, v in table.items() if k != "failures"}, indent=2))
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
