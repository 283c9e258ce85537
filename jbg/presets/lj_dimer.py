"""The study of the bistable dimer in its bath: umbrella reference, chains in each state, BAR through the flow."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jbg import coords, flows
from jbg.analysis import (
    StateSamples,
    bar_free_energy_difference,
    umbrella_reference,
    weighted_profile,
)
from jbg.analysis.umbrella_reference import filled_ladder
from jbg.interfaces import Params, RunError, State, System
from jbg.presets import dimer_settings as settings
from jbg.presets.problem import Problem
from jbg.progress import progress
from jbg.runs import Run
from jbg.sampling.generate import SampleSet
from jbg.sampling.hmc_chains import hmc_chains
from jbg.sampling.umbrella import UmbrellaState
from jbg.systems import dimer_distance, lj_dimer
from jbg.systems.dimer import lattice, symmetries
from jbg.targets import make_target, restrict

DESCRIPTION = (
    "bistable dimer in a bath of 36 discs of Noe et al. 2019, reference by umbrella sampling"
)
REFERENCE, FRAMES = "data/reference.npz", "data/frames.npz"
UMBRELLA = "data/umbrella.npz"  # where umbrella sampling stands, until it is done
CHECKPOINT_SECONDS = 60.0
MIN_IN_BIN = 10.0  # effective samples that a bin of the profile needs
PROFILES = {"profiles": {"d": {"label": "dimer distance d", "unit": ""}}}
make_config, cost = settings.make_config, settings.cost


def _system(run: Run):
    return lj_dimer(dimer=run.config["options"]["dimer"], wall=run.config["options"]["wall"])


def one_labelling(x: np.ndarray) -> np.ndarray:
    """x ``(n, 76)`` with the dimer's left particle first and the discs labelled as their lattice sites are."""
    x = np.array(x, np.float32)
    turned = x[:, 0] > x[:, 2]
    x[turned, :4] = x[turned][:, [2, 3, 0, 1]]
    return coords.relabel(x, lattice(36, 1.5), np.arange(2, 38)).astype(np.float32)


def in_cell(x: np.ndarray) -> np.ndarray:
    """Whether x ``(n, 76)`` is labelled as `one_labelling` does."""
    x = np.asarray(x)
    return (x[:, 0] <= x[:, 2]) & coords.in_cell(x, lattice(36, 1.5), np.arange(2, 38))


def simulate(run: Run, *, quiet: bool) -> None:
    """Umbrella sampling at every temperature, then independent chains in each state from its frames.

    Umbrella sampling goes on from where it was saved last, the chains from the last state and temperature done.
    """
    system, taus = _system(run), run.config["sampling"]["taus"]
    parts = {(t, i): f"data/frames-{t}-{i}.npz" for t in range(len(taus)) for i in range(2)}
    if not (run.path / FRAMES).exists():
        _make_frames(run, system, taus, parts, quiet=quiet)
    for part in (UMBRELLA, *parts.values()):  # what going on needed
        (run.path / part).unlink(missing_ok=True)


def _make_frames(
    run: Run,
    system: System,
    taus: Sequence[float],
    parts: dict[tuple[int, int], str],
    *,
    quiet: bool,
) -> None:
    """``parts`` are the files of each temperature and state, until all are done."""
    total = settings.simulate_evaluations(run.config)
    with progress(run, "simulate", total=total, quiet=quiet) as bar:
        if not (run.path / REFERENCE).exists():
            run.save_arrays(REFERENCE, **_umbrella(run, system, taus, bar.update))
        reference = run.load_arrays(REFERENCE)
        spent = int(reference["evaluations"])
        bar.update(spent)
        for (t, i), part in parts.items():
            if not (run.path / part).exists():
                frames = reference[f"frames_{t}_{i}"]
                found = state_chains(run, system, system.states[i], frames, taus[t])
                run.save_arrays(part, frames=found)
            spent += settings.chain_evaluations(run.config, taus[t])
            bar.update(spent)
        chains = {
            f"frames_{t}_{i}": run.load_arrays(part)["frames"] for (t, i), part in parts.items()
        }
        run.save_arrays(FRAMES, evaluations=spent, **chains)


def state_chains(
    run: Run, system: System, state: State, frames: np.ndarray, tau: float
) -> np.ndarray:
    """Frames ``(n_chains, n_frames, 76)`` of a state in one labelling, from equilibrium frames of it."""
    c = run.config["simulation"]
    n_frames = c["n_frames"] if tau == 1.0 else c["n_frames_other"]
    if len(frames) < c["n_chains"]:
        raise RunError(
            f"lj-dimer: umbrella sampling left {len(frames)} independent frames of {state.name} at tau {tau:g}, "
            f"fewer than the {c['n_chains']} chains to start: lengthen it, or ask for higher taus"
        )
    found, _ = hmc_chains(
        run.key(f"chains {state.name} {tau:g}"),
        restrict(make_target(system), state.contains),
        frames[: c["n_chains"]],
        n_steps=n_frames * c["stride"],
        stride=c["stride"],
        n_burn_in=c["n_burn_in"],
        n_leapfrog=c["n_leapfrog"],
        tau=tau,
    )
    return one_labelling(found.reshape(-1, system.dim)).reshape(found.shape)


def _umbrella(
    run: Run, system: System, taus: Sequence[float], show: Callable[[int], None]
) -> dict[str, Any]:
    """The reference's arrays; its simulation is saved once a minute, and ``show`` told its energies so far."""
    config, state, last = settings.umbrella_config(run.config), None, time.monotonic()
    each = len(filled_ladder(np.asarray(taus))) * config.evaluations_per_trajectory
    if (run.path / UMBRELLA).exists():
        state = UmbrellaState(**run.load_arrays(UMBRELLA))

    def on_round(state: UmbrellaState) -> None:
        nonlocal last
        finished = state.done == config.n_trajectories
        if finished or time.monotonic() - last >= CHECKPOINT_SECONDS:
            run.save_arrays(UMBRELLA, **state._asdict())
            last = time.monotonic()
        show(each * state.done)

    found = umbrella_reference(
        run.key("umbrella"), system, taus, config=config, state=state, on_round=on_round
    )
    arrays: dict[str, Any] = {"evaluations": found.samples.energy_evaluations}
    for t, at in enumerate(found.by_tau):
        value, stderr = at.difference.value, at.difference.stderr
        arrays[f"difference_{t}"] = np.array(
            [np.nan if value is None else value, np.nan if stderr is None else stderr]
        )
        arrays[f"reason_{t}"] = np.array(at.difference.reason or "")
        arrays |= {f"frames_{t}_{i}": frames for i, frames in enumerate(at.frames)}
        arrays[f"edges_{t}"] = at.profile.edges
        arrays[f"profile_{t}"] = at.profile.free_energy
        arrays[f"profile_stderr_{t}"] = at.profile.stderr
    return arrays


def load(run: Run) -> Problem:
    """The problem: a spline flow of standardised coordinates, averaged over the symmetries of the box."""
    system, flow = _system(run), run.config["flow"]
    data = run.load_arrays(FRAMES)
    t = list(run.config["sampling"]["taus"]).index(1.0)
    chains = [data[f"frames_{t}_{i}"] for i in range(2)]
    n_held = _n_heldout(run, chains[0])
    train = np.concatenate([c[n_held:].reshape(-1, system.dim) for c in chains])
    heldout = np.concatenate([c[:n_held].reshape(-1, system.dim) for c in chains])
    group = symmetries()
    train = np.concatenate([train[:, i] * s for i, s in zip(group.index, group.sign, strict=True)])
    fit = coords.fit_standardisation(train)
    return Problem(
        system=system,
        target=make_target(system),
        base=flows.normal(system.dim),
        flow=flows.spline_flow(
            0, system.dim, flows.SplineFlowConfig(**(flow | {"hidden": tuple(flow["hidden"])}))
        ),
        coords=coords.standardisation(fit),
        train=((train - fit.mean) / fit.scale).astype(np.float32),
        heldout=((heldout - fit.mean) / fit.scale).astype(np.float32),
        u_reference=float(np.median(system.potential(heldout.T))),
        batch=run.config["sampling"]["batch"],
        simulation_evaluations=int(data["evaluations"]),
        in_cell=in_cell,
        group=group,
        differences=differences,
    )


def _n_heldout(run: Run, chains: np.ndarray) -> int:
    """The first chains of a state at tau = 1 are held out from training: two or more, for an error."""
    return max(2, round(run.config["simulation"]["heldout"] * len(chains)))


def reference_difference(
    run: Run, problem: Problem, a: State, b: State, tau: float
) -> dict[str, Any]:
    """F(b) - F(a) by umbrella sampling and MBAR, error from independent replicas."""
    del problem, a, b
    t = list(run.config["sampling"]["taus"]).index(tau)
    data = run.load_arrays(REFERENCE)
    value, stderr = data[f"difference_{t}"]
    if not np.isfinite(value):
        reason = str(data[f"reason_{t}"])
        return {"reference": None, "reference_stderr": None, "reference_reason": reason}
    return {"reference": float(value), "reference_stderr": float(stderr)}


def differences(
    run: Run, problem: Problem, params: Params, weighted: Sequence[Any], plain: Sequence[dict]
) -> list[dict[str, Any]]:
    """F(open) - F(closed) at each temperature by BAR between generated and simulated samples.

    Takes the place of plain reweighting, whose entries are ``plain``: in 76 dimensions weights rest on few
    samples, while BAR asks for overlap with the simulation of each state only. Where the flow learnt from the
    chains, only those held out are taken: ln q of what it learnt from is too high.
    """
    a, b = problem.system.states
    entries = []
    for w, reweighted in zip(weighted, plain, strict=True):
        found = bar_free_energy_difference(
            *state_samples(run, problem, params, w),
            same_generator=True,
            tau=w.tau,
            seed=run.seed_for(f"bar {w.tau:g}"),
        )
        entry = {k: v for k, v in reweighted.items() if k != "reason"} | {
            "estimator": "bar",
            "value": found.value,
            "stderr": found.stderr,
            "interval95": found.interval95,
            "definition": f"F({b.name}) - F({a.name}); {a.name}: {a.definition}; {b.name}: {b.definition}; BAR "
            "between generated samples and chains confined to each state; error: bootstrap over both",
        }
        entries.append(entry | ({"reason": found.reason} if found.reason else {}))
    return entries


def state_samples(
    run: Run, problem: Problem, params: Params, weighted: Any
) -> tuple[StateSamples, StateSamples]:
    """Both states as weighted samples (`results.weigh`) and the run's chains at their temperature see them.

    At tau = 1 the chains are those held out from training.
    """
    data, t = run.load_arrays(FRAMES), list(run.config["sampling"]["taus"]).index(weighted.tau)
    chains = [data[f"frames_{t}_{i}"] for i in range(2)]
    if weighted.tau == 1.0:
        chains = [c[: _n_heldout(run, c)] for c in chains]
    return tuple(
        _state_samples(problem, params, weighted, state, c)
        for state, c in zip(problem.system.states, chains, strict=True)
    )


def _state_samples(
    problem: Problem, params: Params, weighted: Any, state: State, frames: np.ndarray
) -> StateSamples:
    x = weighted.samples.positions.T
    inside = np.isfinite(weighted.log_w) & np.asarray(state.contains(x))
    frames = frames[:, :: max(1, len(frames) * frames.shape[1] // 10_000)]  # 10 000 are plenty
    flat = frames.reshape(-1, frames.shape[-1])
    log_q, u = _density(problem, params, flat, weighted.tau)
    shape = (-1, len(flat) // len(frames))
    return StateSamples(
        generated_log_q=weighted.samples.log_q[inside],
        generated_u=weighted.samples.reduced_energy[inside],
        n_generated=len(weighted.log_w),
        simulated_log_q=log_q.reshape(shape),
        simulated_u=u.reshape(shape),
    )


def _density(problem: Problem, params: Params, x: np.ndarray, tau: float):
    """ln q at temperature tau and u of x ``(n, dim)``, in pieces."""

    @jax.jit
    def both(x):
        log_q = problem.generator.log_prob((params, ()), x, tau)
        return log_q, problem.target.reduced_energy(x)

    n, size = len(x), 5000
    padded = np.concatenate([x, np.repeat(x[-1:], -n % size, axis=0)])
    parts = [both(jnp.asarray(part.T)) for part in np.split(padded, len(padded) // size)]
    return tuple(
        np.concatenate([np.asarray(p, np.float64) for p in k])[:n] for k in zip(*parts, strict=True)
    )


def evaluate(
    run: Run, problem: Problem, samples: SampleSet, log_w: np.ndarray
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Profile along the dimer distance beside umbrella sampling's."""
    del problem
    t = list(run.config["sampling"]["taus"]).index(1.0)
    data = run.load_arrays(REFERENCE)
    reference = {
        "profile_d_reference": data[f"profile_{t}"],
        "profile_d_reference_stderr": data[f"profile_stderr_{t}"],
    }
    return PROFILES, profile(run, samples, log_w, data[f"edges_{t}"]) | reference


def profile(
    run: Run, samples: SampleSet, log_w: np.ndarray, edges: np.ndarray
) -> dict[str, np.ndarray]:
    """Arrays of the profile along the dimer distance, with weights and without; NaN in bins not to be trusted."""
    d = dimer_distance(np.asarray(samples.positions).T)
    seed = run.seed_for("profile")
    weighted = weighted_profile(d, log_w, edges, seed=seed, min_effective=MIN_IN_BIN)
    plain = weighted_profile(d, np.zeros_like(log_w), edges, seed=seed)
    return {
        "profile_d_centers": 0.5 * (edges[1:] + edges[:-1]),
        "profile_d_reweighted": weighted.free_energy,
        "profile_d_stderr": weighted.stderr,
        "profile_d_generated": plain.free_energy,
    }
