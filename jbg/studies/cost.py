"""What a plan will cost, before anything runs: energies, steps, minutes, disk, memory."""

from typing import Any

from jbg.studies import registry
from jbg.studies.study import Plan

NEEDS = {"disk": "disk", "memory": "arrays_in_memory_beside_programs"}


def cost(plan: Plan) -> dict[str, Any]:
    """The cost of a plan without running it: training steps, energy evaluations, minutes, disk, memory."""
    study = registry.study(plan.study)
    return {
        "rough_minutes_on_one_core": study.minutes(plan),
        "energy_evaluations_simulate": study.source(plan).evaluations,
        "training_steps": sum(stage.steps for stage in plan.stages),
        "energy_evaluations_train": plan.training_evaluations,
        "energy_evaluations_sample": plan.sampling.n * len(plan.sampling.taus),
        **_correction_cost(plan),
        **{f"megabytes_of_{NEEDS[what]}": 1e-6 * needed for what, needed in needs(plan).items()},
    }


def _correction_cost(plan: Plan) -> dict[str, int]:
    """The energies of a corrector where it is certain, at most where the run chooses it, and of annealing."""
    if plan.annealing is not None:
        return {"energy_evaluations_correct": plan.annealing.evaluations}
    if plan.correction is None or plan.correction.corrector == "none":
        return {}
    most = "_at_most" if plan.correction.corrector == "auto" else ""
    return {f"energy_evaluations_correct{most}": plan.correction.evaluations}


def needs(plan: Plan) -> dict[str, float]:
    """Bytes of "disk" and of "memory" that a run of a plan needs at least, about, in float32.

    On disk its frames and samples, in memory its frames as configurations and in the flow's coordinates, with what
    a copy takes, and the log-weights.
    """
    study = registry.study(plan.study)
    dim, frames = study.dim(plan), study.source(plan).frames
    samples = plan.sampling.n * len(plan.sampling.ensembles)
    return {
        "disk": 4.0 * (dim * frames + (dim + 2) * samples),
        "memory": 4.0 * (3 * dim * frames + 8 * samples + 16 * dim * plan.sampling.batch),
    }
