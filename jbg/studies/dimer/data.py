"""The data of the dimer's study: umbrella sampling at each temperature, then independent chains in each state.

Every configuration is brought to one labelling of its identical particles: the dimer's left particle first, the
discs as the lattice sites that they are nearest to in all (`coords.relabel`).
"""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jbg import coords
from jbg.interfaces import RunError, State, System, Target
from jbg.runs import Run
from jbg.runs.progress import progress
from jbg.simulation.hmc_chains import hmc_chains
from jbg.simulation.umbrella import UmbrellaState
from jbg.studies.dimer import settings as settings
from jbg.studies.dimer.umbrella_reference import filled_ladder, umbrella_reference
from jbg.systems import lj_dimer
from jbg.systems.dimer import lattice
from jbg.targets import make_target, restrict

REFERENCE, FRAMES = "data/reference.npz", "data/frames.npz"
UMBRELLA = "data/umbrella.npz"  # where umbrella sampling stands, until it is done
CHECKPOINT_SECONDS = 60.0


def system_of(run: Run) -> System:
    """The dimer that the run's options name; one object, so that what is compiled for it serves again."""
    return _system(run.config["options"]["dimer"], run.config["options"]["wall"])


@functools.cache
def _system(dimer: str, wall: float) -> System:
    return lj_dimer(dimer=dimer, wall=wall)


def confined(run: Run, state: State) -> Target:
    """The target inside a state; one object, as the system is."""
    return _confined(run.config["options"]["dimer"], run.config["options"]["wall"], state.name)


@functools.cache
def _confined(dimer: str, wall: float, name: str) -> Target:
    system = _system(dimer, wall)
    (state,) = (s for s in system.states if s.name == name)
    return restrict(make_target(system), state.contains)


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
    system, taus = system_of(run), run.config["sampling"]["taus"]
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
        confined(run, state),
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
