"""The study of one molecule from a PDB file or a sequence."""

from jbg.studies.gap import gap
from jbg.studies.molecule.bar import bar
from jbg.studies.molecule.build import build_checked, files_digest
from jbg.studies.molecule.chains import local_chains
from jbg.studies.molecule.consistency import check
from jbg.studies.molecule.corrected import corrected, correction
from jbg.studies.molecule.data_plan import HarmonicPlan
from jbg.studies.molecule.harmonic_source import HarmonicSource
from jbg.studies.molecule.observables import (
    description,
    handedness,
    profiles,
    ramachandran,
    restriction,
)
from jbg.studies.molecule.options import MoleculeOptions
from jbg.studies.molecule.plan import DataPlan, MolecularPlan, balance_of, minutes, molecular_plan
from jbg.studies.molecule.problem import load_problem
from jbg.studies.molecule.reference import reference
from jbg.studies.molecule.source import ExchangeSource
from jbg.studies.molecule.stored import describe, topology
from jbg.studies.molecule.trajectory_findings import data_rows, own_data
from jbg.studies.molecule.trajectory_plan import TrajectoryPlan, trajectory_plan
from jbg.studies.molecule.trajectory_source import TrajectorySource
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
    own_data,
)


def molecular_source(plan: MolecularPlan) -> ExchangeSource | HarmonicSource | TrajectorySource:
    if isinstance(plan.data, HarmonicPlan):
        return HarmonicSource(options=plan.options, data=plan.data)
    if isinstance(plan.data, TrajectoryPlan):
        return TrajectorySource(options=plan.options, data=plan.data)
    return ExchangeSource(options=plan.options, data=plan.data)


def _plan(options: MoleculeOptions, preset: Preset, seed: int) -> Plan[MoleculeOptions, DataPlan]:
    """Build the molecule once, to validate it, for its number of atoms and for those in the user's
    trajectories."""
    molecule, sha256, trajectories = build_checked(options), files_digest(options), None
    if options.trajectories:
        trajectories = trajectory_plan(options, molecule, balance=balance_of(preset), sha256=sha256)
    return molecular_plan(
        "molecule",
        options,
        preset,
        seed,
        n_atoms=molecule.topology.n_atoms,
        sha256=sha256,
        trajectories=trajectories,
    )


STUDY = Study(
    name="molecule",
    options=MoleculeOptions,
    data=DataPlan,
    plan=_plan,
    source=molecular_source,
    problem=load_problem,
    reference=reference,
    dim=lambda plan: 3 * plan.data.atoms,
    minutes=minutes,
    estimators=(bar, corrected),
    observables=OBSERVABLES,
    describe=lambda plan, run: describe(plan.options, run) + data_rows(plan.data),
    check=check,
    topology=lambda plan, run: topology(plan.options, run),
)
