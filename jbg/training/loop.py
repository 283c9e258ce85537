"""Stages of training, one after the other, resumed from the last checkpoint after any interruption."""

import dataclasses
import functools
import itertools
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from jbg.interfaces import ConfigError, Key, Loss, Params, RunError
from jbg.runs import storage
from jbg.training.buffer import Refill
from jbg.training.checkpoints import Checkpoints, digest
from jbg.training.mesh import device_mesh, replicate
from jbg.training.stage import Stage
from jbg.training.step import TrainState, begin_stage, make_chunk

MAX_BAD_STEPS = 100  # skipped updates in a row after which a stage has diverged
CHECKPOINT_SECONDS = 60.0
ROUNDED = (
    "other data",
    "other initial parameters",
)  # of an `identity`, what machines round in their way


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hooks:
    """What the loop tells the outside.

    on_begin(stage, step): a stage starts, or goes on after ``step`` of its steps.
    on_log(stage, step, values): every ``log_every`` steps, with plain floats.
    on_eval(stage, step, params) -> dict: every ``eval_every`` steps and at a stage's end, with the averaged
        parameters; "heldout_nll" in the answer is what ``keep_best`` goes by.
    on_end(stage, params): a stage is done, with the parameters that the next begins with. After an interruption
        it may be told twice.
    """

    on_begin: Callable[[Stage, int], None] = lambda stage, step: None
    on_log: Callable[[Stage, int, dict[str, float]], None] = lambda stage, step, values: None
    on_eval: Callable[[Stage, int, Params], dict[str, float]] = lambda stage, step, params: {}
    on_end: Callable[[Stage, Params], None] = lambda stage, params: None


def run_stages(
    stages: Sequence[Stage],
    *,
    make_loss: Callable[[Stage, Mesh], Loss],
    make_refill: Callable[[Stage, Mesh], Refill] | None = None,
    params: Params,
    data: Array,
    key: Key,
    mesh: Mesh | None = None,
    checkpoints: Checkpoints | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    hooks: Hooks | None = None,
) -> Params:
    """Train through all stages and return the averaged (or best) parameters of the last.

    Args:
        stages: in the order of training.
        make_loss: (stage, mesh) -> its loss.
        make_refill: (stage, mesh) -> what fills the buffer of a stage that has one.
        params: where to start; also the structure that checkpoints are read into.
        data: ``(n, dim)`` training configurations, batch first.
        key: PRNG key of the whole training.
        mesh: devices; all there are by default.
        checkpoints: where states are kept; with one there, training resumes from it.
        checkpoint_seconds: least time between two of them within a stage, s; each stage also ends with one.
        hooks: logging and evaluation.

    Raises:
        RunError: training diverged, or did nothing in a whole stage; names the stage and step, and the last
            checkpoint stays.
        ConfigError: no stages, data that are not finite ``(n, dim)``, a checkpoint that does not fit or is of
            another training, or a stage with a buffer that nothing fills.
    """
    mesh, hooks = mesh or device_mesh(), hooks or Hooks()
    check_stages(stages)
    check_data(data)
    refills = _refills(stages, make_refill, mesh)
    about = functools.partial(identity, stages, params=params, data=digest([data]), key=key)
    done, (state, memory) = _resume(stages, refills, params, key, checkpoints, about)
    data = replicate(data, mesh)
    offset = 0
    for i, stage in enumerate(stages):
        if done >= offset + stage.steps:
            offset += stage.steps
            continue
        optimiser = stage.optimiser()
        chunk = make_chunk(
            make_loss(stage, mesh),
            optimiser,
            mesh=mesh,
            data_batch=stage.data_batch or stage.batch_size,
            accumulate=stage.accumulate,
            n_steps=stage.log_every,
            ema=stage.ema,
        )
        save = _saver(checkpoints, offset, checkpoint_seconds, about)
        refill = refills[i]
        memory = memory or (refill.empty() if refill else None)
        key_source = jax.random.fold_in(key, len(stages) + 1 + i)
        source = _Source(stage, refill, data, replicate(memory, mesh), key_source)
        state = _run_stage(stage, chunk, replicate(state, mesh), source, hooks, save)
        params = state.best if stage.keep_best else state.average
        hooks.on_end(stage, params)
        offset += stage.steps
        following = stages[min(i + 1, len(stages) - 1)]
        state, memory = (
            begin_stage(params, following.optimiser(), jax.random.fold_in(key, i + 1)),
            None,
        )
        if checkpoints:
            checkpoints.save(offset, state, about=about(offset))
    return state.params


def _refills(
    stages: Sequence[Stage], make_refill: Callable[[Stage, Mesh], Refill] | None, mesh: Mesh
) -> list[Refill | None]:
    """What refills the buffer of each stage, None for a stage without one.

    Raises:
        ConfigError: a stage has a buffer, and there is no ``make_refill``.
    """
    if make_refill is not None:
        return [make_refill(stage, mesh) if stage.buffer else None for stage in stages]
    if any(stage.buffer for stage in stages):
        raise ConfigError("a stage with a buffer needs make_refill")
    return [None] * len(stages)


def check_stages(stages: Sequence[Stage]) -> None:
    """Raises ConfigError for stages that cannot be trained through."""
    if not stages:
        raise ConfigError("training needs at least one stage")
    if len({stage.name for stage in stages}) != len(stages):
        raise ConfigError("stages must have different names")
    for stage in stages:
        if not storage.WORD.fullmatch(stage.name) or not stage.name.strip("."):
            raise ConfigError(
                f"stage {stage.name[:80]!r}: a name is letters, digits, '.', '_', '-' and '+', as files are named "
                "after it"
            )


def check_data(data: Any) -> None:
    """Raises ConfigError for training data that are no finite floating-point array ``(n, dim)`` with n >= 1."""
    if getattr(data, "ndim", None) != 2 or not data.size:
        found = getattr(data, "shape", type(data).__name__)
        raise ConfigError(f"training data must be (n, dim) with n >= 1, got {found}")
    if not jnp.issubdtype(data.dtype, jnp.floating):
        raise ConfigError(f"training data must be floating-point numbers, got {data.dtype}")
    rows = np.flatnonzero(~np.isfinite(np.asarray(data)).all(axis=1))
    if rows.size:
        raise ConfigError(
            f"training data: {rows.size} of {len(data)} rows are not finite, the first is row {rows[0]}"
        )


def identity(
    stages: Sequence[Stage], done: int, *, params: Params, data: str, key: Key
) -> dict[str, str]:
    """Digests of all that a state after ``done`` steps follows from; stages that it did not begin are left out.

    Args:
        stages, params, key: as for `run_stages`.
        done: steps in all stages together.
        data: digest of the training data (`checkpoints.digest`).
    """
    starts = itertools.accumulate((stage.steps for stage in stages), initial=0)
    begun = [
        dataclasses.asdict(stage)
        for stage, start in zip(stages, starts, strict=False)
        if start < done
    ]
    text = json.dumps([len(stages), begun], sort_keys=True, default=str).encode()
    return {
        "other stages": digest([np.frombuffer(text, np.uint8)]),
        "other data": data,
        "other initial parameters": digest(jax.tree.leaves(params)),
        "another random key": digest([key]),
    }


class _Source:
    """Where the rows of a stage's batches come from: the data given, or a buffer refilled as it goes."""

    def __init__(self, stage: Stage, refill: Refill | None, data: Array, memory: Any, key: Key):
        self.stage, self.refill, self.key = stage, refill, key
        self.memory, self.data = memory, data if memory is None else memory[1]

    def prepare(self, state: TrainState, step: int) -> dict[str, float]:
        """Before the steps from ``step`` on; what a refill logs."""
        buffer = self.stage.buffer
        if self.refill is None or buffer is None or step % buffer.every:
            return {}
        key = jax.random.fold_in(self.key, step)
        *self.memory, logs = self.refill.run(state.average, self.memory[0], key)
        self.data = self.memory[1]
        return {name: float(value) for name, value in logs.items()}


def _resume(stages, refills, params, key, checkpoints, about) -> tuple[int, tuple[TrainState, Any]]:
    """Steps done in all stages together; the state after them, with the buffer of a stage amid its steps."""
    state = begin_stage(params, stages[0].optimiser(), jax.random.fold_in(key, 0))
    done = checkpoints.latest() if checkpoints else None
    if done is None:
        return 0, (state, None)
    total = sum(stage.steps for stage in stages)
    if done > total:
        raise ConfigError(
            f"{checkpoints.path} holds {done} steps of a longer training than the {total} asked for: choose "
            "another folder, or delete it to train anew"
        )
    offset = 0
    for stage, refill in zip(stages, refills, strict=True):
        if refill and offset < done < offset + stage.steps:
            return done, checkpoints.restore((state, refill.empty()), done, about=about(done))
        offset += stage.steps
    return done, (checkpoints.restore(state, done, about=about(done)), None)


def _saver(checkpoints: Checkpoints | None, offset: int, seconds: float, about: Callable):
    """A function that saves a state, and a buffer where there is one, when the last save is ``seconds`` ago."""
    last = time.monotonic()

    def save(state: TrainState, memory: Any) -> None:
        nonlocal last
        if checkpoints and time.monotonic() - last >= seconds:
            tree, done = (
                state if memory is None else (state, tuple(memory)),
                offset + int(state.step),
            )
            checkpoints.save(done, tree, about=about(done))
            last = time.monotonic()

    return save


def _run_stage(
    stage: Stage,
    chunk: Callable[[TrainState, Array], tuple[TrainState, dict[str, Any]]],
    state: TrainState,
    source: _Source,
    hooks: Hooks,
    save: Callable[[TrainState, Any], None],
) -> TrainState:
    step = int(state.step)
    hooks.on_begin(stage, step)
    while step < stage.steps:
        values = source.prepare(state, step)
        state, logs = chunk(state, source.data)
        step += stage.log_every
        values |= {name: float(v) for name, v in logs.items()}
        _require_progress(stage, state, values)
        if step == stage.steps or (stage.eval_every and step % stage.eval_every == 0):
            found = hooks.on_eval(stage, step, state.average)
            values |= found
            if stage.keep_best and "heldout_nll" not in found:
                raise ConfigError(
                    f"stage {stage.name!r}: keep_best needs an on_eval that gives 'heldout_nll'"
                )
            if stage.keep_best and found["heldout_nll"] < float(state.best_nll):
                lowest = jnp.asarray(found["heldout_nll"], state.best_nll.dtype)
                state = state._replace(
                    best=jax.tree.map(jnp.copy, state.average),
                    best_nll=jax.device_put(lowest, state.best_nll.sharding),
                )
        hooks.on_log(stage, step, values)
        if step < stage.steps:  # the state after a stage is saved as the beginning of the next
            save(state, source.memory)
    return state


def _require_progress(stage: Stage, state: TrainState, values: dict[str, float]) -> None:
    """Raises RunError where steps without a finite gradient are too many in a row, or all of a stage."""
    bad, step = int(state.bad_steps), int(state.step)
    if bad >= MAX_BAD_STEPS or bad >= stage.steps:
        raise RunError(
            f"training diverged in stage {stage.name!r} before step {step}: {bad} steps in a row "
            "had no finite gradient; lower the learning rate or e_high (the last checkpoint is kept)"
        )
