"""The plan of the dimer's studies: a spline flow of standardised coordinates, by example and then by energy
too."""

import dataclasses
from typing import TypeVar

from jbg.flows import PerVariable, SplineFlowConfig
from jbg.losses import NLL, OwnSamples, ReactionCoordinate, ReverseKL
from jbg.studies.dimer.options import DimerOptions
from jbg.studies.study import Plan, Preset, SamplingPlan
from jbg.training import Stage

O = TypeVar("O", bound=DimerOptions)
D = TypeVar("D")

SAMPLES = {"quick": 100_000, "full": 1_000_000}
BY_EXAMPLE = Stage(
    name="by-example",
    steps=15_000,
    batch_size=256,
    learning_rate=3e-3,
    warmup=200,
    losses=(NLL(),),
    ema=0.99,
    clip_norm=5.0,
    log_every=100,
    eval_every=3000,
)
# energies of own samples, without forces
BY_EXAMPLE_AND_ENERGY = Stage(
    name="by-example-and-energy",
    steps=1000,
    batch_size=256,
    learning_rate=3e-4,
    warmup=100,
    losses=(NLL(), OwnSamples(forward_kl=0.5, log_variance=0.3)),
    e_high=100.0,
    e_max=1e10,
    ema=0.99,
    clip_norm=5.0,
    log_every=100,
    eval_every=1000,
)
# with the entropy along d: on the barrier only forces tell how the bath has to make room
RATE_ALONG_D, STEPS_ALONG_D = 1e-3, 3000
STAGES = {
    "quick": (BY_EXAMPLE, BY_EXAMPLE_AND_ENERGY),
    "full": (
        dataclasses.replace(BY_EXAMPLE, steps=50_000, batch_size=512, eval_every=5000),
        dataclasses.replace(BY_EXAMPLE_AND_ENERGY, steps=5000, batch_size=512, eval_every=1000),
    ),
}


def dimer_plan(study: str, options: O, preset: Preset, seed: int, data: D) -> Plan[O, D]:
    """The plan of a study of the dimer.

    The flow is trained at tau = 1 alone; its samples at other temperatures come from the base's variance.

    Args:
        study: name in the registry.
        options: choices of the user.
        preset: "quick" or "full": sizes of training and sampling.
        seed: of all random numbers.
        data: how the data are made.
    """
    first, second = STAGES[preset]
    if options.w_rc:
        steps = max(second.steps, STEPS_ALONG_D)
        second = dataclasses.replace(
            second,
            losses=(NLL(), ReverseKL(along=ReactionCoordinate(options.w_rc))),
            learning_rate=RATE_ALONG_D,
            steps=steps,
        )
    return Plan(
        study=study,
        preset=preset,
        seed=seed,
        options=options,
        data=data,
        # a disc depends on its neighbours: a single network of 200 units for all discs leaves a gap 1.9 nats
        # larger
        flow=SplineFlowConfig(n_blocks=6, conditioner=PerVariable(hidden=(32, 32)), n_bins=5),
        stages=(first, second),
        sampling=SamplingPlan(n=SAMPLES[preset], batch=5000, taus=options.taus),
    )


def training_seconds(plan: Plan) -> float:
    """Seconds on four cores."""
    return sum(0.06 * s.steps * s.batch_size / 256 for s in plan.stages)


def shortened(plan: Plan[DimerOptions, D], data: D, *, steps: int, n: int) -> Plan[DimerOptions, D]:
    """The same study in short: a small network, at tau = 1 alone.

    Args:
        plan: plan to shorten.
        data: how the data are made instead.
        steps: of each training stage, a multiple of 10.
        n: number of samples.
    """
    few = dict(steps=steps, batch_size=32, log_every=10, eval_every=0, warmup=0)
    return dataclasses.replace(
        plan,
        options=dataclasses.replace(plan.options, taus=(1.0,)),
        data=data,
        flow=dataclasses.replace(
            plan.spline_flow, n_blocks=1, conditioner=PerVariable(hidden=(16,))
        ),
        stages=tuple(dataclasses.replace(stage, **few) for stage in plan.stages),
        sampling=SamplingPlan(n=n, batch=min(n, 1000)),
    )
