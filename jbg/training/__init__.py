"""Training: stages as data, one compiled step on a mesh of devices, checkpoints."""

from jbg.training.checkpoints import Checkpoints, from_named_arrays, named_arrays
from jbg.training.loop import Hooks, run_stages
from jbg.training.stage import Stage, evaluations
from jbg.training.stage_losses import stage_losses
from jbg.training.step import TrainState, begin_stage, device_mesh, make_chunk, replicate

__all__ = [
    "Checkpoints",
    "Hooks",
    "Stage",
    "TrainState",
    "begin_stage",
    "device_mesh",
    "evaluations",
    "from_named_arrays",
    "make_chunk",
    "named_arrays",
    "replicate",
    "run_stages",
    "stage_losses",
]
