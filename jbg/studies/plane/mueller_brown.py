"""The study of the Mueller-Brown potential."""

import dataclasses

import numpy as np

from jbg.interfaces import System
from jbg.studies.estimators import pooled
from jbg.studies.model_options import ModelOptions
from jbg.studies.plane.observables import Axis, Contours, Profiles
from jbg.studies.plane.plan import minutes, plane_plan
from jbg.studies.plane.problem import plane_problem, quadrature
from jbg.studies.plane.source import MetropolisPlan, MetropolisSource
from jbg.studies.study import Plan, Study
from jbg.systems import mueller_brown


@dataclasses.dataclass(frozen=True, kw_only=True)
class MuellerBrownOptions(ModelOptions):
    """Three basins in the plane, in kT."""

    taus: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 3.0)
    """Relative temperatures T / T_ref for training, sampling and reporting; must include 1."""
    scale: float = 0.1
    """Factor on the published energies."""

    def __post_init__(self):
        super().__post_init__()
        self.system()  # validates ``scale``

    def system(self) -> System:
        return mueller_brown(scale=self.scale)


def _source(plan: Plan) -> MetropolisSource:
    """Metropolis from each minimum, confined to A on one side of its saddle, I and B on the other."""
    system = plan.options.system()
    a, _, _, rest = system.states
    regions = (a.contains, rest.contains, rest.contains)
    return MetropolisSource(system=system, regions=regions, plan=plan.data)


STUDY = Study(
    name="mueller-brown",
    options=MuellerBrownOptions,
    data=MetropolisPlan,
    plan=lambda options, preset, seed: plane_plan(
        "mueller-brown", options, preset, seed, simulation=MetropolisPlan()
    ),
    source=_source,
    problem=lambda plan, run: plane_problem(plan, run, plan.options.system()),
    reference=quadrature,
    dim=lambda plan: plan.options.system().dim,
    minutes=minutes,
    estimators=(pooled,),
    observables=(
        Profiles(
            (
                Axis("y", (0.0, 1.0), np.linspace(-0.4, 2.0, 101), "y", "profile y"),
                Axis(
                    "s", (1.0, -1.0), np.linspace(-2.0, 1.0, 101), "(x - y) / sqrt 2", "profile s"
                ),
            )
        ),
        Contours(((-1.7, 1.3), (-0.5, 2.2))),
    ),
)
