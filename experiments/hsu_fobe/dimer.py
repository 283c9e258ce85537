"""Hsu and Fobe 2020, system 3: their dimer in its bath, with the energy as it was meant.

A RealNVP of 8 blocks, 3 hidden layers of 200, on data of both states at tau = 1, by example alone (ML) and by
example and energy (ML+KL). Their dimer has the supplement's form with a linear last term, a barrier of 1 kT,
and a wall of 100; their code counts the pairs of discs twice, its Metropolis step moves all particles as one,
and its masks part the first 38 from the last 38 coordinates. Here each pair counts once (`systems.dimer`), the
data come from hybrid Monte Carlo, and the masks part x from y. They report for ML a lowest generated energy of
119.3, all weights zero and hence no free energy, and 2.7 s for a step by energy of 16 samples. Energies differ
by the pairs counted twice: the lowest energy says how near a sample comes, no more.

F(open) - F(closed), split at d = 1.5, is by plain reweighting and by BAR through the flow, beside umbrella
sampling; a number that cannot be trusted is left out, with the reason.

    python experiments/hsu_fobe/dimer.py --out runs/hsu-fobe-dimer
"""

import dataclasses
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import tyro

import jbg
from jbg import analysis, flows, reweighting
from jbg.losses import NLL, ReverseKL
from jbg.report import comparison
from jbg.report.comparison import Row
from jbg.runs import Run
from jbg.sampling.generate import SampleSet
from jbg.studies import engine, two_generators
from jbg.studies.dataset import load_dataset
from jbg.studies.dimer import umbrella
from jbg.studies.dimer.problem import both_states
from jbg.studies.evidence import weigh
from jbg.studies.problem import Problem
from jbg.training import Hooks

ML = jbg.Stage(
    name="ML", steps=3000, batch_size=256, learning_rate=1e-3, warmup=100, losses=(NLL(),), ema=0.99,
    clip_norm=100.0, log_every=100,
)  # fmt: skip
ML_KL = dataclasses.replace(
    ML,
    name="ML+KL",
    steps=1000,
    learning_rate=3e-4,
    losses=(NLL(), ReverseKL()),
    e_high=1e3,
    e_max=1e10,
)
TRAININGS = {"ML": (ML,), "ML+KL": (ML, ML_KL)}
SIMULATION = {
    "n_chains": 50,
    "n_frames": 800,
}  # umbrella sampling leaves 62 independent frames of closed
FAST = {"n_chains": 5}  # few frames are closed
PUBLISHED = {"ML": {"lowest energy": 119.3, "ESS": 0.0}, "ML+KL": {"seconds": 2.7 / 16}}


def data_of(out: Path, seed: int, *, fast: bool) -> Run:
    """The run that holds the data and the reference."""
    plan = jbg.make_plan("lj-dimer", seed=seed, taus=(1.0,), dimer="hsu-fobe", wall=100.0)
    plan, sizes = (umbrella.shorten(plan), FAST) if fast else (plan, SIMULATION)
    chains = dataclasses.replace(plan.data.chains, **sizes)
    plan = dataclasses.replace(plan, data=dataclasses.replace(plan.data, chains=chains))
    run = jbg.open_run(out / f"data-seed-{seed}", plan)
    engine.simulate(run, quiet=True)
    return run


def train(run: Run, problem: Problem, stages: tuple[jbg.Stage, ...]):
    """Parameters, and seconds for one sample of a step of the last stage, compilation left out."""
    stamps = []
    keep = lambda stage, step, values: stamps.append((stage.name, step, time.monotonic()))
    params = jbg.run_stages(
        stages, make_loss=problem.make_loss, params=problem.flow.init(run.key("init")),
        data=jnp.asarray(problem.examples.rows), key=run.key("train"), hooks=Hooks(on_log=keep),
    )  # fmt: skip
    times = [(step, at) for name, step, at in stamps if name == stages[-1].name]
    (first, begun), (last, ended) = times[0], times[-1]
    return (params, ()), (ended - begun) / ((last - first) * stages[-1].batch_size)


def rows_of(
    run: Run, problem: Problem, training: str, stages: tuple[jbg.Stage, ...], n: int
) -> list[Row]:
    """The numbers of one training."""
    plan, (params, seconds) = engine.plan_of(run), train(run, problem, stages)
    w = weigh(problem, SampleSet(*two_generators.draw(run.key("draw"), problem, params, n=n)), 1.0)
    a, b = problem.system.states
    inside = [np.asarray(s.contains(w.samples.positions.T)) for s in (a, b)]
    plain = analysis.free_energy_difference(w.log_w, *inside, seed=run.seed_for("reweighting"))
    bar = analysis.bar_free_energy_difference(
        *both_states(problem, params[0], w, load_dataset(run), plan),
        same_generator=True,
        seed=run.seed_for("bar"),
    )
    known = umbrella.reference(run, plan, 1.0).value
    in_cell = w.samples.reduced_energy[np.isfinite(w.log_w)]
    lowest = float(in_cell.min()) if len(in_cell) else None
    u_data = problem.target.reduced_energy(
        problem.coords.forward((), problem.examples.heldout.T)[0]
    )
    printed, counts = (
        PUBLISHED[training],
        f"{n} samples, {w.counts['outside_cell_share']:.1%} of other labelling",
    )
    what = f"F({b.name}) - F({a.name})"
    numbers = [
        (f"{what}, reweighting", "kT", None, known, plain.value, plain.stderr, plain.reason or ""),
        (f"{what}, BAR", "kT", None, known, bar.value, bar.stderr, bar.reason or ""),
        ("ESS fraction", "", printed.get("ESS"), 1.0, reweighting.ess_fraction(w.log_w), None, counts),
        ("lowest energy", "kT", printed.get("lowest energy"), float(u_data.min()), lowest, None,
         "theirs counts pairs of discs twice; reference: lowest of the data"),
        ("step, each sample", "s", printed.get("seconds"), None, seconds, None, f"batch {stages[-1].batch_size}"),
    ]  # fmt: skip
    return [
        Row(
            "dimer of Hsu and Fobe",
            training,
            name,
            unit,
            theirs,
            reference,
            value,
            error,
            run.seed,
            note,
        )
        for name, unit, theirs, reference, value, error, note in numbers
    ]


def main(
    seed: int = 0, n: int = 50_000, out: Path = Path("runs/hsu-fobe-dimer"), *, fast: bool = False
) -> None:
    """The table; ``fast``: few steps and samples, to see that it runs."""
    run = data_of(out, seed, fast=fast)
    problem = engine.load_problem(run)
    sizes = {"n_blocks": 1, "hidden": (16,)} if fast else {"n_blocks": 8, "hidden": (200,) * 3}
    bijector = flows.realnvp(problem.system.dim, **sizes)
    flow = jbg.Generator(base=problem.flow.base, bijector=bijector)
    symmetry = problem.symmetry.not_averaged()
    problem, rows = dataclasses.replace(problem, flow=flow, symmetry=symmetry), []
    for training, stages in TRAININGS.items():
        few = {"steps": 20, "log_every": 10, "batch_size": 32, "warmup": 0}
        stages = tuple(dataclasses.replace(s, **few) if fast else s for s in stages)
        rows += rows_of(run, problem, training, stages, 2000 if fast else n)
    print(comparison.text(rows))
    comparison.write(rows, out / "table.json")


if __name__ == "__main__":
    tyro.cli(main)
