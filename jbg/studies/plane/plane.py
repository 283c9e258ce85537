"""What studies of two-dimensional systems share: Metropolis data, a spline flow, references by quadrature."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from jbg import flows
from jbg.analysis import weighted_profile
from jbg.interfaces import State, System
from jbg.losses import NLL, OwnSamples, ReactionCoordinate, ReverseKL, Term
from jbg.runs import Run
from jbg.sampling.generate import SampleSet
from jbg.simulation.metropolis import metropolis
from jbg.studies import pooled
from jbg.studies.model_options import check_options
from jbg.studies.problem import Problem, Simulated
from jbg.targets import (
    find_bounds,
    free_energy_difference_quadrature,
    make_target,
    profile_quadrature,
    project,
    restrict,
)
from jbg.training import Stage, settings_of

DATA = "data/frames.npz"
SAMPLES = {"quick": 100_000, "full": 1_000_000}
SAMPLES_PER_TAU = {"quick": 500_000, "full": 1_000_000}  # states are rare at the lowest of several
PER_TAU = 128  # samples of a training step at each of several temperatures, at least
# Several temperatures. What a flow leaves out it draws no samples of, and never learns: strips of 2 to 5 % of the
# Mueller-Brown potential at tau = 3, unseen by their own error bars. So training goes on to a higher temperature,
# has simulated data there too, and more of the divergence that covers tails.
HOTTER = 1.5
HOT_CHAINS = 20  # in each region
AT_SEVERAL = {"learning_rate": 1e-3, "warmup": 200}

BY_EXAMPLE = Stage(
    name="by-example",
    steps=500,
    batch_size=256,
    learning_rate=3e-3,
    losses=(NLL(),),
    ema=0.98,
    log_every=20,
    eval_every=100,
)
# the example weight ends low: with data 50/50 in the wells, equal weights cap the ESS at 0.86;
# the weighted forward KL keeps the tails that reverse KL alone would cut (Pareto k 0.8 -> 0.4)
BY_EXAMPLE_AND_ENERGY = Stage(
    name="by-example-and-energy",
    steps=1600,
    batch_size=512,
    learning_rate=2e-3,
    losses=(NLL(0.1), ReverseKL(1.0), OwnSamples(0.5, log_variance=0.0)),
    ema=0.99,
    log_every=20,
    eval_every=200,
)
STAGES = {
    "quick": (BY_EXAMPLE, BY_EXAMPLE_AND_ENERGY),
    "full": (
        BY_EXAMPLE,
        dataclasses.replace(BY_EXAMPLE_AND_ENERGY, steps=8000, batch_size=1024, eval_every=1000),
    ),
}


class Axis(NamedTuple):
    """A profile to report: along ``direction`` in the plane, between ``edges``."""

    direction: tuple[float, float]
    edges: np.ndarray
    label: str


def make_config(
    system: str,
    *,
    preset: str,
    seed: int,
    coefficients: dict[str, float],
    taus: Sequence[float],
    w_rc: float,
    simulation: dict[str, Any],
) -> dict[str, Any]:
    """The configuration of a study in the plane, trained and sampled at the relative temperatures ``taus``.

    ``w_rc`` weighs the entropy along the system's collective variable in the second stage.

    Raises:
        ConfigError: temperatures that are none, or without 1; a negative weight.
    """
    taus = check_options(taus, w_rc)
    first, second = STAGES[preset]
    n, trained = SAMPLES[preset], taus
    if len(taus) > 1:
        n, trained = SAMPLES_PER_TAU[preset], (*taus, HOTTER * max(taus))
        each = max(PER_TAU, second.batch_size // len(trained))
        second = dataclasses.replace(second, **AT_SEVERAL, batch_size=each * len(trained))
    second = dataclasses.replace(second, losses=_losses(trained, w_rc))
    # the splines reach as far as the hottest base does
    reach = max(1.0, *trained) ** 0.5
    return {
        "system": system,
        "preset": preset,
        "seed": seed,
        "options": coefficients | {"taus": taus, "w_rc": w_rc},
        "simulation": simulation | {"heldout": 0.1, "hot_tau": trained[-1]},
        "flow": {
            "n_blocks": 3,
            "conditioner": {"kind": "mlp", "hidden": [64, 64]},
            "n_bins": round(10 * reach),
            "bound": 5.0 * reach,
        },
        "stages": [settings_of(stage) for stage in (first, second)],
        "sampling": {"n": n, "batch": 10_000, "taus": taus},
    }


def _losses(taus: tuple[float, ...], w_rc: float) -> tuple[Term, ...]:
    """Of the second stage: at several temperatures more of the divergence that covers tails."""
    w_kl, w_own = (1.0, 0.5) if len(taus) == 1 else (0.3, 1.0)
    along = ReactionCoordinate(w_rc / w_kl) if w_rc else None
    return (
        NLL(0.1),
        ReverseKL(w_kl, taus=taus, along=along),
        OwnSamples(w_own, log_variance=0.0, taus=taus),
    )


def shorten(config: dict[str, Any], *, steps: int = 20, n: int = 2000) -> dict[str, Any]:
    """The same study in seconds, to see that it runs; its numbers mean nothing.

    The last stage alone, few steps and samples, a small network: most of the time goes into compiling.
    """
    few = {"steps": steps, "log_every": 10, "eval_every": 0}
    n_taus = max(len(term.get("taus", (1.0,))) for term in config["stages"][-1]["losses"])
    few |= {"warmup": 0, "batch_size": 32 * n_taus}
    return config | {
        "simulation": config["simulation"] | {"n_steps": 400, "stride": 2},
        "flow": config["flow"]
        | {"n_blocks": 1, "conditioner": {"kind": "mlp", "hidden": [8]}, "n_bins": 4},
        "stages": [stage | few for stage in config["stages"][-1:]],
        "sampling": config["sampling"] | {"n": n, "batch": min(n, 1000)},
    }


def cost(config: dict[str, Any], n_chains: int) -> dict[str, Any]:
    """Energies of the data, and minutes on a laptop."""
    hot = HOT_CHAINS if config["simulation"].get("hot_tau", 1.0) > 1 else 0
    n = n_chains * (1 + hot) * (config["simulation"]["n_steps"] + 1)
    seconds = sum(0.012 * s["steps"] * max(1, s["batch_size"] / 512) for s in config["stages"])
    return {"energy_evaluations_simulate": n, "minutes": round(0.3 + seconds / 60, 1)}


def simulate(run: Run, system: System, regions: Sequence[Callable[[Array], Array]]) -> None:
    """Metropolis from each configuration of ``system.start``, confined to its region: no chain leaves it.

    One chain at tau = 1; where the flow learns at several temperatures, also HOT_CHAINS at the hottest.
    """
    c = run.config["simulation"]
    kinds = [("frames", "metropolis", 1, 1.0)]
    if c["hot_tau"] > 1:
        kinds.append(("hot", "metropolis hot", HOT_CHAINS, c["hot_tau"]))
    target, arrays, evaluations = make_target(system), {}, 0
    confined = [restrict(target, contains) for contains in regions]
    for name, stream, n_chains, tau in kinds:
        chains = [
            metropolis(
                jax.random.fold_in(run.key(stream), i),
                region,
                np.repeat(system.start[i : i + 1], n_chains, axis=0),
                step=c["step"] * tau**0.5,
                n_steps=c["n_steps"],
                stride=c["stride"] * n_chains,
                tau=tau,
            )
            for i, region in enumerate(confined)
        ]
        arrays[name] = np.concatenate(chains)
        evaluations += len(arrays[name]) * (c["n_steps"] + 1)
    run.save_arrays(DATA, evaluations=evaluations, **arrays)


def load(run: Run, system: System) -> Problem:
    """The problem: a spline flow from the plane to the plane."""
    data = run.load_arrays(DATA)
    frames, flow = data["frames"], run.config["flow"]
    n_train = round(frames.shape[1] * (1 - run.config["simulation"]["heldout"]))
    train = frames[:, :n_train].reshape(-1, 2)
    return Problem(
        system=system,
        target=make_target(system),
        base=flows.normal(2),
        # a spline opens the two wells in one monotone map of x; affine layers fold the plane to do so, and
        # cut the tails of the smaller well (its free energy came out 0.03 kT too high)
        flow=flows.spline_flow(0, 2, flows.spline_flow_config(flow)),
        coords=flows.permute(np.arange(2)),
        train=train,
        heldout=frames[:, n_train:].reshape(-1, 2),
        simulated=Simulated.all_usable(frames[:, n_train:]),
        u_reference=float(np.median(system.potential(train.T))),
        batch=run.config["sampling"]["batch"],
        simulation_evaluations=int(data["evaluations"]),
        differences=pooled.differences
        if len(run.config["sampling"].get("taus", (1.0,))) > 1
        else None,
        hot=data["hot"].reshape(-1, 2) if "hot" in data else None,
        hot_tau=run.config["simulation"].get(
            "hot_tau", 1.0
        ),  # runs made before there were any have none
    )


def reference_difference(
    run: Run, problem: Problem, a: State, b: State, tau: float
) -> dict[str, Any]:
    """The exact F(b) - F(a), by quadrature."""
    del run
    system = problem.system
    bounds = find_bounds(system.potential, system.start, tau=tau)
    value = free_energy_difference_quadrature(
        system.potential, bounds, a.contains, b.contains, tau=tau
    )
    return {"reference": value, "reference_stderr": 0.0}


def evaluate(
    run: Run,
    problem: Problem,
    samples: SampleSet,
    log_w: np.ndarray,
    *,
    axes: Mapping[str, Axis],
    window: tuple[tuple[float, float], tuple[float, float]],
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Profiles along ``axes`` beside the exact ones, configurations over contours in ``window``."""
    system = problem.system
    bounds = find_bounds(system.potential, system.start)
    arrays = {"x_generated": np.asarray(samples.positions[:2000])}
    for name, axis in axes.items():
        s = project(samples.positions.T, axis.direction)
        stream = "profile" if name == "x" else f"profile {name}"
        seed = run.seed_for(stream)
        weighted = weighted_profile(s, log_w, axis.edges, seed=seed)
        plain = weighted_profile(s, np.zeros_like(log_w), axis.edges, seed=seed)
        exact = profile_quadrature(system.potential, bounds, axis.edges, direction=axis.direction)
        arrays |= {
            f"profile_{name}_centers": 0.5 * (axis.edges[1:] + axis.edges[:-1]),
            f"profile_{name}_reference": exact,
            f"profile_{name}_reweighted": weighted.free_energy,
            f"profile_{name}_stderr": weighted.stderr,
            f"profile_{name}_generated": plain.free_energy,
        }
    grid_x, grid_y = np.linspace(*window[0], 120), np.linspace(*window[1], 100)
    arrays |= {
        "contour_x": grid_x,
        "contour_y": grid_y,
        "contour_u": system.potential(np.stack(np.meshgrid(grid_x, grid_y))),
    }
    return {
        "profiles": {name: {"label": axis.label, "unit": ""} for name, axis in axes.items()}
    }, arrays
