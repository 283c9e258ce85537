"""What a stage trains on, for one generator and one target: its losses, and what refills its buffer."""

from collections.abc import Callable

import numpy as np
from jax.sharding import Mesh

from jbg.generator import Generator, pull_back
from jbg.interfaces import (
    Bijector,
    CollectivePlane,
    CollectiveVariable,
    ConfigError,
    Loss,
    Target,
)
from jbg.losses import LossContext, total_loss
from jbg.training.buffer import Refill
from jbg.training.mesh import spread_generator, spread_target
from jbg.training.stage import Stage


def stage_losses(
    generator: Generator,
    target: Target | None,
    coords: Bijector | None = None,
    collective_variable: CollectiveVariable | CollectivePlane | None = None,
    *,
    columns: tuple[str, ...] = (),
    u_reference: float = 0.0,
    backbone: np.ndarray | None = None,
    n_circular: int | None = None,
) -> Callable[[Stage, Mesh], Loss]:
    """A ``make_loss`` for `run_stages`: (stage, mesh) -> its loss.

    Args:
        generator: of what is trained, v, which the data are given in.
        target: the true density of x; each stage softens and heats it (`Stage.training_target`). None for training
            by example alone.
        coords: v -> x, without parameters; None when they are the same.
        collective_variable: of x, one or a pair, for `losses.ReactionCoordinate`.
        columns: of the data after the coordinates: "tau", "u" (`losses.columns`).
        u_reference: energy in kT that softening is measured from, such as the median of the data.
        backbone: numbers of the backbone atoms of x ``(n_bb,)``, for `losses.Wasserstein`.
        n_circular: number of angles, the first variables of v, for `losses.TorsionRange`.
    """

    def make_loss(stage: Stage, mesh: Mesh) -> Loss:
        context = LossContext(
            generator=spread_generator(generator, mesh),
            target=None
            if target is None
            else spread_target(stage.training_target(target, u_reference), mesh),
            coords=coords,
            collective_variable=collective_variable,
            columns=stage.buffer.columns if stage.buffer else columns,
            n_samples=stage.batch_size // stage.accumulate,
            backbone=backbone,
            n_circular=n_circular,
        )
        return total_loss(stage.losses, context)

    return make_loss


def stage_refills(
    generator: Generator,
    target: Target,
    coords: Bijector | None = None,
    *,
    u_reference: float = 0.0,
) -> Callable[[Stage, Mesh], Refill]:
    """A ``make_refill`` for `run_stages`: (stage, mesh) -> what fills the buffer of the stage.

    Called with a stage without buffer, it raises ConfigError.

    Args:
        generator, target, coords, u_reference: as for `stage_losses`; the target cannot be None.
    """

    def make_refill(stage: Stage, mesh: Mesh) -> Refill:
        if stage.buffer is None:
            raise ConfigError(f"stage {stage.name!r}: expected a buffer to refill, got none")
        density = stage.training_target(target, u_reference)
        density = density if coords is None else pull_back(density, coords)
        return stage.buffer.make(generator, density, mesh)

    return make_refill
