"""The study of one molecule from a PDB file or a sequence."""

from jbg.studies.gap import gap
from jbg.studies.molecule.bar import bar
from jbg.studies.molecule.build import build_checked, files_digest
from jbg.studies.molecule.chains import local_chains
from jbg.studies.molecule.consistency import check
from jbg.studies.molecule.corrected import corrected, correction
from jbg.studies.molecule.data_plan import ExchangePlan, HarmonicPlan
from jbg.studies.molecule.harmonic_source import HarmonicSource
from jbg.studies.molecule.observables import (
    description,
    handedness,
    profiles,
    ramachandran,
    restriction,
)
from jbg.studies.molecule.options import MoleculeOptions
from jbg.studies.molecule.plan import MolecularPlan, minutes, molecular_plan
from jbg.studies.molecule.problem import load_problem
from jbg.studies.molecule.reference import reference
from jbg.studies.molecule.source import ExchangeSource
from jbg.studies.molecule.stored import describe, topology
from jbg.studies.molecule.variables import variables
from jbg.studies.study import Plan, Preset, Study
from jbg.studies.temperatures import temperature_series

OBSERVABLES = (
    gap,
    correction,
    profiles,
    ramachandran,
    handedness,
    restriction,
    description,
    local_chains,
    variables,
    temperature_series,
)


def molecular_source(plan: MolecularPlan) -> ExchangeSource | HarmonicSource:
    if isinstance(plan.data, HarmonicPlan):
        return HarmonicSource(options=plan.options, data=plan.data)
    return ExchangeSource(options=plan.options, data=plan.data)


def _plan(
    options: MoleculeOptions, preset: Preset, seed: int
) -> Plan[MoleculeOptions, ExchangePlan | HarmonicPlan]:
    """Build the molecule once, to validate it and for its number of atoms."""
    molecule = build_checked(options)
    return molecular_plan(
        "molecule",
        options,
        preset,
        seed,
        n_atoms=molecule.topology.n_atoms,
        sha256=files_digest(options),
    )


STUDY = Study(
    name="molecule",
    options=MoleculeOptions,
    data=ExchangePlan | HarmonicPlan,
    plan=_plan,
    source=molecular_source,
    problem=load_problem,
    reference=reference,
    dim=lambda plan: 3 * plan.data.atoms,
    minutes=minutes,
    estimators=(bar, corrected),
    observables=OBSERVABLES,
    describe=lambda plan, run: describe(plan.options, run),
    topology=lambda plan, run: topology(plan.options, run),
    check=check,
)
