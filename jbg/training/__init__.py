"""Training: stages as data, one compiled step on a mesh of devices, checkpoints."""

from jbg.training.bootstrap import Bootstrap
from jbg.training.buffer import BufferSettings, Refill
from jbg.training.checkpoints import Checkpoints, from_named_arrays, named_arrays
from jbg.training.loop import Hooks, run_stages
from jbg.training.mesh import AXIS, device_mesh, replicate, spread_generator, spread_target
from jbg.training.stage import Stage, evaluations, settings_of, stage_of
from jbg.training.stage_losses import stage_losses, stage_refills
from jbg.training.step import TrainState, begin_stage, make_chunk
from jbg.training.transport import Transport

__all__ = [
    "AXIS",
    "Bootstrap",
    "BufferSettings",
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
    "make_chunk",
    "named_arrays",
    "replicate",
    "run_stages",
    "settings_of",
    "stage_losses",
    "stage_of",
    "stage_refills",
]
