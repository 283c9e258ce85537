"""Is a quick run of a molecule right for every seed, and what does it cost? Whole runs against a long simulation.

Each seed is the command itself in a separate process on one core, so that its CPU seconds are those of one core,
start-up and compilation included. Kept per seed: every difference with its interval and estimator, plain
reweighting beside it, the run's own reference, what corrected it, ESS, gap, warnings, CPU seconds. The truth is a
JSON file with ``value`` and ``stderr`` of one difference (such as that of `openmm_reference.py`), or what
``--long K`` makes: a replica exchange of K times the length of the runs' own. It is read only where it is given:
choose nothing by it.

    python experiments/alanine/seeds.py --first 340 --seeds 20 --processes 2 --out runs/alanine-seeds
    python experiments/alanine/seeds.py --sequence ACE-ALA-ALA-ALA-NME --first 420 --seeds 3 --long 4
"""

import dataclasses
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

import jbg
from jbg.studies import engine
from jbg.studies.dataset import load_dataset
from jbg.studies.molecule.files import DOMAIN
from jbg.studies.molecule.reference import ladder_reference, start_sides
from jbg.studies.molecule.states import states
from jbg.studies.molecule.stored import load_molecule
from jbg.studies.problem import state_pairs

KEEP = ("value", "stderr", "interval95")


def study_of(sequence: str | None) -> list[str]:
    """The study, as words of the command line."""
    return ["alanine-dipeptide"] if sequence is None else ["molecule", "--sequence", sequence]


def run(study: list[str], seed: int, core: int, out: Path, options: tuple[str, ...]) -> float:
    """CPU seconds of the command for one seed, as they were where it is finished already.

    Args:
        study: words of the command line.
        seed: of the run.
        core: that it runs on.
        out: folder of all seeds.
        options: further words.
    """
    folder = out / f"seed-{seed}"
    spent = folder / "cpu_seconds.json"
    if spent.exists():
        return json.loads(spent.read_text())
    # of a run that was stopped: its CPU seconds are not known
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "jbg", "run", *study, "--seed", str(seed)]
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
    for path in (folder / "samples").rglob("*.npy"):  # half a GB a seed; the numbers are made
        path.unlink()
    return seconds


def row_of(folder: Path) -> dict[str, Any]:
    results = json.loads((folder / "results.json").read_text())
    entries = results["free_energy_differences"]
    plain = results.get("reweighted_differences", entries)
    whole = (
        "ess_fraction",
        "gap",
        "correction",
        "ess_by_state",
        "warnings",
        "worth",
        "wall_seconds",
    )
    return {
        "seed": results["seed"],
        "differences": [
            {
                "states": entry["states"],
                **{name: entry[name] for name in KEEP},
                "estimator": entry.get("estimator", "reweighting"),
                "reason": entry.get("reason"),
                "corrector_reason": entry.get("corrector_reason"),
                "plain": {name: other[name] for name in KEEP},
                "reference": entry["reference"],
                "reference_stderr": entry["reference_stderr"],
                "reference_reason": entry.get("reference_reason"),
            }
            for entry, other in zip(entries, plain, strict=True)
        ],
        **{name: results.get(name) for name in whole},
        "forward": results["forward_nll_by_state"],
        "cpu_seconds": json.loads((folder / "cpu_seconds.json").read_text()),
    }


def long_simulation(sequence: str | None, times: int, seed: int, out: Path) -> list[dict[str, Any]]:
    """Every difference by a replica exchange ``times`` as long as that of a quick run, or why there is none.

    Args:
        sequence: of the peptide; None for alanine dipeptide.
        times: how much longer.
        seed: of the simulation.
        out: its folder.
    """
    given = {} if sequence is None else {"sequence": sequence}
    plan = jbg.make_plan(study_of(sequence)[0], seed=seed, **given)
    exchange = plan.data.exchange
    exchange = dataclasses.replace(exchange, n_rounds=times * exchange.n_rounds)
    plan = dataclasses.replace(plan, data=dataclasses.replace(plan.data, exchange=exchange))
    made = jbg.open_run(out, plan)
    engine.simulate(made)
    topology, data = load_molecule(made).topology, load_dataset(made)
    inside, sides = made.load_arrays(DOMAIN)["inside"], start_sides(made)
    found = []
    for pair in state_pairs(states(topology)):
        known = ladder_reference(topology, data, inside, sides, pair, seed=0)
        names = [state.name for state in pair]
        about = {"value": known.value, "stderr": known.stderr, "reason": known.reason}
        found.append({"states": names, **about})
    spent = made.spent("simulate")
    return found + [{"cpu_seconds": spent.cpu_seconds, "seed": seed, "times": times}]


def against(rows: list[dict[str, Any]], i: int, truth: dict[str, Any]) -> dict[str, Any]:
    """How difference i of the runs lies to the truth; its own error is stated, and not added to theirs."""
    entries = [row["differences"][i] for row in rows]
    given = [entry for entry in entries if entry["value"] is not None]
    found = {"truth": truth, "given": f"{len(given)} of {len(rows)}"}
    if truth["value"] is None or not given:
        return found
    errors = np.array([entry["value"] - truth["value"] for entry in given])
    low, high = np.array([entry["interval95"] for entry in given]).T
    plain = [e["plain"] for e in entries if e["plain"]["value"] is not None]
    combined = [
        abs(error) / math.hypot(entry["stderr"], truth["stderr"])
        for error, entry in zip(errors, given, strict=True)
    ]
    several = len(errors) > 1
    return found | {
        "intervals_that_cover": int(np.sum((low <= truth["value"]) & (truth["value"] <= high))),
        "mean_error": float(errors.mean()),
        "mean_error_stderr": float(errors.std(ddof=1) / math.sqrt(len(errors)))
        if several
        else None,
        "spread": float(errors.std(ddof=1)) if several else None,
        "largest_error": float(np.abs(errors).max()),
        "largest_in_combined_errors": float(max(combined)),
        "plain_given": len(plain),
        "plain_covers": sum(
            p["interval95"][0] <= truth["value"] <= p["interval95"][1] for p in plain
        ),
    }


def summary_of(rows: list[dict[str, Any]], truths: list[dict[str, Any]]) -> dict[str, Any]:
    """Costs and errors over the seeds, and each difference against the truth where there is one."""
    cpu = [row["cpu_seconds"] for row in rows]
    found: dict[str, Any] = {
        "seeds": [row["seed"] for row in rows],
        "largest_cpu_seconds": max(cpu),
        "median_cpu_seconds": float(np.median(cpu)),
        "differences": [],
    }
    for i, entry in enumerate(rows[0]["differences"]):
        stderr = [row["differences"][i]["stderr"] for row in rows]
        known = [s for s in stderr if s is not None]
        one = {"states": entry["states"], "given": len(known)}
        if known:
            one |= {"largest_stderr": max(known), "median_stderr": float(np.median(known))}
        if truths:
            one |= {"against": against(rows, i, truths[i])}
        found["differences"].append(one)
    return found


def main(
    first: int = 300,
    seeds: int = 20,
    processes: int = 1,
    out: Path = Path("runs/alanine-seeds"),
    sequence: str | None = None,
    truth: Path | None = None,
    long: int = 0,
    long_seed: int = 1000,
    options: tuple[str, ...] = (),
) -> None:
    """All seeds from ``first`` on, ``processes`` at a time, each on its own core; ``options`` are of `jbg run`.

    Args:
        first, seeds: which seeds.
        processes: at a time.
        out: folder of all.
        sequence: of a peptide; alanine dipeptide where there is none.
        truth: file with the ``value`` and ``stderr`` of the only difference.
        long: length of a simulation to compare with, in those of the runs' own; 0 for none.
        long_seed: its seed.
        options: of the command.
    """
    out.mkdir(parents=True, exist_ok=True)
    free, study = sorted(os.sched_getaffinity(0))[:processes], study_of(sequence)

    def one(seed: int) -> dict[str, Any]:
        core = free.pop()
        try:
            run(study, seed, core, out, options)
        finally:
            free.append(core)
        row = row_of(out / f"seed-{seed}")
        seconds, n = row["cpu_seconds"], len(row["warnings"])
        print(f"seed {seed}: {seconds:.0f} CPU s, {n} warnings", flush=True)
        return row

    with ThreadPoolExecutor(processes) as threads:
        rows = list(threads.map(one, range(first, first + seeds)))
    truths = [] if truth is None else [json.loads(truth.read_text())]
    truths = [{name: t[name] for name in ("value", "stderr")} for t in truths]
    if long:
        truths = long_simulation(sequence, long, long_seed, out / f"long-{long_seed}")
    found = {"summary": summary_of(rows, truths), "long": truths if long else None, "rows": rows}
    (out / "seeds.json").write_text(json.dumps(found, indent=1))
    print(json.dumps(found["summary"], indent=1))


if __name__ == "__main__":
    tyro.cli(main)
