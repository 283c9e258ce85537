"""The study of the dimer from one closed configuration: exploration finds the open state, no umbrella sampling.

Exploration with hot moves (`jbg.sampling.exploration`) keeps the configurations of lowest energy that it saw in
each state. Cooled step by step, they start independent chains confined to the state, at the temperatures of the
study and with a long burn-in. From there on it is the study of `studies.dimer.umbrella`: a flow trained on half of
each state, by example and by energy, and BAR through it. The exploration's flow is discarded: it learnt a hot
density.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jbg import coords, flows
from jbg.generator import Generator
from jbg.interfaces import RunError, State, System, Target
from jbg.runs import Run
from jbg.runs.progress import progress
from jbg.sampling.exploration import Exploration, ExplorationState
from jbg.studies.dataset import concatenate
from jbg.studies.dimer.chains import ChainsPlan, dataset_part, state_chains
from jbg.studies.dimer.cooling import CoolingPlan, cooled
from jbg.studies.dimer.exploring import explore_in
from jbg.studies.dimer.options import DimerOptions, ExploredDimerOptions
from jbg.studies.dimer.plan import dimer_plan, shortened, training_seconds
from jbg.studies.dimer.problem import bar, dimer_problem, distance_profile
from jbg.studies.evidence import Evidence
from jbg.studies.study import Finding, Plan, Reference, Study
from jbg.targets import make_target

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
    e_high=500.0,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplorerFlow:
    """Sizes of the RealNVP that explores.

    Attributes:
        n_blocks: of two couplings.
        hidden: widths of the hidden layers.
    """

    n_blocks: int = 4
    hidden: tuple[int, ...] = (100, 100)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExploringPlan:
    """Exploration, then chains in each state from what it archived.

    Attributes:
        exploration: its settings.
        explorer: sizes of its flow.
        cooling: from the moves' temperature to that of the chains.
        chains: of the data.
    """

    exploration: Exploration = EXPLORATION
    explorer: ExplorerFlow = ExplorerFlow()  # noqa: RUF009, frozen
    cooling: CoolingPlan = CoolingPlan()  # noqa: RUF009, frozen
    chains: ChainsPlan = ChainsPlan(n_burn_in=2000)  # noqa: RUF009, frozen

    def chain_evaluations(self, tau: float) -> int:
        """Energies of the chains in one state at one temperature, cooling included."""
        return self.cooling.evaluations(self.chains) + self.chains.evaluations(tau)


class Explorer(NamedTuple):
    """What explores: a system, its density, and a generator."""

    system: System
    target: Target
    generator: Generator


def make_explorer(options: DimerOptions, flow: ExplorerFlow) -> Explorer:
    """A RealNVP about the closed configuration; the discs may change places, chains are labelled afterwards."""
    system = options.system()
    fit = coords.Standardisation(system.start[0], np.full(system.dim, 0.3))
    realnvp = flows.realnvp(system.dim, n_blocks=flow.n_blocks, hidden=flow.hidden)
    bijector = flows.chain(realnvp, coords.standardisation(fit))
    target = make_target(system)
    return Explorer(
        system=system,
        target=target,
        generator=Generator(base=flows.normal(system.dim), bijector=bijector),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExploringSource:
    """Exploration from one closed configuration, then chains in each state from what it archived."""

    options: DimerOptions
    plan: ExploringPlan

    @property
    def evaluations(self) -> int:
        chains = sum(2 * self.plan.chain_evaluations(tau) for tau in self.options.taus)
        return self.plan.exploration.budget + chains

    @property
    def frames(self) -> int:
        return self.plan.chains.frames(self.options.taus)

    def make(self, run: Run, *, quiet: bool) -> None:
        options, plan, parts = self.options, self.plan, []
        system = options.system()
        with progress(run, "simulate", total=self.evaluations, quiet=quiet) as bar:
            spent = self._explore(run, lambda state, _: bar.update(int(state.n_evaluations)))
            archive = run.load_arrays(ARCHIVE)
            for tau in options.taus:
                for i, state in enumerate(system.states):
                    hot = plan.exploration.last_tau
                    start = cooled(
                        run,
                        options,
                        plan.chains,
                        plan.cooling,
                        state,
                        archive[f"frames_{i}"],
                        (hot, tau),
                    )
                    frames = state_chains(run, options, plan.chains, state, start, tau)
                    first = len(parts) * plan.chains.n_chains
                    parts.append(dataset_part(frames, plan.chains, tau, first))
                    spent += plan.chain_evaluations(tau)
                    bar.update(spent)
            concatenate(parts, spent).save(run)

    def _explore(self, run: Run, show: Callable) -> int:
        """Explores and writes the archive of each state; returns the energies it took."""
        explorer, settings = make_explorer(self.options, self.plan.explorer), self.plan.exploration
        last = explore_in(
            run,
            explorer.generator,
            explorer.target,
            explorer.system.start[0],
            settings=settings,
            states=explorer.system.states,
            on_part=show,
        )
        run.save_arrays(ARCHIVE, **archive_frames(last, explorer.system.states, settings))
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
                f"never saw the state {state.name}: raise first_tau or the budget, or use another seed"
            )
    return {f"frames_{i}": np.asarray(last.archive.x)[i][np.isfinite(u[i])] for i in range(len(u))}


def _not_simulated(evidence: Evidence, a: State, b: State, tau: float) -> Reference:
    """None: nothing here but the generator says how the states compare."""
    del evidence, a, b, tau
    return Reference(None, None, "none was simulated: `jbg run lj-dimer` makes one", expected=False)


def _profile(evidence: Evidence) -> Finding:
    return distance_profile(evidence, EDGES)


def shorten(plan: Plan) -> Plan:
    """The same study in seconds, to see that it runs; its numbers mean nothing.

    Copies of the start are so noisy that some are open from the first.
    """
    few = dict(budget=8000, buffer=256, batch=256, moves=4, train_steps=2)
    hot = dict(first_steps=5, data_batch=32, energy_batch=8, noise=0.3)
    data = ExploringPlan(
        exploration=dataclasses.replace(plan.data.exploration, **few, **hot),
        explorer=ExplorerFlow(n_blocks=1, hidden=(16,)),
        cooling=CoolingPlan(n_cooling=100),
        chains=dataclasses.replace(
            plan.data.chains, n_chains=20, n_frames=10, n_frames_other=5, n_burn_in=300
        ),
    )
    short = shortened(plan, data, steps=10, n=2000)
    return dataclasses.replace(
        short,
        options=plan.options,
        sampling=dataclasses.replace(short.sampling, taus=plan.sampling.taus),
    )


def _source(plan: Plan) -> ExploringSource:
    return ExploringSource(options=plan.options, plan=plan.data)


def _minutes(plan: Plan) -> float:
    """On four cores; a minute of it compiles the exploration."""
    seconds = _source(plan).evaluations / 1e6 + training_seconds(plan)
    seconds += 60 + plan.data.exploration.budget / 10_000
    return round(1 + seconds / 60, 1)


STUDY = Study(
    name="lj-dimer-explored",
    options=ExploredDimerOptions,
    data=ExploringPlan,
    plan=lambda options, preset, seed: dimer_plan(
        "lj-dimer-explored", options, preset, seed, ExploringPlan()
    ),
    source=_source,
    problem=dimer_problem,
    reference=_not_simulated,
    dim=lambda plan: plan.options.system().dim,
    minutes=_minutes,
    estimators=(bar,),
    observables=(_profile,),
)
