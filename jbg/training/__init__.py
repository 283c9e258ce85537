"""Training: stages as data, one compiled step on a mesh of devices, checkpoints."""

from jbg.training.bootstrap import Bootstrap
from jbg.training.buffer import BufferSettings, Refill
from jbg.training.checkpoints import Checkpoints, from_named_arrays, named_arrays
from jbg.training.fit import fit
from jbg.training.loop import Hooks, check_stages, run_stages
from jbg.training.mesh import AXIS, device_mesh, replicate
from jbg.training.stage import Stage, evaluations
from jbg.training.stage_losses import stage_losses, stage_refills
from jbg.training.step import TrainState, begin_stage, make_chunk
from jbg.training.trained import final_params, trained
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
    "check_stages",
    "device_mesh",
    "evaluations",
    "final_params",
    "fit",
    "from_named_arrays",
    "make_chunk",
    "named_arrays",
    "replicate",
    "run_stages",
    "stage_losses",
    "stage_refills",
    "trained",
]
