"""The study of the dimer from one closed configuration: exploration finds the open state, no umbrella sampling.

Exploration with hot moves (`jbg.sampling.exploration`) keeps the configurations of lowest energy that it saw in
each state. Cooled step by step, they start independent chains confined to the state, at the temperatures of the
study and with a long burn-in. From there on it is the study of `jbg.studies.dimer.umbrella`: a
flow trained on half of each state, by example and by energy, and BAR through it. The exploration's own flow is
thrown away: it learnt a hot density.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jbg import coords, flows
from jbg.generator import Generator
from jbg.interfaces import RunError, State, System, Target
from jbg.runs import Run
from jbg.runs.progress import progress
from jbg.sampling.exploration import Exploration, ExplorationState
from jbg.sampling.generate import SampleSet
from jbg.simulation.hmc_chains import hmc_chains
from jbg.studies.dimer import data as dimer_data
from jbg.studies.dimer import settings as dimer_settings
from jbg.studies.dimer import umbrella as lj_dimer
from jbg.studies.dimer.exploring import explore_in
from jbg.studies.problem import Problem
from jbg.systems import lj_dimer as make_system
from jbg.targets import make_target, soften

DESCRIPTION = "the same dimer from one closed configuration: the open state by exploration"
ARCHIVE = "data/archive.npz"
EDGES = np.linspace(0.7, 2.3, 101)  # of the profile along the dimer distance
EXPLORATION = Exploration(
    buffer=512,
    moves=10,
    first_steps=200,
    train_steps=20,
    energy_batch=8,
    noise=0.02,
    step=0.1,
    first_tau=30.0,
    last_tau=30.0,
    w_kl=0.01,
    global_moves=0.1,
)
N_RUNGS = 5  # temperatures of cooling
MOVING = 10  # trajectories in which a chain that is well moves
load = lj_dimer.load


class Explorer(NamedTuple):
    """What explores: a system, its density, that for training by energy, and a generator."""

    system: System
    target: Target
    train_target: Target
    generator: Generator


def make_config(
    *,
    preset: str,
    seed: int,
    taus: Sequence[float] = (1.0,),
    w_rc: float = 0.0,
    dimer: str = "tilted",
    wall: float = 200.0,
) -> dict[str, Any]:
    """Options and errors as those of the dimer's study with umbrella sampling."""
    config = dimer_settings.make_config(
        preset=preset, seed=seed, taus=taus, w_rc=w_rc, dimer=dimer, wall=wall
    )
    simulation = {k: v for k, v in config["simulation"].items() if k != "umbrella"} | {
        "exploration": dataclasses.asdict(EXPLORATION),
        "explorer": {"n_blocks": 4, "hidden": [100, 100]},
        "n_cooling": 200,
        "n_burn_in": 2000,
    }
    return config | {"system": "lj-dimer-explored", "simulation": simulation}


def shorten(config: dict[str, Any]) -> dict[str, Any]:
    """The same study in seconds, to see that it runs; its numbers mean nothing.

    Copies of the start are so noisy that some are open from the first.
    """
    simulation = config["simulation"]
    few = {"budget": 8000, "buffer": 256, "batch": 256, "moves": 4, "train_steps": 2}
    hot = {"first_steps": 5, "data_batch": 32, "energy_batch": 8, "noise": 0.3}
    small = {"n_blocks": 1, "hidden": [16]}
    steps = {"steps": 10, "batch_size": 32, "log_every": 10, "eval_every": 0, "warmup": 0}
    return config | {
        "simulation": simulation
        | {"exploration": simulation["exploration"] | few | hot, "explorer": small}
        | {
            "n_chains": 20,
            "n_frames": 10,
            "n_frames_other": 5,
            "stride": 20,
            "n_cooling": 100,
            "n_burn_in": 300,
        },
        "flow": config["flow"]
        | {"n_blocks": 1, "conditioner": {"kind": "per_variable", "hidden": [16]}},
        "stages": [stage | steps for stage in config["stages"]],
        "sampling": config["sampling"] | {"n": 2000, "batch": 1000},
    }


def exploration(config: dict[str, Any]) -> Exploration:
    """The settings of the exploration that a configuration holds."""
    values = config["simulation"]["exploration"]
    return Exploration(**(values | {"taus": tuple(values["taus"])}))


def simulate_evaluations(config: dict[str, Any]) -> int:
    """Energies of the exploration, at most, and of the chains in both states."""
    chains = sum(2 * chain_evaluations(config, tau) for tau in config["sampling"]["taus"])
    return exploration(config).budget + chains


def chain_evaluations(config: dict[str, Any], tau: float) -> int:
    """Energies of the chains in one state at one temperature, cooling included."""
    c = config["simulation"]
    rung = c["n_chains"] * (c["n_cooling"] + 2 * MOVING) * (c["n_leapfrog"] + 1)
    return N_RUNGS * rung + dimer_settings.chain_evaluations(config, tau)


def cost(config: dict[str, Any]) -> dict[str, Any]:
    """Energies of exploration and data, and minutes on four cores."""
    n = simulate_evaluations(config)
    seconds = n / 1e6 + sum(0.06 * s["steps"] * s["batch_size"] / 256 for s in config["stages"])
    seconds += 60 + exploration(config).budget / 10_000  # of it a minute to compile
    return {"energy_evaluations_simulate": n, "minutes": round(1 + seconds / 60, 1)}


def explorer(config: dict[str, Any]) -> Explorer:
    """A RealNVP about the closed configuration; the discs may change places, chains are labelled afterwards."""
    options, flow = config["options"], config["simulation"]["explorer"]
    system = make_system(dimer=options["dimer"], wall=options["wall"])
    fit = coords.Standardisation(system.start[0], np.full(system.dim, 0.3))
    bijector = flows.chain(flows.realnvp(system.dim, **flow), coords.standardisation(fit))
    target = make_target(system)
    return Explorer(
        system=system,
        target=target,
        train_target=soften(target, e_high=500.0, e_max=1e20),
        generator=Generator(base=flows.normal(system.dim), bijector=bijector),
    )


def simulate(run: Run, *, quiet: bool) -> None:
    """Exploration from one closed configuration, then chains in each state from what it archived."""
    taus = run.config["sampling"]["taus"]
    with progress(run, "simulate", total=simulate_evaluations(run.config), quiet=quiet) as bar:
        show = lambda state, history: bar.update(int(state.n_evaluations))
        spent = _explore(run, show)
        archive, chains = run.load_arrays(ARCHIVE), {}
        system = dimer_data.system_of(run)
        for t, tau in enumerate(taus):
            for i, state in enumerate(system.states):
                start = cooled(run, system, state, archive[f"frames_{i}"], tau)
                chains[f"frames_{t}_{i}"] = dimer_data.state_chains(run, system, state, start, tau)
                spent += chain_evaluations(run.config, tau)
                bar.update(spent)
        run.save_arrays(dimer_data.FRAMES, evaluations=spent, **chains)


def cooled(run: Run, system: System, state: State, frames: np.ndarray, tau: float) -> np.ndarray:
    """Starts of chains of a state ``(n_chains, dim)``, cooled from the moves' temperature to tau.

    The time step is the same for all chains: one left in a stiff corner would reject for ever. Those that stand
    still at the end are replaced by copies of those that move.

    Which start a chain gets is drawn, so that those held out from training are not the ones of lowest energy.

    Raises:
        RunError: less than half of them move.
    """
    c = run.config["simulation"]
    target = dimer_data.confined(run, state)
    rng = np.random.default_rng(run.seed_for(f"starts {state.name} {tau:g}"))
    x = rng.permutation(np.resize(frames, (c["n_chains"], system.dim)))
    ladder = np.geomspace(max(exploration(run.config).last_tau, tau), tau, N_RUNGS)
    key = run.key(f"cooling {state.name} {tau:g}")
    for i, rung in enumerate(ladder):
        found, _ = hmc_chains(
            jax.random.fold_in(key, i),
            target,
            x,
            n_steps=2 * MOVING,
            stride=MOVING,
            n_burn_in=c["n_cooling"],
            n_leapfrog=c["n_leapfrog"],
            tau=float(rung),
        )
        x = found[:, -1]
    moves = (found[:, 0] != found[:, 1]).any(axis=1)
    if moves.mean() < 0.5:
        raise RunError(
            f"lj-dimer-explored: {np.count_nonzero(moves)} of {len(moves)} chains of the state {state.name} move"
            f" at tau {tau:g}, half of them have to: lengthen n_cooling"
        )
    return np.where(moves[:, None], x, np.resize(x[moves], x.shape))


def _explore(run: Run, show) -> int:
    """Explores and writes the archive of each state; returns the energies it took."""
    parts = explorer(run.config)
    settings = exploration(run.config)
    last = explore_in(
        run,
        parts.generator,
        parts.target,
        parts.system.start[0],
        train_target=parts.train_target,
        settings=settings,
        states=parts.system.states,
        on_part=show,
    )
    run.save_arrays(ARCHIVE, **archive_frames(last, parts.system.states, settings))
    return int(last.n_evaluations)


def archive_frames(
    last: ExplorationState, states: tuple[State, ...], settings: Exploration
) -> dict[str, np.ndarray]:
    """Frames ``(n, dim)`` of each state."""
    u = np.asarray(last.archive.u)
    for state, energies in zip(states, u, strict=True):
        if not np.isfinite(energies).any():
            raise RunError(
                f"lj-dimer-explored: {int(last.n_evaluations)} energies with moves at tau {settings.first_tau:g} "
                f"never saw the state {state.name}: raise first_tau or the budget, or take another seed"
            )
    return {f"frames_{i}": np.asarray(last.archive.x)[i][np.isfinite(u[i])] for i in range(len(u))}


def reference_difference(
    run: Run, problem: Problem, a: State, b: State, tau: float
) -> dict[str, Any]:
    """None: nothing here but the generator says how the states compare."""
    del run, problem, a, b, tau
    return {
        "reference": None,
        "reference_stderr": None,
        "reference_reason": "none was simulated: `jbg run lj-dimer` makes one",
        "reference_expected": False,
    }


def evaluate(
    run: Run, problem: Problem, samples: SampleSet, log_w: np.ndarray
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Profile along the dimer distance."""
    del problem
    return lj_dimer.PROFILES, lj_dimer.profile(run, samples, log_w, EDGES)
