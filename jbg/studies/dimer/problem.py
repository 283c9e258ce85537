"""The problem of the dimer: a spline flow of standardised coordinates, averaged over the symmetries of the box."""

from collections.abc import Sequence

import numpy as np

from jbg import coords, flows
from jbg.analysis import StateSamples, bar_free_energy_difference
from jbg.analysis.free_energy import MIN_EFFECTIVE
from jbg.generator import Generator
from jbg.interfaces import Params
from jbg.runs import Run
from jbg.studies.dataset import LEARN, WATCH, Dataset, load_dataset
from jbg.studies.difference import Difference
from jbg.studies.dimer.cell import symmetry
from jbg.studies.dimer.chains import ChainsPlan
from jbg.studies.estimators import state_samples
from jbg.studies.evidence import Evidence, Weighted
from jbg.studies.problem import Examples, Problem, Simulated
from jbg.studies.profiles import profile_arrays
from jbg.studies.study import Finding, Plan
from jbg.systems import dimer_distance
from jbg.targets import make_target

MAX_FRAMES = 10_000  # of a state, for BAR
BAR_METHOD = (
    "BAR between generated samples and chains confined to each state; error: bootstrap over both"
)


def dimer_problem(plan: Plan, run: Run) -> Problem:
    """The problem, from the chains at tau = 1 in a run folder."""
    system, own = plan.options.system(), load_dataset(run).at(1.0)
    held, symmetries = own.where(own.role == WATCH), symmetry()
    train, group = own.where(own.role == LEARN).x, symmetries.group
    train = np.concatenate([train[:, i] * s for i, s in zip(group.index, group.sign, strict=True)])
    fit = coords.fit_standardisation(train)
    standardised = lambda x: ((x - fit.mean) / fit.scale).astype(np.float32)
    return Problem(
        system=system,
        target=make_target(system),
        flow=Generator(
            base=flows.normal(system.dim),
            bijector=flows.spline_flow(0, system.dim, plan.spline_flow),
        ),
        coords=coords.standardisation(fit),
        examples=Examples(train=standardised(train), heldout=standardised(held.x)),
        simulated=Simulated.all_usable(held.x[held.by_chain()]),
        u_reference=float(np.median(system.potential(held.x.T))),
        batch=plan.sampling.batch,
        symmetry=symmetries,
    )


def bar(evidence: Evidence, plain: Sequence[Difference]) -> list[Difference]:
    """F(open) - F(closed) at each temperature by BAR between generated and simulated samples.

    Replaces plain reweighting: in 76 dimensions the weights rest on few samples, while BAR needs overlap only with
    the simulation of each state. Where the flow learnt from the chains, only the held-out ones are used: ln q of
    training data is too high.
    """
    found = []
    for weighted, entry in zip(evidence.weighted.values(), plain, strict=True):
        better = bar_free_energy_difference(
            *both_states(
                evidence.problem, evidence.params, weighted, evidence.dataset, evidence.plan
            ),
            same_generator=True,
            tau=weighted.tau,
            seed=evidence.seed_for(f"bar {weighted.tau:g}"),
        )
        found.append(entry.by("bar", better, BAR_METHOD))
    return found


def both_states(
    problem: Problem, params: Params, weighted: Weighted, dataset: Dataset, plan: Plan
) -> tuple[StateSamples, StateSamples]:
    """Both states at one temperature as generated samples and the run's chains see them.

    At tau = 1 the chains are those held out from training.

    Args:
        problem: system, densities and flow.
        params: of ``problem.flow``.
        weighted: the generated samples; their temperature is that of the chains.
        dataset: the chains of the run, at all temperatures.
        plan: of the run; says which chains belong to which state.
    """
    chains: ChainsPlan = plan.data.chains
    data = dataset.at(weighted.tau)
    if weighted.tau == 1.0:
        data = data.where(data.role == WATCH)
    log_q, u = weighted.samples.log_q, weighted.samples.reduced_energy
    seen = []
    for i, state in enumerate(problem.system.states):
        here = data.where(chains.state_of(data.chain) == i)
        frames = here.x[here.by_chain()]
        frames = frames[:, :: max(1, len(frames) * frames.shape[1] // MAX_FRAMES)]
        inside = weighted.usable & weighted.inside(state)
        seen.append(
            state_samples(
                problem, (params, ()), frames, log_q=log_q, u=u, inside=inside, tau=weighted.tau
            )
        )
    return seen[0], seen[1]


def distance_profile(evidence: Evidence, edges: np.ndarray) -> Finding:
    """The profile along the dimer distance, with weights and without; NaN in bins not to be trusted."""
    d = dimer_distance(np.asarray(evidence.own.samples.positions).T)
    arrays = profile_arrays(evidence, "d", d, edges, stream="profile", min_effective=MIN_EFFECTIVE)
    return Finding({"profiles": {"d": {"label": "dimer distance d", "unit": ""}}}, arrays)
