"""The study of a double well: Metropolis data in each well, a spline flow, exact reference by quadrature."""

import dataclasses
from typing import Any

import jax
import numpy as np

from jbg import flows
from jbg.analysis import weighted_profile
from jbg.interfaces import State
from jbg.presets.problem import Problem
from jbg.runs import Run
from jbg.sampling.generate import SampleSet
from jbg.sampling.metropolis import metropolis
from jbg.systems import double_well
from jbg.targets import (
    find_bounds,
    free_energy_difference_quadrature,
    make_target,
    profile_quadrature,
    restrict,
)
from jbg.training import Stage

DESCRIPTION = "two-dimensional double well of Noe et al. 2019, exact reference by quadrature"
OPTIONS = {"a4": 1.0, "a2": 6.0, "a1": 1.0, "k": 1.0}
DATA = "data/frames.npz"

STAGES = {
    "quick": (
        Stage(
            name="by-example",
            steps=500,
            batch_size=256,
            learning_rate=3e-3,
            w_nll=1.0,
            ema=0.98,
            log_every=20,
            eval_every=100,
        ),
        # the example weight ends low: with data 50/50 in the wells, equal weights cap the ESS at 0.86;
        # the weighted forward KL keeps the tails that reverse KL alone would cut (Pareto k 0.8 -> 0.4)
        Stage(
            name="by-example-and-energy",
            steps=1600,
            batch_size=512,
            learning_rate=2e-3,
            w_nll=0.1,
            w_kl=1.0,
            w_forward_kl=0.5,
            ema=0.99,
            log_every=20,
            eval_every=200,
        ),
    ),
}
STAGES["full"] = (
    STAGES["quick"][0],
    dataclasses.replace(STAGES["quick"][1], steps=8000, batch_size=1024, eval_every=1000),
)
SAMPLES = {"quick": 100_000, "full": 1_000_000}


def make_config(*, preset: str, seed: int, **options: Any) -> dict[str, Any]:
    """Options: the coefficients a4, a2, a1, k of U = a4 x^4 - a2 x^2 + a1 x + k y^2/2."""
    coefficients = OPTIONS | {name: value for name, value in options.items() if value is not None}
    double_well(**coefficients)  # refuses what has no two wells before anything is written
    return {
        "system": "double-well",
        "preset": preset,
        "seed": seed,
        "options": coefficients,
        "simulation": {"step": 0.1, "n_steps": 10_000, "stride": 10, "heldout": 0.1},
        "flow": {"n_blocks": 3, "hidden": [64, 64], "n_bins": 10},
        "stages": [dataclasses.asdict(stage) for stage in STAGES[preset]],
        "sampling": {"n": SAMPLES[preset], "batch": 10_000},
    }


def cost(config: dict[str, Any]) -> dict[str, Any]:
    """Energies of the data, and minutes on a laptop."""
    n = 2 * (config["simulation"]["n_steps"] + 1)
    steps = sum(stage["steps"] for stage in config["stages"])
    return {"energy_evaluations_simulate": n, "minutes": round(0.3 + steps * 0.012 / 60, 1)}


def simulate(run: Run, *, quiet: bool) -> None:
    """Metropolis from each minimum, confined to its well: no trajectory ever crosses."""
    del quiet  # over in a second
    system = double_well(**run.config["options"])
    target, c = make_target(system), run.config["simulation"]
    chains = []
    for i, state in enumerate(system.states):
        key = jax.random.fold_in(run.key("metropolis"), i)
        confined = restrict(target, state.contains)
        chains.append(
            metropolis(
                key,
                confined,
                system.start[i : i + 1],
                step=c["step"],
                n_steps=c["n_steps"],
                stride=c["stride"],
            )[0]
        )
    run.save_arrays(DATA, frames=np.stack(chains), evaluations=len(chains) * (c["n_steps"] + 1))


def load(run: Run) -> Problem:
    system = double_well(**run.config["options"])
    data = run.load_arrays(DATA)
    frames, flow = data["frames"], run.config["flow"]
    n_train = round(frames.shape[1] * (1 - run.config["simulation"]["heldout"]))
    target = make_target(system)
    train = frames[:, :n_train].reshape(-1, 2)
    return Problem(
        system=system,
        target=target,
        base=flows.normal(2),
        # a spline opens the two wells in one monotone map of x; affine layers fold the plane to do so, and
        # cut the tails of the smaller well (its free energy came out 0.03 kT too high)
        flow=flows.spline_flow(
            0, 2, flows.SplineFlowConfig(**(flow | {"hidden": tuple(flow["hidden"])}))
        ),
        coords=flows.permute(np.arange(2)),
        train=train,
        heldout=frames[:, n_train:].reshape(-1, 2),
        u_reference=float(np.median(system.potential(train.T))),
        batch=run.config["sampling"]["batch"],
        simulation_evaluations=int(data["evaluations"]),
    )


def reference_difference(run: Run, problem: Problem, a: State, b: State) -> dict[str, Any]:
    """The exact F(b) - F(a), by quadrature."""
    del run
    system = problem.system
    bounds = find_bounds(system.potential, system.start)
    value = free_energy_difference_quadrature(system.potential, bounds, a.contains, b.contains)
    return {"reference": value, "reference_stderr": 0.0}


def evaluate(
    run: Run, problem: Problem, samples: SampleSet, log_w: np.ndarray
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Profile along x beside the exact one, configurations, latent space."""
    system = problem.system
    bounds = find_bounds(system.potential, system.start)
    edges = np.linspace(-2.5, 2.5, 101)
    x = samples.positions[:, 0]
    weighted = weighted_profile(x, log_w, edges, seed=run.seed_for("profile"))
    plain = weighted_profile(x, np.zeros_like(log_w), edges, seed=run.seed_for("profile"))
    grid_x, grid_y = np.linspace(-2.7, 2.7, 120), np.linspace(-4.5, 4.5, 100)
    grid = np.stack(np.meshgrid(grid_x, grid_y))
    arrays = {
        "profile_x_centers": 0.5 * (edges[1:] + edges[:-1]),
        "profile_x_reference": profile_quadrature(system.potential, bounds, edges),
        "profile_x_reweighted": weighted.free_energy,
        "profile_x_stderr": weighted.stderr,
        "profile_x_generated": plain.free_energy,
        "x_generated": np.asarray(samples.positions[:2000]),
        "contour_x": grid_x,
        "contour_y": grid_y,
        "contour_u": system.potential(grid),
    }
    return {"profiles": {"x": {"label": "x", "unit": ""}}}, arrays
