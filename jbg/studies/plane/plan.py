"""The plan of a study in the plane: Metropolis data, a spline flow, by example and then by energy too."""

import dataclasses

from jbg.flows import MLP, SplineFlowConfig
from jbg.losses import NLL, OwnSamples, ReactionCoordinate, ReverseKL, Term
from jbg.studies.model_options import ModelOptions
from jbg.studies.plane.source import MetropolisPlan
from jbg.studies.study import Plan, Preset, SamplingPlan
from jbg.training import Stage

SAMPLES = {"quick": 100_000, "full": 1_000_000}
SAMPLES_PER_TAU = {"quick": 500_000, "full": 1_000_000}  # states are rare at the lowest of several
PER_TAU = 128  # samples of a training step at each of several temperatures, at least
# Several temperatures. A flow draws no samples in a region that it leaves out, and never learns it: strips of 2
# to 5 % of the Mueller-Brown potential at tau = 3 were lost, and the error bars did not show it. So training
# also uses a higher temperature, with simulated data there, and a larger weight of the divergence that covers
# tails.
HOTTER = 1.5
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


def plane_plan(
    study: str, options: ModelOptions, preset: Preset, seed: int, *, simulation: MetropolisPlan
) -> Plan:
    """The plan of a study in the plane, trained and sampled at the relative temperatures of its options.

    Args:
        study: name in the registry.
        options: choices of the user.
        preset: "quick" or "full": sizes of training and sampling.
        seed: of all random numbers.
        simulation: how the data are made, but for ``hot_tau``, which follows from the options.
    """
    taus = options.taus
    first, second = STAGES[preset]
    n, trained = SAMPLES[preset], taus
    if len(taus) > 1:
        n, trained = SAMPLES_PER_TAU[preset], (*taus, HOTTER * max(taus))
        each = max(PER_TAU, second.batch_size // len(trained))
        second = dataclasses.replace(second, **AT_SEVERAL, batch_size=each * len(trained))
    second = dataclasses.replace(second, losses=_losses(trained, options.w_rc))
    # the splines reach as far as the hottest base does
    reach = max(1.0, *trained) ** 0.5
    return Plan(
        study=study,
        preset=preset,
        seed=seed,
        options=options,
        data=dataclasses.replace(simulation, hot_tau=trained[-1]),
        flow=SplineFlowConfig(
            n_blocks=3,
            conditioner=MLP(hidden=(64, 64)),
            n_bins=round(10 * reach),
            bound=5.0 * reach,
        ),
        stages=(first, second),
        sampling=SamplingPlan(n=n, batch=10_000, taus=taus),
    )


def _losses(taus: tuple[float, ...], w_rc: float) -> tuple[Term, ...]:
    """Of the second stage: at several temperatures more of the divergence that covers tails."""
    w_kl, w_own = (1.0, 0.5) if len(taus) == 1 else (0.3, 1.0)
    along = ReactionCoordinate(w_rc / w_kl) if w_rc else None
    return (
        NLL(0.1),
        ReverseKL(w_kl, taus=taus, along=along),
        OwnSamples(w_own, log_variance=0.0, taus=taus),
    )


def shorten(plan: Plan, *, steps: int = 20, n: int = 2000) -> Plan:
    """The same study in seconds, for tests that it runs; its numbers mean nothing.

    Only the last stage, few steps and samples, a small network: most of the time is compilation.
    """
    last = plan.stages[-1]
    n_taus = max(len(getattr(term, "taus", (1.0,))) for term in last.losses)
    few = dataclasses.replace(
        last, steps=steps, log_every=10, eval_every=0, warmup=0, batch_size=32 * n_taus
    )
    return dataclasses.replace(
        plan,
        data=dataclasses.replace(plan.data, n_steps=400, stride=2),
        flow=dataclasses.replace(
            plan.spline_flow, n_blocks=1, conditioner=MLP(hidden=(8,)), n_bins=4
        ),
        stages=(few,),
        sampling=dataclasses.replace(plan.sampling, n=n, batch=min(n, 1000)),
    )


def minutes(plan: Plan) -> float:
    """Minutes on a laptop."""
    seconds = sum(0.012 * s.steps * max(1, s.batch_size / 512) for s in plan.stages)
    return round(0.3 + seconds / 60, 1)
