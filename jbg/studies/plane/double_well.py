"""The study of a double well: U = a4 x^4 - a2 x^2 + a1 x + k y^2 / 2 (Noe et al. 2019)."""

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
from jbg.systems import double_well


@dataclasses.dataclass(frozen=True, kw_only=True)
class DoubleWellOptions(ModelOptions):
    """Two wells in the plane: u(x, y) = a4 x^4 - a2 x^2 + a1 x + k y^2 / 2, in kT."""

    a4: float = 1.0
    """Coefficient of x^4."""
    a2: float = 6.0
    """Coefficient of -x^2."""
    a1: float = 1.0
    """Coefficient of x."""
    k: float = 1.0
    """Stiffness along y."""

    def __post_init__(self):
        super().__post_init__()
        self.system()  # validates the coefficients

    def system(self) -> System:
        return double_well(a4=self.a4, a2=self.a2, a1=self.a1, k=self.k)


def _source(plan: Plan) -> MetropolisSource:
    """Metropolis from each minimum, confined to its well: no trajectory crosses the barrier."""
    system = plan.options.system()
    regions = tuple(state.contains for state in system.states)
    return MetropolisSource(system=system, regions=regions, plan=plan.data)


STUDY = Study(
    name="double-well",
    options=DoubleWellOptions,
    data=MetropolisPlan,
    plan=lambda options, preset, seed: plane_plan(
        "double-well", options, preset, seed, simulation=MetropolisPlan()
    ),
    source=_source,
    problem=lambda plan, run: plane_problem(plan, run, plan.options.system()),
    reference=quadrature,
    dim=lambda plan: plan.options.system().dim,
    minutes=minutes,
    estimators=(pooled,),
    observables=(
        Profiles((Axis("x", (1.0, 0.0), np.linspace(-2.5, 2.5, 101), "x", "profile"),)),
        Contours(((-2.7, 2.7), (-4.5, 4.5))),
    ),
)
