"""All-atom weights from reduced coordinates: a generator of two levels on alanine dipeptide.

Reduced coordinates (Kim et al. 2023, arXiv:2401.04246, section 3.2) describe a slice of configuration space, whose
weights say nothing of all atoms. Here a second level generates the coordinates that they leave out,

    two-level   q(kept) q(rest | kept), kept as ``--which`` says (`flows.two_level`)
    one-level   the library's quick recipe: q(circular) q(line | circular) of the same 3N - 6 variables

and both are weighed against the Boltzmann density of all atoms (ff14SB + OBC2, 300 K). Both learn from one
simulation, with the losses of `jbg run alanine-dipeptide --preset quick`. Every ESS is plain: no weight is
clipped. The negative log-likelihood of held-out frames, in nats, is in the measure of the whitened variables, of
which those of one recipe are a rotation of the other's. Like the training, it counts frames of rare states several
times (`studies.balance`), so the kept level learns the marginal of the data with these counts. A finished row is
read back.

    taskset -c 0 python experiments/kim2023/two_level.py --seeds 510 511 512 --out runs/two-level
"""

import dataclasses
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import jbg
from jbg.analysis import free_energy_difference
from jbg.coords import CoordinateFit, coordinates_from_fit
from jbg.coords.reduced_set import SETS, kept_coordinates
from jbg.coords.whitening import whitening
from jbg.flows import MLP, SplineFlowConfig, count_parameters
from jbg.flows.two_level import TwoLevelConfig, TwoLevelFlow, kept_first, two_level_flow
from jbg.generator import Generator
from jbg.interfaces import Params, Topology
from jbg.reweighting import ess_fraction, largest_weight_share, log_z_estimate, pareto_k
from jbg.runs import Run, adopt, environment
from jbg.studies import engine
from jbg.studies.molecule.files import COORDINATES
from jbg.studies.problem import Problem
from jbg.studies.study import Plan

replace = dataclasses.replace
RECIPES = ("one-level", "two-level")
Scale = Literal["tiny", "small"]
TINY = {"n_ladders": 4, "n_burn_in": 10, "n_rounds": 240, "n_steps": 3, "n_rotations": 1}


def base_plan(scale: Scale) -> Plan:
    """The study whose simulation and losses are used; "tiny": of a size that only shows that it runs."""
    plan = jbg.make_plan("alanine-dipeptide", preset="quick", seed=0)
    if scale == "small":
        return plan
    ladder = plan.data.exchange.temperatures
    exchange = replace(plan.data.exchange, temperatures=(ladder[0], ladder[-1]), **TINY)
    flow = replace(
        plan.flow, n_blocks=1, n_circular_blocks=1, conditioner=MLP(hidden=(8, 8)), n_bins=4
    )
    return replace(
        plan,
        data=replace(plan.data, exchange=exchange),
        flow=flow,
        stages=tuple(replace(s, batch_size=32, warmup=0, log_every=20, eval_every=20) for s in plan.stages),
        sampling=replace(plan.sampling, batch=500),
    )  # fmt: skip


def data_of(out: Path, plan: Plan) -> Run:
    """The run that holds the simulation."""
    run = jbg.open_run(out / "data", plan)
    engine.simulate(run)
    return run


def kept_first_fit(topology: Topology, fit: CoordinateFit, which: str) -> tuple[CoordinateFit, int]:
    """The coordinates whose variables are [circular | kept on the line | rest], and how many a set keeps."""
    kept = kept_coordinates(topology, fit.zmatrix, fit.rotor_groups, SETS[which]).index
    return fit._replace(**kept_first(fit.whitening, kept)._asdict()), len(kept)


def two_levels(
    problem: Problem, fit: CoordinateFit, which: str, settings: SplineFlowConfig
) -> tuple[Problem, TwoLevelFlow, tuple[str, ...]]:
    """The same problem with a flow of two levels, that flow, and the names of what its first level generates.

    Args:
        problem: of the one-level recipe.
        fit: of its coordinates.
        which: name of the set of kept coordinates.
        settings: sizes of both levels.
    """
    topology = problem.system.topology
    ordered, n_kept = kept_first_fit(topology, fit, which)
    coords = coordinates_from_fit(topology, ordered)
    n = coords.n_circular, n_kept - coords.n_circular, coords.bijector.dim_in - n_kept
    flow = two_level_flow(*n, TwoLevelConfig(kept=settings, rest=settings))
    before, after = whitening(fit.whitening), whitening(ordered.whitening)
    turn = jax.jit(lambda v: after.inverse((), before.forward((), v)[0])[0])
    turned = {
        name: np.asarray(turn(jnp.asarray(getattr(problem.examples, name).T))).T
        for name in ("train", "heldout")
    }
    problem = replace(
        problem,
        flow=Generator(base=flow.base, bijector=flow.bijector),
        coords=coords.bijector,
        # the determinant is the same, so energies in the measure of v are too
        examples=problem.examples._replace(**turned),
    )
    return problem, flow, coords.labels[:n_kept]


def heldout_nll(problem: Problem, log_prob: Callable[[jax.Array], jax.Array]) -> float:
    """Mean -ln q over the held-out frames, each counted as often as training would take it."""
    values = np.asarray(jax.jit(log_prob)(jnp.asarray(problem.examples.heldout.T)), np.float64)
    return -float(np.average(values, weights=problem.examples.heldout_copies))


def nll_by_level(problem: Problem, flow: TwoLevelFlow, params: Params) -> dict[str, float]:
    """Held-out negative log-likelihood of each level of the flow."""
    of = lambda i: heldout_nll(problem, lambda v: flow.log_prob_by_level(params, v)[i])
    return {"kept": of(0), "rest": of(1)}


def weight_numbers(problem: Problem, params: Params, key: jax.Array, n: int) -> dict[str, Any]:
    """What n weighted samples of all atoms are worth, and the free-energy difference of phi."""
    drawn = problem.draw(key, (params, ()), n)
    (a, b), *_ = problem.pairs
    found = free_energy_difference(drawn, a, b)
    log_z = log_z_estimate(drawn.log_w)
    return {
        "n_samples": n,
        "ess_fraction": ess_fraction(drawn.log_w),
        "pareto_k": pareto_k(drawn.log_w),
        "largest_weight_share": largest_weight_share(drawn.log_w),
        "n_invalid": log_z.n_non_finite,
        "ln_z": {"value": log_z.value, "stderr": log_z.stderr},
        "free_energy_difference": {
            "states": [a.name, b.name],
            "definition": [a.definition, b.definition],
            "value": found.value,
            "stderr": found.stderr,
            "reason": found.reason,
        },
    }


def row_of(
    out: Path, data: Run, recipe: str, seed: int, *, which: str, n: int, steps: int
) -> dict[str, Any]:
    """The numbers of one training, made or read back.

    Args:
        out: folder of all rows.
        data: the simulation.
        recipe: one of RECIPES.
        seed: of the training and the samples.
        which: set of kept coordinates.
        n: samples.
        steps: of training.
    """
    plan = engine.plan_of(data)
    stages = tuple(replace(stage, steps=steps) for stage in plan.stages)
    plan = replace(plan, seed=seed, stages=stages)
    label = recipe if recipe == "one-level" else f"{recipe}-{which}"
    path = out / f"{label}-steps-{steps}-seed-{seed}"
    if (path / "row.json").exists():
        return json.loads((path / "row.json").read_text())
    # of a row that was stopped: its CPU seconds are not known
    shutil.rmtree(path, ignore_errors=True)
    run = jbg.open_run(path, plan)
    adopt(run, data.path / "data")
    run.mark_done("simulate")
    problem, flow, kept = engine.load_problem(run), None, ()
    if recipe == "two-level":
        fit = CoordinateFit(**run.load_arrays(COORDINATES))
        problem, flow, kept = two_levels(problem, fit, which, plan.flow)
    start = time.process_time()
    engine.train(run, problem=problem)
    trained = time.process_time()
    params = engine.load_params(run, problem)
    row = {
        "recipe": recipe,
        "seed": seed,
        "steps": steps,
        "parameters": count_parameters(problem.flow.bijector),
    }
    row |= weight_numbers(problem, params, run.key("two-level"), n)
    row["cpu_seconds"] = {"train": trained - start, "sample": time.process_time() - trained}
    row["heldout_nll"] = heldout_nll(problem, lambda v: problem.flow.log_prob(params, v))
    if flow is not None:
        untrained = problem.init(run.key("untrained"))
        row |= {
            "which": which,
            "kept": list(kept),
            "n_rest": problem.flow.bijector.dim_in - len(kept),
        }
        row["heldout_nll_by_level"] = nll_by_level(problem, flow, params)
        row["untrained_nll_by_level"] = nll_by_level(problem, flow, untrained)
    row |= {"device": environment.devices(), "versions": environment.versions()}
    run.write_json("row.json", row)
    return row


def text(rows: list[dict[str, Any]]) -> str:
    """The rows as a table in markdown."""
    head = (
        "recipe",
        "seed",
        "ESS %",
        "k",
        "largest share %",
        "F(b) - F(a), kT",
        "NLL",
        "kept + rest",
        "training, CPU s",
    )
    cells = [head, ["---"] * len(head)]
    for row in rows:
        found, levels = row["free_energy_difference"], row.get("heldout_nll_by_level")
        difference = (
            f"{found['value']:.2f} +- {found['stderr']:.2f}" if found["value"] is not None else "-"
        )
        cells.append(
            (row["recipe"], str(row["seed"]), f"{100 * row['ess_fraction']:.1f}", f"{row['pareto_k']:.2f}",
             f"{100 * row['largest_weight_share']:.2f}", difference, f"{row['heldout_nll']:.2f}",
             f"{levels['kept']:.2f} + {levels['rest']:.2f}" if levels else "-",
             f"{row['cpu_seconds']['train']:.0f}")
        )  # fmt: skip
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


def main(
    seeds: tuple[int, ...] = (510, 511, 512),
    recipes: tuple[str, ...] = RECIPES,
    which: Literal["kim", "heavy"] = "kim",
    n: int = 100_000,
    steps: int = 300,
    scale: Scale = "small",
    out: Path = Path("runs/two-level"),
) -> None:
    """Trains each recipe with each seed, draws ``n`` samples and writes ``two-level.json``."""
    unknown = sorted(set(recipes) - set(RECIPES))
    if unknown:
        raise SystemExit(f"--recipes: {unknown[0]} is none of {', '.join(RECIPES)}")
    data, rows = data_of(out, base_plan(scale)), []
    for seed in seeds:
        for recipe in recipes:
            rows.append(row_of(out, data, recipe, seed, which=which, n=n, steps=steps))
            print(f"{recipe}, seed {seed}: ESS {rows[-1]['ess_fraction']:.3f}", flush=True)
    print(text(rows))
    (out / "two-level.json").write_text(json.dumps({"rows": rows}, indent=2))


if __name__ == "__main__":
    tyro.cli(main)
