"""What a finished training left: the parameters at the step that its stages add up to, and no others."""

from collections.abc import Sequence
from pathlib import Path

from jax import Array

from jbg.interfaces import Key, Params
from jbg.training.checkpoints import Checkpoints, digest
from jbg.training.loop import ROUNDED, identity
from jbg.training.stage import Stage
from jbg.training.step import begin_stage


def trained(folder: Path, steps: int) -> bool:
    """Whether ``folder`` has the checkpoint that ends a training of so many steps in all stages together."""
    return (folder / str(steps)).is_dir()


def final_params(
    folder: Path,
    stages: Sequence[Stage],
    *,
    params: Params,
    data: Array,
    key: Key,
    here: bool = True,
) -> Params:
    """The parameters in the checkpoint that ends the training; the arguments are those of `run_stages`.

    Args:
        folder: of the checkpoints.
        stages: all of them.
        params: where the training started, also the structure to read into.
        data, key: which it was given.
        here: whether ``params`` and ``data`` are to be the same to the last bit; on another machine than that of
            the training they differ by rounding.

    Raises:
        ConfigError: no such checkpoint, a damaged one, or one of another training.
    """
    total = sum(stage.steps for stage in stages)
    about = identity(stages, total, params=params, data=digest([data]), key=key)
    if not here:
        about = {name: about[name] for name in about if name not in ROUNDED}
    checkpoints = Checkpoints(folder)
    try:
        like = begin_stage(params, stages[-1].optimiser(), key)
        return checkpoints.restore(like, total, about=about).params
    finally:
        checkpoints.close()
