"""Alanine dipeptide from its simulation: how much energies of the data, and of own samples, add to the likelihood.

On the same frames (replica exchange, ff14SB + OBC2, 300 K; one simulation, of which fewer frames or all are kept,
and coordinates fitted to these alone):

    likelihood      the likelihood alone, stopped at the best held-out one
    log-dispersion  with the spread of ln q + u over the same batches (`losses.log_dispersion`); no more energies
    reverse-kl      then as many steps with the reverse KL of own samples, with forces (`losses.energy`)
    own-samples     then own samples with their energies, no forces, as `--preset full` does (`losses.own_samples`)

and for each the ESS fraction of n samples, plain and with the largest 1e-4 of the weights clipped, against frames
and energies spent. Held-out frames count as data. Energies of samples drawn to monitor the ESS do not count as
training and are listed separately, like those of the n samples. Each row has its run folder: a finished one is
read back, an interrupted one is resumed. No choice uses a reference.

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
from jbg.flows import MLP
from jbg.losses import NLL, LogDispersion, ReverseKL
from jbg.runs import Run, adopt, environment, load_run
from jbg.sampling.generate import SAMPLES
from jbg.studies import engine
from jbg.studies.dataset import load_dataset
from jbg.studies.molecule.plan import own_samples_stage
from jbg.studies.study import Plan

replace = dataclasses.replace
LIKELIHOOD = jbg.Stage(name="by-example", steps=300, losses=(NLL(),), ema=0.98, log_every=20,
                       eval_every=20, keep_best=True)  # fmt: skip
WEIGHT = 10.0  # of the log-dispersion; of 1 and 10 the better by held-out likelihood, 4800 frames
METHODS = ("likelihood", "log-dispersion", "reverse-kl", "own-samples")
NUMBERS = ("ess_fraction", "ess_fraction_clipped", "largest_weight_share", "pareto_k", "n_invalid",
           "forward_nll", "ess_by_state", "n_samples", "wall_seconds")  # fmt: skip
TINY = {"n_ladders": 4, "n_burn_in": 10, "n_rounds": 240, "n_steps": 3, "n_rotations": 1}


def stages_of(method: str, n_atoms: int, scale: float) -> tuple[jbg.Stage, ...]:
    """The stages of a method, with ``scale`` times their steps."""
    stages = [LIKELIHOOD]
    if method == "log-dispersion":
        spread = LogDispersion(WEIGHT)
        stages = [replace(LIKELIHOOD, losses=(NLL(dispersion=spread),))]
    if method in ("own-samples", "reverse-kl"):
        stages.append(own_samples_stage("quick"))
    if method == "reverse-kl":
        likelihood, _ = stages[-1].losses
        losses = (likelihood, ReverseKL(path_gradient=True))
        stages[-1] = replace(stages[-1], losses=losses)
    # steps stay a multiple of eval_every
    whole = lambda s: max(1, round(scale * s.steps / s.eval_every)) * s.eval_every
    return tuple(replace(stage, steps=whole(stage)) for stage in stages)


def base_plan(*, quick: bool) -> Plan:
    """The study whose data are used; ``quick``: of a size that only shows that it runs."""
    plan = jbg.make_plan("alanine-dipeptide", preset="quick", seed=0)
    if not quick:
        return plan
    ladder = plan.data.exchange.temperatures
    exchange = replace(plan.data.exchange, temperatures=(ladder[0], ladder[-1]), **TINY)
    return replace(
        plan,
        data=replace(plan.data, exchange=exchange),
        flow=replace(
            plan.spline_flow,
            n_blocks=1,
            n_circular_blocks=1,
            conditioner=MLP(hidden=(8, 8)),
            n_bins=4,
            unroll=1,
        ),
        stages=tuple(
            replace(stage, batch_size=32, warmup=0, log_every=20, eval_every=20)
            for stage in plan.stages
        ),
        sampling=replace(plan.sampling, batch=500),
    )


def data_of(out: Path, plan: Plan, frames: int | None) -> Run:
    """The run that holds about ``frames`` frames of the simulation, evenly spaced; every one for None."""
    exchange = plan.data.exchange
    if frames is not None:
        n = exchange.n_rounds * exchange.n_ladders
        exchange = replace(exchange, record_every=max(1, round(n / frames)))
    run = jbg.open_run(
        out / f"data-every-{exchange.record_every}",
        replace(plan, data=replace(plan.data, exchange=exchange)),
    )
    engine.simulate(run)
    return run


def row_of(out: Path, data: Run, method: str, seed: int, scale: float, n: int) -> dict[str, Any]:
    """The numbers of one training, made or read back."""
    frames, plan = len(load_dataset(data).x), engine.plan_of(data)
    stages, sampling = stages_of(method, plan.data.atoms, scale), replace(plan.sampling, n=n)
    plan = replace(plan, seed=seed, stages=stages, sampling=sampling)
    steps = sum(stage.steps for stage in stages)
    run = jbg.open_run(out / f"{method}-{frames}-steps-{steps}-seed-{seed}", plan)
    if (run.path / "row.json").exists():
        return run.read_json("row.json")
    if not run.stage_done("simulate"):
        adopt(run, data.path / "data")
        run.mark_done("simulate")
    problem = engine.load_problem(run)
    engine.train(run, problem=problem)
    engine.sample(run, problem=problem)
    found = engine.evaluate(run, problem=problem)
    of_losses = sum(stage.energy_evaluations for stage in stages)
    spent = found["energy_evaluations"]
    row = {
        "method": method, "frames": frames, "frames_learnt": len(problem.examples.train),
        "seed": seed, "steps": steps,
        "energy_evaluations": {
            "data": spent["simulate"], "training": of_losses, "watching": spent["train"] - of_losses,
            "samples": n, "frames": spent["evaluate"] - n,
        },
        **{name: found[name] for name in NUMBERS},
        "free_energy_difference": found["free_energy_differences"][0],
        "device": environment.devices(), "versions": environment.versions(), "source": environment.commit(),
    }  # fmt: skip
    run.write_json("row.json", row)
    shutil.rmtree(run.path / SAMPLES)  # 26 MB a row; its numbers are made
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
    plan = base_plan(quick=quick)
    if quick:
        frames, n, steps_scale = (480,), 1000, 0.01
    for size in frames:
        data = data_of(out, plan, size or None)
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
