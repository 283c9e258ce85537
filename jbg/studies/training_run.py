"""Stages of training inside a run folder: checkpoints, metrics, progress, parameters at the end of each."""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jbg import reweighting
from jbg.interfaces import Key, Params, RunError
from jbg.runs import Run
from jbg.runs.progress import progress
from jbg.studies.problem import Problem
from jbg.training import Checkpoints, Hooks, Stage, named_arrays, run_stages
from jbg.training.mesh import in_turn, one_device

STAGES = "stages"


def train_stages(
    run: Run,
    stages: Sequence[Stage],
    problem: Problem,
    params: Params,
    *,
    key: Key,
    folder: str,
    quiet: bool,
) -> Params:
    """Train through stages, resuming at the last checkpoint if there is one.

    Args:
        run: keeps checkpoints, metrics and the parameters at the end of each stage but the last.
        stages: in the order of training.
        problem: losses, data and flow.
        params: where the training starts.
        key: of the training.
        folder: of the checkpoints, inside of the run.
        quiet: no progress bar.
    """
    total = sum(stage.steps for stage in stages)
    with progress(run, "train", total=total, quiet=quiet) as bar:
        checkpoints = Checkpoints(run.path / folder)
        bar.resume(checkpoints.latest() or 0)
        try:
            return run_stages(
                stages,
                make_loss=problem.make_loss,
                make_refill=problem.make_refill,
                params=params,
                data=jnp.asarray(problem.examples.rows),
                key=key,
                checkpoints=checkpoints,
                hooks=_hooks(run, stages, problem, bar),
            )
        finally:
            checkpoints.close()


def parameters_of(stage: str) -> str:
    """The file of the parameters at the end of a stage."""
    return f"{STAGES}/{stage}.npz"


def _hooks(run: Run, stages: Sequence[Stage], problem: Problem, bar: Any) -> Hooks:
    """Hooks that write metrics and parameters to the run folder and update the progress bar."""
    starts = itertools.accumulate([0, *(stage.steps for stage in stages)])
    offsets = {stage.name: start for stage, start in zip(stages, starts, strict=False)}
    heldout_nll = problem.heldout_nll()
    key = run.key("evaluate-training")

    def on_begin(stage: Stage, step: int) -> None:
        run.truncate_metrics(stage.name, step + 1)
        bar.update(offsets[stage.name] + step)

    def on_log(stage: Stage, step: int, values: dict[str, float]) -> None:
        run.log_metrics(stage.name, step, **values)
        shown = {k: values.get(k) for k in ("loss", "nll", "kl", "ess") if k in values}
        bar.update(offsets[stage.name] + step, **shown)

    def on_eval(stage: Stage, step: int, params: Params) -> dict[str, float]:
        drawn_with = jax.random.fold_in(key, offsets[stage.name] + step)
        # a single block, which a single device draws
        ((_, log_q, u),) = in_turn(problem.draw_at(1.0), (params, ()), [drawn_with], one_device())
        log_w, n_invalid = reweighting.drop_non_finite(reweighting.log_weights(u, log_q))
        if n_invalid == len(log_w):
            raise RunError(
                f"training stage {stage.name!r}, step {step}: none of {n_invalid} samples has a finite "
                "energy; check the force field and the starting structure"
            )
        clipped = reweighting.clip_log_weights(log_w, share=1e-3)
        known = {"heldout_nll": float(heldout_nll(params))} if heldout_nll else {}
        return known | {
            "eval_ess": reweighting.ess_fraction(log_w),
            "eval_ess_clipped_1e-3": reweighting.ess_fraction(clipped),
        }

    def on_end(stage: Stage, params: Params) -> None:
        if stage != stages[-1]:  # those of the last stage are in the last checkpoint
            run.save_arrays(parameters_of(stage.name), **named_arrays(params))

    return Hooks(on_begin=on_begin, on_log=on_log, on_eval=on_eval, on_end=on_end)
