"""Training: stages as data, one compiled step on a mesh of devices, checkpoints."""

from jbg.training.buffer import Bootstrap, Refill, Transport
from jbg.training.checkpoints import Checkpoints, from_named_arrays, named_arrays
from jbg.training.loop import Hooks, run_stages
from jbg.training.stage import Stage, evaluations, stage_of
from jbg.training.stage_losses import heated, stage_losses
from jbg.training.step import AXIS, TrainState, begin_stage, device_mesh, make_chunk, replicate

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
    "device_mesh",
    "evaluations",
    "from_named_arrays",
    "heated",
    "make_chunk",
    "named_arrays",
    "replicate",
    "run_stages",
    "stage_of",
    "stage_losses",
]
