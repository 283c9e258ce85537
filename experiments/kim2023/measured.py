"""What is measured of a trained row of Table 1 of Kim et al. 2023."""

from pathlib import Path
from typing import Any

import numpy as np

from jbg.reweighting import ess_fraction
from jbg.runs import Run
from jbg.sampling.generate import Ensemble as Ensembles
from jbg.sampling.generate import SampleSet
from jbg.studies.evidence import Evidence
from jbg.studies.molecule.stored import load_molecule
from jbg.studies.problem import Problem
from jbg.studies.protein.observables import heldout_nll, references
from jbg.studies.protein.plan import ProteinPlan
from jbg.studies.protein.structure import Ensemble, compared
from jbg.units import kt_in_kcal

KEPT = 2000  # samples of each row


def measured(
    plan: ProteinPlan, run: Run, problem: Problem, params: Any, n: int, seed: int, file: Path
) -> dict[str, Any]:
    """Structures and energies against both references, and the likelihood of chains set aside; samples are kept.

    Args:
        plan: of the row.
        run: with the data.
        problem: of the row.
        params: trained.
        n: number of samples.
        seed: of the samples.
        file: for the first samples, which figures are made of, and the energies of all.
    """
    x, log_q, u = problem.drawn(run.key(f"samples {seed}"), (params, ()), n)
    np.savez(file, x=x[:KEPT], u=u)
    drawn = {Ensembles(): SampleSet(x, log_q, u)}
    evidence = Evidence(run, plan, problem, params, drawn)
    molecule, known = load_molecule(run), references(evidence)
    shaped = x.reshape(len(x), -1, 3)
    generated = Ensemble("generated", "samples", shaped, np.asarray(u, float), np.zeros(n, int))
    against = {
        key: compared(generated, reference, molecule.topology, molecule.positions, seed=seed)
        for key, reference in known.items()
    }
    return {
        "samples": n,
        "ess": ess_fraction(evidence.own.log_w),
        "kt_in_kcal": kt_in_kcal(plan.options.temperature),
        "against": against,
        "nll": heldout_nll(evidence, known),
    }
