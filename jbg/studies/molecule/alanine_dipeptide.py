"""Alanine dipeptide, ACE-ALA-NME, built from its sequence: the molecule study with no input file."""

import dataclasses

from jbg.studies.molecule import molecule
from jbg.studies.molecule.build import build_checked
from jbg.studies.molecule.options import AlanineOptions
from jbg.studies.molecule.plan import MolecularPlan, balance_of, molecular_plan
from jbg.studies.molecule.trajectory_plan import trajectory_plan
from jbg.studies.study import Preset
from jbg.systems.given_molecule import FORCEFIELD

N_ATOMS = 22


def _plan(options: AlanineOptions, preset: Preset, seed: int) -> MolecularPlan:
    """Build the molecule only where its force field might be refused, or for the user's trajectories."""
    trajectories = None
    if options.forcefield != FORCEFIELD or options.trajectories:
        molecule = build_checked(options)
        if options.trajectories:
            trajectories = trajectory_plan(
                options, molecule, balance=balance_of(preset), sha256=None
            )
    return molecular_plan(
        "alanine-dipeptide", options, preset, seed, n_atoms=N_ATOMS, trajectories=trajectories
    )


STUDY = dataclasses.replace(
    molecule.STUDY, name="alanine-dipeptide", options=AlanineOptions, plan=_plan
)
