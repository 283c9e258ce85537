"""Is `jbg run alanine-dipeptide` right for every seed? Many whole runs, against a truth that no run has seen.

Each seed is the command itself in a separate process on one core, so that its CPU seconds are those of one core,
start-up and compilation included. Printed per seed: F(phi > 0) - F(phi < 0) with its interval and estimator, plain
reweighting beside it, the run's own reference, ESS, warnings, CPU seconds. The truth is a JSON file with ``value``
and ``stderr`` (such as that of `openmm_reference.py`) and is read only if it is given: do not choose anything by it.

    python experiments/alanine/seeds.py --first 300 --seeds 20 --processes 2 --out runs/alanine-seeds
    python experiments/alanine/seeds.py --first 300 --seeds 20 --out runs/alanine-seeds --truth runs/openmm-reference/reference.json
"""  # noqa: E501

import json
import math
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tyro


def run(seed: int, core: int, out: Path, options: tuple[str, ...]) -> float:
    """CPU seconds of the command for one seed, 0 where it is finished already."""
    folder = out / f"seed-{seed}"
    spent = folder / "cpu_seconds.json"
    if spent.exists():
        return json.loads(spent.read_text())
    shutil.rmtree(
        folder, ignore_errors=True
    )  # of a run that was stopped: its CPU seconds are not known
    command = [sys.executable, "-m", "jbg", "run", "alanine-dipeptide", "--seed", str(seed)]
    command += ["--out", str(folder), *options]
    with (out / f"seed-{seed}.log").open("w") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env=os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"},  # each compiles all
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"seed {seed} failed: see {out}/seed-{seed}.log")
    seconds = usage.ru_utime + usage.ru_stime
    spent.write_text(json.dumps(seconds))
    for path in (folder / "samples").glob("*.npy"):  # 80 MB a seed; the numbers are made
        path.unlink()
    return seconds


def row_of(folder: Path) -> dict[str, Any]:
    results = json.loads((folder / "results.json").read_text())
    (entry,) = results["free_energy_differences"]
    (plain,) = results["reweighted_differences"]
    keep = ("value", "stderr", "interval95")
    return {
        "seed": results["seed"],
        **{name: entry[name] for name in keep},
        "estimator": entry.get("estimator", "reweighting"),
        "reason": entry.get("reason"),
        "plain": {name: plain[name] for name in keep},
        "reference": entry["reference"],
        "reference_stderr": entry["reference_stderr"],
        "reference_reason": entry.get("reference_reason"),
        "ess_fraction": results["ess_fraction"],
        "ess_by_state": results["ess_by_state"],
        "forward": results["forward_nll_by_state"],
        "warnings": results["warnings"],
        "worth": results["worth"],
        "cpu_seconds": json.loads((folder / "cpu_seconds.json").read_text()),
        "wall_seconds": results["wall_seconds"],
    }


def against(rows: list[dict[str, Any]], truth: dict[str, Any]) -> dict[str, Any]:
    """How the runs lie to the truth; its own error is stated, and not added to theirs."""
    given = [row for row in rows if row["value"] is not None]
    errors = np.array([row["value"] - truth["value"] for row in given])
    low, high = np.array([row["interval95"] for row in given]).T
    mean_stderr = float(errors.std(ddof=1) / math.sqrt(len(errors)))
    return {
        "truth": {name: truth[name] for name in ("value", "stderr")},
        "given": f"{len(given)} of {len(rows)}",
        "intervals_that_cover": int(np.sum((low <= truth["value"]) & (truth["value"] <= high))),
        "mean_error": float(errors.mean()),
        "mean_error_stderr": mean_stderr,
        "largest_error": float(np.abs(errors).max()),
        "plain_mean_error": float(
            np.mean([r["plain"]["value"] - truth["value"] for r in rows if r["plain"]["value"]])
        ),
        "plain_covers": sum(
            r["plain"]["value"] is not None
            and r["plain"]["interval95"][0] <= truth["value"] <= r["plain"]["interval95"][1]
            for r in rows
        ),
    }


def main(
    first: int = 300,
    seeds: int = 20,
    processes: int = 1,
    out: Path = Path("runs/alanine-seeds"),
    truth: Path | None = None,
    options: tuple[str, ...] = (),
) -> None:
    """All seeds from ``first`` on, ``processes`` at a time, each on its own core; ``options`` are of `jbg run`."""
    out.mkdir(parents=True, exist_ok=True)
    cores = sorted(os.sched_getaffinity(0))
    free = list(cores[:processes])

    def one(seed: int) -> dict[str, Any]:
        core = free.pop()
        try:
            run(seed, core, out, options)
        finally:
            free.append(core)
        row = row_of(out / f"seed-{seed}")
        print(
            f"seed {seed}: {row['cpu_seconds']:.0f} CPU s, {len(row['warnings'])} warnings",
            flush=True,
        )
        return row

    with ThreadPoolExecutor(processes) as threads:
        rows = list(threads.map(one, range(first, first + seeds)))
    stderr = [row["stderr"] for row in rows if row["stderr"] is not None]
    summary: dict[str, Any] = {
        "seeds": [first, first + seeds - 1],
        "given": len(stderr),
        "largest_stderr": max(stderr),
        "median_stderr": float(np.median(stderr)),
        "largest_cpu_seconds": max(row["cpu_seconds"] for row in rows),
        "median_cpu_seconds": float(np.median([row["cpu_seconds"] for row in rows])),
    }
    if truth is not None:
        summary |= against(rows, json.loads(truth.read_text()))
    (out / "seeds.json").write_text(json.dumps({"summary": summary, "rows": rows}, indent=1))
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    tyro.cli(main)
