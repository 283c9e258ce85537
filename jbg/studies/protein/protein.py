"""The study of a protein in reduced internal coordinates, near the structure given."""

from jbg.interfaces import State
from jbg.studies.annealed import annealing
from jbg.studies.evidence import Evidence
from jbg.studies.molecule.stored import describe
from jbg.studies.protein.observables import description, rebuilt, slice_chains, structure
from jbg.studies.protein.options import ProteinOptions
from jbg.studies.protein.plan import NAME, ProteinPlan, minutes, protein_plan
from jbg.studies.protein.problem import load_problem
from jbg.studies.protein.slice_plan import SlicePlan
from jbg.studies.protein.source import SliceSource
from jbg.studies.study import Reference, Study

NO_STATES = "a protein near its native structure has no pair of states to compare"


def _reference(evidence: Evidence, a: State, b: State, tau: float) -> Reference:
    del evidence, a, b, tau
    return Reference(None, None, NO_STATES, expected=False)


def _source(plan: ProteinPlan) -> SliceSource:
    return SliceSource(options=plan.options, data=plan.data)


STUDY = Study(
    name=NAME,
    options=ProteinOptions,
    data=SlicePlan,
    plan=protein_plan,
    source=_source,
    problem=load_problem,
    reference=_reference,
    dim=lambda plan: 3 * plan.data.atoms,
    minutes=minutes,
    observables=(slice_chains, rebuilt, structure, annealing, description),
    describe=lambda plan, run: describe(plan.options, run),
)
