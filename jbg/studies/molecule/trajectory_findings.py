"""What a report says of trajectories of the user: what was used, left out and restored."""

import json
from typing import Any

from jbg.studies.evidence import Evidence
from jbg.studies.molecule.files import TARGET_TEST, TRAJECTORIES
from jbg.studies.molecule.trajectory_plan import TrajectoryPlan
from jbg.studies.study import Finding


def data_rows(plan: Any) -> list[tuple[str, str]]:
    """The trajectories of a plan, (what, which); empty where the data are something else."""
    if not isinstance(plan, TrajectoryPlan):
        return []
    n, total = len(plan.lengths), sum(plan.lengths)
    every = "" if plan.stride == 1 else f", one in {plan.stride} used"
    return [("data", f"{n} {'trajectory' if n == 1 else 'trajectories'}, {total} frames{every}")]


def own_data(evidence: Evidence) -> Finding:
    """``own_data``: what was read of the user's trajectories; nothing where the data are no such."""
    if not isinstance(evidence.plan.data, TrajectoryPlan):
        return Finding({}, {})
    about, test = (
        json.loads(str(evidence.run.load_arrays(name)["about"]))
        for name in (TRAJECTORIES, TARGET_TEST)
    )
    return Finding({"own_data": about | {"frames": len(evidence.dataset.x)} | test}, {})
