"""Kills runs with SIGKILL at random moments, lets them resume, and compares every number with an unbroken run's.

    python experiments/kills.py --out kills.json [--kills 30] [--in-a-row 5]

Tiny runs of alanine dipeptide and of the dimer, through the command line's own code in processes of their own.
Each folder is killed ``in-a-row`` times at moments drawn over the time that an unbroken run takes, then finished.
The table says in which stage each kill fell, and whether the folder's results, metrics, data and samples are those
of the unbroken run, byte by byte (times apart). The status is 1 where one is not.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RUN = """
import sys
from jbg.studies import engine
from jbg.studies.dimer import umbrella
from jbg.studies.molecule import source
from jbg.cli import main as cli
from jbg.sampling import generate
from tests import tiny

source.CHECKPOINT_SECONDS = umbrella.CHECKPOINT_SECONDS = 0.2
generate.BLOCKS_PER_FLUSH = 1
name, plans = sys.argv[2], {
    "alanine-dipeptide": lambda: tiny.many_samples(tiny.molecule("alanine-dipeptide", steps=200)),
    "lj-dimer": tiny.lj_dimer,
}
plan = plans[name]()
engine.make_plan = lambda name, **options: plan
sys.exit(cli.main(["run", name, "--quiet", "--out", sys.argv[1]]))
"""
ENDS = ("simulate", "train", "sample", "evaluate")


def begin(folder: Path, name: str) -> subprocess.Popen:
    cache = {"JAX_COMPILATION_CACHE_DIR": str(folder.parent / f"compiled-{name}")}
    env = os.environ | cache | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder), name],
        cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(folder: Path, name: str) -> float:
    """The run to its end; the seconds it took."""
    since, process = time.monotonic(), begin(folder, name)
    _, err = process.communicate(timeout=1800)
    if process.returncode:
        raise SystemExit(f"{folder}: {err[-500:]}")
    return time.monotonic() - since


def stage_of(folder: Path) -> str:
    """Which stage a run was in when it was killed."""
    path = folder / "manifest.json"
    if not path.exists():
        return "opening"
    done = json.loads(path.read_text())["stages"]
    following = (name for name in ENDS if not done.get(name, {}).get("done"))
    return next(following, "report") if done else "opening"


def numbers(folder: Path) -> dict[str, Any]:
    """Digests of all that a run computes; times apart."""
    results = json.loads((folder / "results.json").read_text())
    del results["wall_seconds"]
    found: dict[str, Any] = {"results": results, "metrics": (folder / "metrics.jsonl").read_text()}
    for path in sorted([*folder.glob("data/*.npz"), folder / "evaluation.npz"]):
        with np.load(path) as arrays:
            for name in arrays:
                digest = hashlib.sha256(arrays[name].tobytes()).hexdigest()
                found[f"{path.name} {name}"] = digest
    for path in sorted(folder.glob("samples/*/*.npy")):
        found[f"{path.parent.name} {path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def attack(work: Path, name: str, n: int, in_a_row: int, rng: random.Random) -> dict[str, Any]:
    """Kills of one study."""
    whole = work / f"{name}-whole"
    finish(work / f"{name}-warm", name)  # compiles
    seconds = finish(whole, name)
    expected, stages, wrong = numbers(whole), Counter(), []
    folders = -(-n // in_a_row)
    for i in range(folders):
        folder = work / f"{name}-{i}"
        for _ in range(min(in_a_row, n - i * in_a_row)):
            process = begin(folder, name)
            time.sleep(rng.uniform(0.05, 1.0) * seconds / 2)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            if process.returncode == -signal.SIGKILL:
                stages[stage_of(folder)] += 1
            else:
                stages["over before"] += 1
        finish(folder, name)
        found = numbers(folder)
        if found != expected:
            keys = found.keys() | expected.keys()
            wrong.append([k for k in sorted(keys) if found.get(k) != expected.get(k)][:5])
        print(
            f"{name}: {sum(stages.values())} kills, {dict(stages)}, {len(wrong)} wrong", flush=True
        )
    return {
        "study": name,
        "kills": sum(stages.values()),
        "stages": stages,
        "folders": folders,
        "wrong": wrong,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=30, help="of both studies together")
    parser.add_argument("--in-a-row", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as work:
        rows = [
            attack(Path(work), name, given.kills // 2, given.in_a_row, rng)
            for name in ("alanine-dipeptide", "lj-dimer")
        ]
    given.out.write_text(json.dumps(rows, indent=1))
    return int(any(row["wrong"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
