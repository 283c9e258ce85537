"""The problem of a study in the plane: a spline flow from the plane to the plane, references by quadrature."""

import numpy as np

from jbg import flows
from jbg.generator import Generator
from jbg.interfaces import State, System
from jbg.runs import Run
from jbg.studies.dataset import LEARN, WATCH, load_dataset
from jbg.studies.evidence import Evidence
from jbg.studies.problem import Examples, Problem, Simulated
from jbg.studies.study import Plan, Reference
from jbg.targets import find_bounds, free_energy_difference_quadrature, make_target


def plane_problem(plan: Plan, run: Run, system: System) -> Problem:
    """The problem of ``system``, from the data in a run folder.

    A spline separates two wells by one monotone map of x. Affine layers fold the plane instead and cut the tails
    of the smaller well, whose free energy was then 0.03 kT too high.
    """
    data = load_dataset(run)
    own, hot_tau = data.at(1.0), plan.data.hot_tau
    train, held = own.where(own.role == LEARN), own.where(own.role == WATCH)
    return Problem(
        system=system,
        target=make_target(system),
        flow=Generator(base=flows.normal(2), bijector=flows.spline_flow(0, 2, plan.spline_flow)),
        coords=flows.permute(np.arange(2)),
        examples=Examples(
            train=train.x,
            heldout=held.x,
            hot=data.at(hot_tau).x if hot_tau > 1 else None,
            hot_tau=hot_tau,
        ),
        simulated=Simulated.all_usable(held.x[held.by_chain()]),
        u_reference=float(np.median(system.potential(train.x.T))),
        batch=plan.sampling.batch,
    )


def quadrature(evidence: Evidence, a: State, b: State, tau: float) -> Reference:
    """The exact F(b) - F(a) in kT.

    Args:
        evidence: of the run, whose potential is integrated.
        a: the first state.
        b: the second.
        tau: relative temperature.
    """
    system = evidence.problem.system
    bounds = find_bounds(system.potential, system.start, tau=tau)
    value = free_energy_difference_quadrature(
        system.potential, bounds, a.contains, b.contains, tau=tau
    )
    return Reference(value, 0.0)
