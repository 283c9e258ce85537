"""Kills runs with SIGKILL at random moments, lets them resume, and compares every number with an unbroken run's.

    python experiments/kills.py --out kills.json [--kills 30]

Tiny runs of alanine dipeptide and of the dimer, through the command line's own code in processes of their own.
Each folder is killed five times, in stages drawn at random in the order of a run (the first folder of each study
once in each), at a moment drawn over the time that the unbroken run spends in that stage; then it is finished. The
table says in which stage each kill fell, and whether the folder's results, metrics, data and samples are those of
the unbroken run, byte by byte (times apart). The status is 1 where one is not, or where a stage was never hit.
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
    "alanine-dipeptide": lambda: tiny.many_samples(
        tiny.molecule("alanine-dipeptide", steps=200, corrector="moves", relearn=1)
    ),
    "lj-dimer": tiny.lj_dimer,
}
plan = plans[name]()
engine.make_plan = lambda name, **options: plan
sys.exit(cli.main(["run", name, "--quiet", "--out", sys.argv[1]]))
"""
DONE = ("simulate", "train", "sample", "correct", "evaluate")
STAGES = ("opening", *DONE, "report")
IN_A_ROW = 5  # kills of one folder
TICK = 0.01  # seconds between two looks at a folder


def begin(folder: Path, name: str) -> subprocess.Popen:
    cache = {"JAX_COMPILATION_CACHE_DIR": str(folder.parent / f"compiled-{name}")}
    env = os.environ | cache | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder), name],
        cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(folder: Path, name: str) -> dict[str, float]:
    """The run to its end; the seconds that it spent in each stage."""
    process, seconds = begin(folder, name), dict.fromkeys(STAGES, 0.0)
    while process.poll() is None:
        before, stage = time.monotonic(), stage_of(folder)
        time.sleep(TICK)
        seconds[stage] += time.monotonic() - before
    if process.returncode:
        raise SystemExit(f"{folder}: {process.communicate()[1][-500:]}")
    return seconds


def kill(folder: Path, name: str, stage: str, after: float) -> str:
    """Kills the run ``after`` seconds in a stage, or past it if it is over sooner; the stage that it died in."""
    process = begin(folder, name)
    while process.poll() is None and STAGES.index(stage_of(folder)) < STAGES.index(stage):
        time.sleep(TICK)
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return stage_of(folder) if process.returncode == -signal.SIGKILL else "over before"


def stage_of(folder: Path) -> str:
    """Which stage a run is in, or was in when it was killed."""
    path = folder / "manifest.json"
    done = json.loads(path.read_text())["stages"] if path.exists() else {}
    if not done and not (folder / "data").exists():
        return "opening"
    config = folder / "config.json"
    corrects = config.exists() and json.loads(config.read_text()).get("correction")
    stages = [name for name in DONE if name != "correct" or corrects]
    return next((name for name in stages if not done.get(name, {}).get("done")), "report")


def numbers(folder: Path) -> dict[str, Any]:
    """Digests of all that a run computes; times apart."""
    results = json.loads((folder / "results.json").read_text())
    del results["wall_seconds"], results["worth"]
    found: dict[str, Any] = {"results": results, "metrics": (folder / "metrics.jsonl").read_text()}
    made = [
        path for part in ("data", "corrected", "again/1") for path in folder.glob(f"{part}/*.npz")
    ]
    for path in sorted([*made, folder / "evaluation.npz"]):
        with np.load(path) as arrays:
            for name in arrays:
                digest = hashlib.sha256(arrays[name].tobytes()).hexdigest()
                found[f"{path.relative_to(folder)} {name}"] = digest
    for path in sorted(folder.glob("samples/*/*.npy")):
        found[f"{path.parent.name} {path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def attack(work: Path, name: str, n: int, rng: random.Random) -> dict[str, Any]:
    """Kills of one study."""
    whole = work / f"{name}-whole"
    finish(work / f"{name}-warm", name)  # compiles
    seconds = finish(whole, name)
    expected, hit, wrong = numbers(whole), Counter(), []
    for i in range(-(-n // IN_A_ROW)):
        folder, kills = work / f"{name}-{i}", min(IN_A_ROW, n - i * IN_A_ROW)
        # a folder's stages follow each other
        stages = STAGES[-kills:] if i == 0 else rng.choices(STAGES, k=kills)
        for stage in sorted(stages, key=STAGES.index):
            hit[kill(folder, name, stage, rng.random() * seconds[stage])] += 1
        finish(folder, name)
        found = numbers(folder)
        if found != expected:
            keys = found.keys() | expected.keys()
            wrong.append([k for k in sorted(keys) if found.get(k) != expected.get(k)][:5])
        print(f"{name}: {sum(hit.values())} kills, {dict(hit)}, {len(wrong)} wrong", flush=True)
    return {
        "study": name,
        "kills": sum(hit[stage] for stage in STAGES),
        "stages": hit,
        "seconds": {stage: round(spent, 2) for stage, spent in seconds.items()},
        "folders": i + 1,
        "wrong": wrong,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=30, help="of both studies together")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as work:
        rows = [
            attack(Path(work), name, given.kills // 2, rng)
            for name in ("alanine-dipeptide", "lj-dimer")
        ]
    given.out.write_text(json.dumps(rows, indent=1))
    hit = {stage for row in rows for stage in row["stages"]}
    return int(any(row["wrong"] for row in rows) or not hit.issuperset(STAGES))


if __name__ == "__main__":
    sys.exit(main())
