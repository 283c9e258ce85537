"""The study of the bistable dimer in its bath: umbrella reference, chains in each state, BAR through the flow."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from jbg.interfaces import State
from jbg.runs import Run
from jbg.runs.progress import progress
from jbg.simulation.umbrella import UmbrellaConfig, UmbrellaState
from jbg.studies.dataset import FRAMES, concatenate
from jbg.studies.dimer.chains import ChainsPlan, dataset_part, state_chains
from jbg.studies.dimer.options import DimerOptions
from jbg.studies.dimer.plan import dimer_plan, shortened, training_seconds
from jbg.studies.dimer.problem import bar, dimer_problem, distance_profile
from jbg.studies.dimer.umbrella_reference import (
    DIMER_UMBRELLA,
    UmbrellaReference,
    filled_ladder,
    umbrella_reference,
)
from jbg.studies.evidence import Evidence
from jbg.studies.study import Finding, Plan, Reference, Study

REFERENCE = "data/reference.npz"
UMBRELLA = "data/umbrella.npz"  # where umbrella sampling stands, until it is done
CHECKPOINT_SECONDS = 60.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class UmbrellaPlan:
    """Umbrella sampling at every temperature, then chains in each state from its frames.

    Attributes:
        umbrella: the reference's simulation at each temperature.
        chains: of the data.
    """

    umbrella: UmbrellaConfig = DIMER_UMBRELLA
    chains: ChainsPlan = ChainsPlan()  # noqa: RUF009, frozen


@dataclasses.dataclass(frozen=True, kw_only=True)
class UmbrellaSource:
    """Umbrella sampling resumes where it was saved last, the chains from the last state and temperature done."""

    options: DimerOptions
    plan: UmbrellaPlan

    @property
    def evaluations(self) -> int:
        taus = self.options.taus
        umbrella = self.plan.umbrella.evaluations_per_tau * len(filled_ladder(np.asarray(taus)))
        return umbrella + sum(2 * self.plan.chains.evaluations(tau) for tau in taus)

    @property
    def frames(self) -> int:
        return self.plan.chains.frames(self.options.taus)

    def make(self, run: Run, *, quiet: bool) -> None:
        taus = self.options.taus
        parts = {(t, i): f"data/frames-{t}-{i}.npz" for t in range(len(taus)) for i in range(2)}
        if not (run.path / FRAMES).exists():
            self._make(run, parts, quiet=quiet)
        for part in (UMBRELLA, *parts.values()):  # needed for resuming only
            (run.path / part).unlink(missing_ok=True)

    def _make(self, run: Run, parts: dict[tuple[int, int], str], *, quiet: bool) -> None:
        """``parts`` are the files of each temperature and state, until all are done."""
        options, chains, found = self.options, self.plan.chains, []
        with progress(run, "simulate", total=self.evaluations, quiet=quiet) as bar:
            if not (run.path / REFERENCE).exists():
                run.save_arrays(REFERENCE, **_arrays(self._umbrella(run, bar.update)))
            reference = run.load_arrays(REFERENCE)
            spent = int(reference["evaluations"])
            bar.update(spent)
            for (t, i), part in parts.items():
                tau, state = options.taus[t], options.system().states[i]
                if not (run.path / part).exists():
                    start = reference[f"frames_{t}_{i}"]
                    frames = state_chains(run, options, chains, state, start, tau)
                    run.save_arrays(part, frames=frames)
                frames = run.load_arrays(part)["frames"]
                found.append(dataset_part(frames, chains, tau, len(found) * chains.n_chains))
                spent += chains.evaluations(tau)
                bar.update(spent)
            concatenate(found, spent).save(run)

    def _umbrella(self, run: Run, show: Callable[[int], None]) -> UmbrellaReference:
        """The simulation is saved once a minute, and ``show`` told its energies so far."""
        config, taus = self.plan.umbrella, self.options.taus
        state, last = None, time.monotonic()
        each = len(filled_ladder(np.asarray(taus))) * config.evaluations_per_trajectory
        if (run.path / UMBRELLA).exists():
            arrays = run.load_arrays(UMBRELLA)
            state = UmbrellaState(done=int(arrays.pop("done")), **arrays)

        def on_round(state: UmbrellaState) -> None:
            nonlocal last
            finished = state.done == config.n_trajectories
            if finished or time.monotonic() - last >= CHECKPOINT_SECONDS:
                run.save_arrays(UMBRELLA, **state._asdict())
                last = time.monotonic()
            show(each * state.done)

        return umbrella_reference(
            run.key("umbrella"),
            self.options.system(),
            taus,
            config=config,
            state=state,
            on_round=on_round,
        )


def _arrays(found: UmbrellaReference) -> dict[str, Any]:
    """The reference as its file holds it."""
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


def reference(run: Run, plan: Plan, tau: float) -> Reference:
    """F(open) - F(closed) by umbrella sampling and MBAR, error from independent replicas."""
    t, data = plan.sampling.taus.index(tau), run.load_arrays(REFERENCE)
    value, stderr = data[f"difference_{t}"]
    if not np.isfinite(value):
        return Reference(None, None, str(data[f"reason_{t}"]))
    return Reference(float(value), float(stderr))


def _reference(evidence: Evidence, a: State, b: State, tau: float) -> Reference:
    del a, b  # there are two
    return reference(evidence.run, evidence.plan, tau)


def _profile(evidence: Evidence) -> Finding:
    """The profile along the dimer distance beside umbrella sampling's."""
    t, data = evidence.plan.sampling.taus.index(1.0), evidence.run.load_arrays(REFERENCE)
    numbers, arrays = distance_profile(evidence, data[f"edges_{t}"])
    known = {
        "profile_d_reference": data[f"profile_{t}"],
        "profile_d_reference_stderr": data[f"profile_stderr_{t}"],
    }
    return Finding(numbers, arrays | known)


def shorten(plan: Plan, *, steps: int = 20, n: int = 2000) -> Plan:
    """The same study in a minute or two, for tests that it runs; its numbers mean nothing.

    Only tau = 1, few windows, chains, steps and samples, a small network: most of the time is compilation.
    """
    umbrella = dataclasses.replace(
        plan.data.umbrella, n_replicas=4, n_pull=100, n_burn_in=100, n_steps=225
    )
    chains = dataclasses.replace(plan.data.chains, n_chains=20, n_frames=10, stride=5, n_burn_in=10)
    short = shortened(plan, UmbrellaPlan(umbrella=umbrella, chains=chains), steps=steps, n=n)
    return dataclasses.replace(short, flow=dataclasses.replace(short.flow, n_bins=4))


def _source(plan: Plan) -> UmbrellaSource:
    return UmbrellaSource(options=plan.options, plan=plan.data)


STUDY = Study(
    name="lj-dimer",
    options=DimerOptions,
    data=UmbrellaPlan,
    plan=lambda options, preset, seed: dimer_plan(
        "lj-dimer", options, preset, seed, UmbrellaPlan()
    ),
    source=_source,
    problem=dimer_problem,
    reference=_reference,
    dim=lambda plan: plan.options.system().dim,
    minutes=lambda plan: round(
        1 + (_source(plan).evaluations / 1e6 + training_seconds(plan)) / 60, 1
    ),
    estimators=(bar,),
    observables=(_profile,),
)
