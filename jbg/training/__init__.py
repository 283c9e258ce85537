"""Training: stages as data, one compiled step on a mesh of devices, checkpoints."""

from jbg.training.buffer import Bootstrap, Refill, Transport
from jbg.training.checkpoints import Checkpoints, from_named_arrays, named_arrays
from jbg.training.loop import Hooks, check_stages, run_stages
from jbg.training.stage import Stage, evaluations, stage_of
from jbg.training.stage_losses import heated, stage_losses
from jbg.training.step import AXIS, TrainState, begin_stage, device_mesh, make_chunk, replicate
from jbg.training.trained import final_params, trained

__all__ = [
    "AXIS",
    "Bootstrap",
    "Checkpoints",
    "Hooks",
    "Refill",
    "Stage",
    "TrainState",
    "Transport",
    "begin_stage",
    "check_stages",
    "device_mesh",
    "evaluations",
    "final_params",
    "from_named_arrays",
    "heated",
    "make_chunk",
    "named_arrays",
    "replicate",
    "run_stages",
    "stage_of",
    "stage_losses",
    "trained",
]
