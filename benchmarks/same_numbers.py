"""Do two versions of jbg give the same numbers? Runs a few studies with fixed seeds, and compares what they left.

    python -m benchmarks.same_numbers record OUT [NAME ...]
    python -m benchmarks.same_numbers compare BEFORE AFTER [--tolerance 0]

``record`` makes a run folder for each study: double-well and mueller-brown as they are, the dimer and molecules
with the sizes of the tests. Record with each version on the same machine, with the same jax. ``compare`` reads
results.json (times apart), metrics.jsonl and evaluation.npz of each, prints one line a study, and exits with 1
where a number differs by more than the tolerance (relative).
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

TIMES = ("wall_seconds", "worth")
WORDS = ("definition", "warnings", "restriction", "molecule")  # prose, which may be put better


def plans() -> dict[str, Any]:
    """name -> what makes the plan of a study."""
    from jbg.studies.engine import make_plan
    from tests import tiny

    without = lambda recipe: lambda: tiny.molecule("alanine-dipeptide", data="none", recipe=recipe)
    return {
        "double-well": lambda: make_plan("double-well"),
        "mueller-brown": lambda: make_plan("mueller-brown"),
        "tiny-double-well-taus": lambda: tiny.double_well(taus=(0.5, 1.0), w_rc=1.0),
        "tiny-lj-dimer": tiny.lj_dimer,
        "tiny-lj-dimer-explored": tiny.explored_dimer,
        "tiny-alanine-dipeptide": lambda: tiny.molecule("alanine-dipeptide"),
        "tiny-alanine-openmm": lambda: tiny.molecule("alanine-dipeptide", energies="openmm"),
        "tiny-alanine-none": without("own-samples"),
        "tiny-alanine-transport": without("transport"),
        "tiny-alanine-bootstrap": without("bootstrap"),
        "tiny-alanine-annealed": without("annealed-kl"),
        "tiny-gly": lambda: tiny.molecule("molecule", sequence="ACE-ALA-ALA-NME"),
    }


def record(out: Path, names: list[str]) -> None:
    from jbg.studies import engine

    known = plans()
    for name in names or known:
        run = engine.open_run(out / name, known[name]())
        engine.run_all(run, quiet=True)
        print(f"{name}: {run.wall_seconds('train'):.0f} s of training", flush=True)


def numbers(value: Any, where: str = "") -> Iterator[tuple[str, float | str]]:
    """(place, value) of every leaf of JSON values."""
    if isinstance(value, dict):
        for name, entry in value.items():
            if name not in WORDS:
                yield from numbers(entry, f"{where}.{name}")
    elif isinstance(value, list):
        for i, entry in enumerate(value):
            yield from numbers(entry, f"{where}[{i}]")
    else:
        yield where, value


def leaves(folder: Path) -> dict[str, Any]:
    """Every number of a run folder by its place."""
    results = json.loads((folder / "results.json").read_text())
    found = dict(numbers({k: v for k, v in results.items() if k not in TIMES}, "results"))
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    found |= dict(numbers([json.loads(line) for line in lines], "metrics"))
    with np.load(folder / "evaluation.npz") as arrays:
        found |= {f"arrays.{name}": arrays[name] for name in arrays}
    return found


def difference(a: Any, b: Any) -> float:
    """The largest relative difference; infinite where they are not alike at all."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.dtype.kind == "f":
        if a.shape != b.shape or not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return math.inf
        fine = np.isfinite(a)
        return float(np.max(_relative(a[fine], b[fine]), initial=0.0))
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return 0.0 if np.array_equal(a, b) else math.inf
    if isinstance(a, float) and isinstance(b, float | int):
        return float(_relative(np.float64(a), np.float64(b)))
    return 0.0 if a == b else math.inf


def _relative(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    scale = np.maximum(np.maximum(np.abs(a), np.abs(b)), 1e-30)
    return np.abs(a.astype(float) - b) / scale


def compare(before: Path, after: Path, tolerance: float) -> bool:
    """Prints a line for each study that both hold; True where all agree."""
    names = sorted(p.name for p in before.iterdir() if (after / p.name / "results.json").exists())
    fine = bool(names)
    for name in names:
        a, b = leaves(before / name), leaves(after / name)
        places = sorted(a.keys() | b.keys())
        apart = {p: difference(a.get(p), b.get(p)) for p in places}
        wrong = [p for p, d in apart.items() if d > tolerance]
        largest = max(apart.values(), default=0.0)
        print(f"{name}: {len(places)} numbers and arrays, largest difference {largest:.2g}")
        for place in wrong[:5]:
            print(f"  {place}: {a.get(place)} -> {b.get(place)}")
        fine = fine and not wrong
    return fine


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("record")
    one.add_argument("out", type=Path)
    one.add_argument("names", nargs="*")
    two = commands.add_parser("compare")
    two.add_argument("before", type=Path)
    two.add_argument("after", type=Path)
    two.add_argument("--tolerance", type=float, default=0.0)
    given = parser.parse_args()
    if given.command == "record":
        record(given.out, given.names)
        return 0
    return 0 if compare(given.before, given.after, given.tolerance) else 1


if __name__ == "__main__":
    sys.exit(main())
