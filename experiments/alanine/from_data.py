"""Alanine dipeptide from its simulation: what the energies of the data, and of own samples, add to the likelihood.

On the same frames (replica exchange, ff14SB + OBC2, 300 K; one simulation, of which fewer frames or all are kept,
and coordinates fitted to these alone):

    likelihood      the likelihood alone, stopped at the best held-out one
    log-dispersion  with the spread of ln q + u over the same batches (`losses.log_dispersion`); no more energies
    reverse-kl      then as many steps with the reverse KL of own samples, with forces (`losses.energy`)
    own-samples     then own samples with their energies, no forces, as `--preset full` does (`losses.own_samples`)

and for each the ESS fraction of n samples, plain and with the largest 1e-4 of the weights clipped, against frames
and energies spent. Held-out frames count as data. Energies of samples drawn to watch the ESS are no part of a
training and are listed apart, as those of the n samples are. A row is a run folder of its own: a finished one is
read back, an interrupted one goes on. Nothing is chosen by a reference.

    python experiments/alanine/from_data.py --seeds 2 --out runs/alanine-from-data
"""

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import tyro

import jbg
from jbg.runs import Run, adopt, environment, load_run
from jbg.studies import engine
from jbg.studies.molecule.settings import own_samples_stage

LIKELIHOOD = jbg.Stage(name="by-example", steps=300, w_nll=1.0, ema=0.98, log_every=20, eval_every=20,
                       keep_best=True)  # fmt: skip
WEIGHT = 10.0  # of the log-dispersion; of 1 and 10 the better by held-out likelihood, 4800 frames
REVERSE_KL = {
    "w_kl": 1.0,
    "path_gradient": True,
    "w_forward_kl": 0.0,
    "w_log_variance": 0.0,
    "flatten": 0.0,
}
METHODS = ("likelihood", "log-dispersion", "reverse-kl", "own-samples")
NUMBERS = ("ess_fraction", "ess_fraction_clipped", "largest_weight_share", "pareto_k", "n_invalid",
           "forward_nll", "ess_by_state", "n_samples", "wall_seconds")  # fmt: skip
TINY = {"n_ladders": 4, "n_burn_in": 10, "n_rounds": 80, "n_steps": 3, "n_rotations": 1}


def stages_of(method: str, config: dict[str, Any], scale: float) -> list[dict[str, Any]]:
    """The stages of a method, with ``scale`` times their steps."""
    weight = WEIGHT if method == "log-dispersion" else 0.0
    stages = [dataclasses.asdict(dataclasses.replace(LIKELIHOOD, w_log_dispersion=weight))]
    if method in ("own-samples", "reverse-kl"):
        own = dataclasses.asdict(own_samples_stage("quick", config["simulation"]["atoms"]))
        stages.append(own | (REVERSE_KL if method == "reverse-kl" else {}))
    every = lambda stage: stage["eval_every"]  # of which the steps stay a multiple
    return [s | {"steps": max(1, round(scale * s["steps"] / every(s))) * every(s)} for s in stages]


def base_config(*, quick: bool) -> dict[str, Any]:
    """The study whose data are used; ``quick``: of a size that only shows that it runs."""
    config = jbg.make_config("alanine-dipeptide", preset="quick", seed=0)
    if quick:
        ladder = config["simulation"]["temperatures"]
        config["simulation"] |= TINY | {"temperatures": [ladder[0], ladder[-1]]}
        config["flow"] |= {
            "n_blocks": 1,
            "n_circular_blocks": 1,
            "hidden": [8, 8],
            "n_bins": 4,
            "unroll": 1,
        }
        config["sampling"]["batch"] = 500
        short = {"batch_size": 32, "warmup": 0, "log_every": 20, "eval_every": 20}
        config["stages"] = [stage | short for stage in config["stages"]]
    return config


def data_of(out: Path, config: dict[str, Any], frames: int | None) -> Run:
    """The run that holds about ``frames`` frames of the simulation, evenly spaced; every one for None."""
    simulation = config["simulation"]
    if frames is not None:
        n = simulation["n_rounds"] * simulation["n_ladders"]
        simulation = simulation | {"record_every": max(1, round(n / frames))}
    run = jbg.open_run(
        out / f"data-every-{simulation['record_every']}", config | {"simulation": simulation}
    )
    engine.simulate(run)
    return run


def row_of(out: Path, data: Run, method: str, seed: int, scale: float, n: int) -> dict[str, Any]:
    """The numbers of one training, made or read back."""
    frames = len(data.load_arrays("data/frames.npz")["energies"])
    config = data.config | {"seed": seed, "stages": stages_of(method, data.config, scale)}
    config["sampling"] = config["sampling"] | {"n": n}
    steps = sum(stage["steps"] for stage in config["stages"])
    run = jbg.open_run(out / f"{method}-{frames}-steps-{steps}-seed-{seed}", config)
    if (run.path / "row.json").exists():
        return run.read_json("row.json")
    if not run.stage_done("simulate"):
        adopt(run, data.path / "data")
        run.mark_done("simulate")
    problem = engine.load_problem(run)
    engine.train(run, problem=problem)
    engine.sample(run, problem=problem)
    found = engine.evaluate(run, problem=problem)
    of_losses = sum(stage.energy_evaluations for stage in engine.stages_of(config))
    spent = found["energy_evaluations"]
    row = {
        "method": method, "frames": frames, "frames_learnt": len(problem.train), "seed": seed, "steps": steps,
        "energy_evaluations": {
            "data": spent["simulate"], "training": of_losses, "watching": spent["train"] - of_losses,
            "samples": spent["evaluate"],
        },
        **{name: found[name] for name in NUMBERS},
        "free_energy_difference": found["free_energy_differences"][0],
        "device": environment.devices(), "versions": environment.versions(), "source": environment.commit(),
    }  # fmt: skip
    run.write_json("row.json", row)
    shutil.rmtree(run.path / "samples")  # 26 MB a row; its numbers are made
    return row


def lines_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line for each method, size of data and length of training: means over seeds with standard errors."""
    key = lambda row: (row["frames"], METHODS.index(row["method"]), row["steps"])
    lines = []
    for chosen in sorted({key(row) for row in rows}):
        group = [row for row in rows if key(row) == chosen]
        spent = group[0]["energy_evaluations"]
        line = {name: group[0][name] for name in ("frames", "method", "steps")}
        line |= {"seeds": len(group), "energies": spent["data"] + spent["training"]}
        for name in ("ess_fraction", "ess_fraction_clipped", "forward_nll"):
            values = np.array([row[name] for row in group])
            error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else None
            line[name] = {"value": values.mean(), "stderr": error}
        seconds = [row["wall_seconds"]["train"] for row in group]
        lines.append(line | {"train_seconds": float(np.mean(seconds))})
    return lines


def text(lines: list[dict[str, Any]]) -> str:
    """The lines as a table in markdown."""

    def show(entry: dict[str, Any], scale: float = 100.0, digits: int = 1) -> str:
        value = f"{scale * entry['value']:.{digits}f}"
        error = entry["stderr"]
        return (
            f"{value} (single run)" if error is None else f"{value} +- {scale * error:.{digits}f}"
        )

    head = (
        "frames",
        "method",
        "steps",
        "energies",
        "ESS %",
        "clipped ESS %",
        "held-out NLL",
        "training s",
    )
    cells = [head, ["---"] * len(head)]
    cells += [
        [str(l["frames"]), l["method"], str(l["steps"]), f"{l['energies']:.2e}", show(l["ess_fraction"]),
         show(l["ess_fraction_clipped"]), show(l["forward_nll"], 1, 2), f"{l['train_seconds']:.0f}"]
        for l in lines
    ]  # fmt: skip
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


def main(
    rows: tuple[str, ...] = METHODS,
    frames: tuple[int, ...] = (1000, 5000, 20_000, 0),
    seeds: int = 1,
    n: int = 100_000,
    steps_scale: float = 1.0,
    out: Path = Path("runs/alanine-from-data"),
    *,
    quick: bool = False,
) -> None:
    """The table of all finished rows in ``out``; ``frames`` 0: all that the preset simulates."""
    unknown = sorted(set(rows) - set(METHODS))
    if unknown:
        raise SystemExit(f"--rows: {unknown[0]} is none of {', '.join(METHODS)}")
    config = base_config(quick=quick)
    if quick:
        frames, n, steps_scale = (160,), 1000, 0.01
    for size in frames:
        data = data_of(out, config, size or None)
        for method in rows:
            for seed in range(seeds):
                row = row_of(out, data, method, seed, steps_scale, n)
                print(
                    f"{row['frames']} frames, {method}, seed {seed}: ESS {row['ess_fraction']:.3f}",
                    flush=True,
                )
    found = [load_run(path.parent).read_json(path.name) for path in sorted(out.glob("*/row.json"))]
    lines = lines_of(found)
    print(text(lines))
    (out / "from-data.json").write_text(json.dumps({"table": lines, "rows": found}, indent=2))


if __name__ == "__main__":
    tyro.cli(main)
