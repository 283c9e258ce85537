"""Parts of `bench_accelerator` about generators: a whole run by stage, then its spline flow alone.

Each yields (name, call) pairs, one for each thing measured.
"""

import argparse
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bench_flow
import jax
import jax.numpy as jnp
import numpy as np
from record import report, time_compiled, time_training

from jbg import report as pages
from jbg.flows import MLP
from jbg.losses import NLL
from jbg.studies import engine
from jbg.studies.molecule.plan import own_samples_stage
from jbg.studies.problem import Problem
from jbg.studies.study import Plan
from jbg.training import Stage, device_mesh

Cases = Iterator[tuple[str, Callable[[], None]]]

SMALL_EXCHANGE = {"n_rounds": 100, "n_burn_in": 60}
TINY_FLOW = {
    "n_blocks": 1,
    "n_circular_blocks": 1,
    "conditioner": MLP(hidden=(8, 8)),
    "n_bins": 4,
    "unroll": 1,
}
TINY_EXCHANGE = SMALL_EXCHANGE | {"n_ladders": 4, "n_burn_in": 10, "n_steps": 3, "n_rotations": 1}


def plan_of(*, whole: bool, tiny: bool) -> Plan:
    """Alanine dipeptide by the quick preset; not ``whole``: as little data as coordinates can be fitted to."""
    plan = engine.make_plan("alanine-dipeptide", preset="quick", seed=0)
    if tiny or not whole:
        few = TINY_EXCHANGE if tiny else SMALL_EXCHANGE
        exchange = dataclasses.replace(plan.data.exchange, **few)
        plan = dataclasses.replace(plan, data=dataclasses.replace(plan.data, exchange=exchange))
    if not tiny:
        return plan
    short = {"steps": 20, "warmup": 0, "log_every": 10, "eval_every": 20, "batch_size": 64}
    return dataclasses.replace(
        plan,
        flow=dataclasses.replace(plan.flow, **TINY_FLOW),
        stages=tuple(dataclasses.replace(stage, **short) for stage in plan.stages),
        sampling=dataclasses.replace(plan.sampling, n=4000, batch=500),
    )


def whole_run(args: argparse.Namespace) -> Cases:
    yield "run", functools.partial(stages_of_run, args)


def stages_of_run(args: argparse.Namespace) -> None:
    """As `jbg run` does it; compile seconds are those that XLA takes, tracing not counted."""
    run = engine.open_run(args.work / "alanine", plan_of(whole=True, tiny=args.small))
    compiling = []

    def on_event(event: str, seconds: float, **_) -> None:
        if event.endswith("backend_compile_duration"):
            compiling.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(on_event)
    stages = {
        "simulate": lambda: engine.simulate(run, quiet=True),
        "train": lambda: engine.train(run, quiet=True),
        "sample": lambda: engine.sample(run, quiet=True),
        "evaluate": lambda: engine.evaluate(run),
        "report": lambda: pages.write_report(run),
    }
    total = 0.0
    for stage, call in stages.items():
        begin, before = time.perf_counter(), len(compiling)
        call()
        seconds = time.perf_counter() - begin
        total += seconds
        report(f"run/{stage}", seconds, "s", compile_seconds=round(sum(compiling[before:]), 2))
    found = run.read_json("results.json")
    results = {name: found[name] for name in ("ess_fraction", "free_energy_differences")}
    report("run/all", total, "s", compile_seconds=round(sum(compiling), 2), **results)


@functools.cache
def alanine(work: Path, tiny: bool) -> tuple[Problem, Any]:  # noqa: FBT001
    """Problem and trained flow of the whole run; where there is none, a small problem and an untrained flow."""
    for folder, whole in (("alanine", True), ("alanine-small", False)):
        run = engine.open_run(work / folder, plan_of(whole=whole, tiny=tiny))
        if not whole:
            engine.simulate(run, quiet=True)
        if run.stage_done("simulate"):
            break
    problem = engine.load_problem(run)
    if run.stage_done("train"):
        return problem, engine.load_params(run, problem)
    return problem, problem.flow.init(jax.random.key(0))


def flow(args: argparse.Namespace) -> Cases:
    plan = plan_of(whole=True, tiny=args.small)
    dispersion = plan.stages[0]
    by_example = dataclasses.replace(dispersion, name="by-example-likelihood", losses=(NLL(),))
    own = own_samples_stage("quick", plan.data.atoms)
    small, large = (64, 128) if args.small else (512, 4096)
    draws = (500,) if args.small else (2000, 100_000, 20_000)
    problem = functools.partial(alanine, args.work, args.small)
    yield f"flow/{dispersion.name}", functools.partial(training, problem, dispersion, small)
    for batch in draws:
        yield "flow/draw_at", functools.partial(drawing, problem, batch)
    for batch in (small, large):
        yield f"flow/{own.name}", functools.partial(training, problem, own, batch)
    yield "flow/log_prob", functools.partial(densities, problem, draws[-1])
    yield "flow/round_trip", functools.partial(round_trip, problem)
    for stage, batch in [(by_example, small), (dispersion, large), (by_example, large)]:
        yield f"flow/{stage.name}", functools.partial(training, problem, stage, batch)
    name, steps = "realnvp_76d_16x200", 2 if args.small else 20
    yield (
        f"flow/{name}",
        lambda: bench_flow.bench(
            f"flow/{name}", bench_flow.FLOWS[name](), batch=large, steps=steps
        ),
    )


def training(problem: Callable[[], tuple[Problem, Any]], stage: Stage, batch: int) -> None:
    """Steps as the stage does them, with a batch that may be another, of data in proportion."""
    problem, params = problem()
    share = (stage.data_batch or stage.batch_size) / stage.batch_size
    stage = dataclasses.replace(stage, batch_size=batch, data_batch=round(batch * share))
    timing = time_training(
        problem.make_loss(stage, device_mesh()),
        stage.optimiser(),
        params,
        jnp.asarray(problem.examples.rows),
        data_batch=stage.data_batch,
        n_steps=stage.log_every,
        ema=stage.ema,
    )
    settings = {"batch": batch, "data_batch": stage.data_batch}
    rate = stage.log_every / timing.seconds
    report(f"flow/{stage.name}", rate, "steps/s", **settings, **timing.costs())


def drawing(problem: Callable[[], tuple[Problem, Any]], batch: int) -> None:
    """Samples with their densities and true energies."""
    problem, params = problem()
    draw = dataclasses.replace(problem, batch=batch).draw_at(1.0)
    timing = time_compiled(draw, (params, ()), jax.random.key(1))
    report("flow/draw_at", batch / timing.seconds, "samples/s", batch=batch, **timing.costs())


def densities(problem: Callable[[], tuple[Problem, Any]], batch: int) -> None:
    """ln q of frames of the simulation, repeated to the batch."""
    problem, params = problem()
    train = problem.examples.train
    v = jnp.asarray(np.resize(train, (batch, train.shape[1])).T)
    x, _ = jax.jit(problem.coords.forward)((), v)
    timing = time_compiled(problem.generator.log_prob, (params, ()), x)
    report("flow/log_prob", batch / timing.seconds, "densities/s", batch=batch, **timing.costs())


def round_trip(problem: Callable[[], tuple[Problem, Any]]) -> None:
    """|ln q| of samples as drawn less that of their inversion: what float32 and products of matrices cost here."""
    problem, params = problem()
    for precision in ("default", "highest"):
        with jax.default_matmul_precision(precision):
            draw = jax.jit(lambda params, key: problem.generator.sample(key, params, 2000))
            drawn = draw((params, ()), jax.random.key(2))
            again = jax.jit(problem.generator.log_prob)((params, ()), drawn.x)
        apart = np.abs(np.asarray(again - drawn.log_prob))
        quantiles = np.quantile(apart, [0.5, 0.9, 0.99])
        report(f"flow/round_trip/{precision}", quantiles[0], "kT, median", batch=2000,
               quantile_90=float(quantiles[1]), quantile_99=float(quantiles[2]))  # fmt: skip
