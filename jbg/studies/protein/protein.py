"""The study of a protein near the structure given, in reduced internal coordinates or with all of its atoms."""

from jbg.interfaces import State
from jbg.losses.reaction_coordinate import trains_along
from jbg.runs import Run
from jbg.studies.annealed import annealing, by_annealing
from jbg.studies.evidence import Evidence
from jbg.studies.molecule.stored import describe, topology
from jbg.studies.molecule.variables import variables
from jbg.studies.problem import Problem
from jbg.studies.protein.data_plan import MixedPlan, SlicePlan
from jbg.studies.protein.mixed_problem import load_problem as load_mixed_problem
from jbg.studies.protein.mixed_source import MixedSource
from jbg.studies.protein.observables import description, geometry, rebuilt, slice_chains, structure
from jbg.studies.protein.options import ProteinOptions
from jbg.studies.protein.plan import NAME, ProteinPlan, minutes, protein_plan
from jbg.studies.protein.problem import load_problem
from jbg.studies.protein.source import SliceSource
from jbg.studies.study import Reference, Study
from jbg.studies.temperatures import temperature_series

NO_STATES = "the simulation of a protein is no reference of its states"


def _reference(evidence: Evidence, a: State, b: State, tau: float) -> Reference:
    del evidence, a, b, tau
    return Reference(None, None, NO_STATES, expected=False)


def _source(plan: ProteinPlan) -> SliceSource | MixedSource:
    if isinstance(plan.data, MixedPlan):
        along = any(trains_along(stage.losses) for stage in plan.stages)
        return MixedSource(options=plan.options, data=plan.data, along=along)
    return SliceSource(options=plan.options, data=plan.data)


def _problem(plan: ProteinPlan, run: Run) -> Problem:
    of = load_mixed_problem if isinstance(plan.data, MixedPlan) else load_problem
    return of(plan, run)


STUDY = Study(
    name=NAME,
    options=ProteinOptions,
    data=SlicePlan | MixedPlan,
    plan=protein_plan,
    source=_source,
    problem=_problem,
    reference=_reference,
    dim=lambda plan: 3 * plan.data.atoms,
    minutes=minutes,
    estimators=(by_annealing,),
    observables=(
        *(slice_chains, rebuilt, structure, geometry, annealing, description),
        *(variables, temperature_series),
    ),
    describe=lambda plan, run: describe(plan.options, run),
    topology=lambda plan, run: topology(plan.options, run),
)
