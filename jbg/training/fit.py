"""Training in one call, for notebooks: one stage, no run folder."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jbg.generator import Generator
from jbg.interfaces import (
    CollectivePlane,
    CollectiveVariable,
    ConfigError,
    Key,
    Params,
    Target,
    check_key,
    check_target,
)
from jbg.losses import NLL, LogDispersion, LossTerm, Wasserstein
from jbg.training.loop import Hooks, run_stages
from jbg.training.stage import Stage
from jbg.training.stage_losses import stage_losses, stage_refills


def fit(
    key: Key,
    generator: Generator,
    *,
    losses: tuple[LossTerm, ...],
    steps: int = 1000,
    data: ArrayLike | None = None,
    target: Target | None = None,
    params: Params | None = None,
    **settings: Any,
) -> Params:
    """Trains a generator, and returns its averaged parameters.

        params = jbg.fit(key, flow, data=frames, losses=(jbg.NLL(),), steps=500)

    Args:
        key: of the initial parameters and of training.
        generator: of x.
        losses: terms whose weighted sum is minimised, such as ``(NLL(0.1), ReverseKL(1.0))``.
        steps: gradient steps.
        data: configurations to learn from, batch first ``(n, dim)``; None for losses that need none.
        target: density of x for losses that need energies, not softened: the median energy of the data (0 without
            data) is the reference that `Stage.e_high` is measured from.
        params: where to start; the generator's own initial parameters by default.
        settings: further fields of `Stage`, such as ``batch_size`` and ``learning_rate``; also ``hooks``
            (`training.Hooks`) and ``collective_variable`` for `losses.ReactionCoordinate`, and
            ``backbone``, numbers of atoms, for `losses.Wasserstein`, and ``n_circular``, the number of angles, for
            `losses.TorsionRange`.

    Raises:
        ConfigError: data of another shape, something other than a key or a target, a loss that lacks what it
            needs, or settings that make no sense.
        RunError: training diverged.
    """
    hooks: Hooks | None = settings.pop("hooks", None)
    variable: CollectiveVariable | CollectivePlane | None = settings.pop(
        "collective_variable", None
    )
    backbone: np.ndarray | None = settings.pop("backbone", None)
    n_circular: int | None = settings.pop("n_circular", None)
    check_key(key, "fit")
    if target is not None:
        check_target(target, "fit")
    k_init, k_train = jax.random.split(key)
    stage = _stage(steps, losses, settings)
    needing = NLL | LogDispersion | Wasserstein
    by_example = [type(term).__name__ for term in losses if isinstance(term, needing)]
    if data is None and by_example:
        raise ConfigError(f"fit: {by_example[0]} learns from data, got none: pass data (n, dim)")
    frames = _checked(data, generator.bijector.dim_out)
    reference = _reference(target, data, frames)
    of_target = None if target is None else stage_refills(generator, target, u_reference=reference)
    return run_stages(
        (stage,),
        make_loss=stage_losses(
            generator,
            target,
            None,
            variable,
            u_reference=reference,
            backbone=backbone,
            n_circular=n_circular,
        ),
        make_refill=of_target,
        params=generator.init(k_init) if params is None else params,
        data=frames,
        key=k_train,
        hooks=hooks,
    )


def _stage(steps: int, losses: tuple[LossTerm, ...], settings: dict[str, Any]) -> Stage:
    settings.setdefault("log_every", next(n for n in (20, 10, 5, 1) if steps % n == 0))
    try:
        return Stage(name="fit", steps=steps, losses=losses, **settings)
    except TypeError as error:
        raise ConfigError(f"fit: {error}") from error


def _checked(data: ArrayLike | None, dim: int) -> jax.Array:
    """The data ``(n, dim)``; a row of zeros, which no loss may ask for, where there are none."""
    if data is None:
        return jnp.zeros((1, dim))
    frames = np.asarray(data)
    if frames.ndim != 2 or frames.shape[1] != dim or not len(frames):
        hint = ": rows are configurations, pass data.T" if frames.shape[:1] == (dim,) else ""
        raise ConfigError(f"fit: expected data (n, {dim}), got {frames.shape}{hint}")
    if not np.isfinite(frames).all():
        raise ConfigError("fit: some of the data are not finite: leave those rows out")
    return jnp.asarray(frames, float)


def _reference(target: Target | None, data: ArrayLike | None, frames: jax.Array) -> float:
    """The median reduced energy of up to 4096 configurations; 0 without data or target."""
    if target is None or data is None:
        return 0.0
    few = frames[:: max(1, len(frames) // 4096)]
    return float(jnp.median(target.reduced_energy(few.T)))
