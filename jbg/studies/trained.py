"""Training inside a run folder: checkpoints, metrics and the parameters that each stage ended with."""

import itertools

import jax
import jax.numpy as jnp

from jbg import reweighting
from jbg.interfaces import ConfigError, Params, RunError
from jbg.runs import Run
from jbg.runs.progress import progress
from jbg.studies.problem import Problem
from jbg.studies.study import Plan
from jbg.training import (
    Checkpoints,
    Hooks,
    Stage,
    device_mesh,
    final_params,
    from_named_arrays,
    named_arrays,
    run_stages,
    trained,
)
from jbg.training.mesh import in_turn

CHECKPOINTS, STAGES = "checkpoints", "stages"


def train_in(run: Run, plan: Plan, problem: Problem, *, quiet: bool) -> None:
    """Train through the stages of the plan, resuming at the last checkpoint if there is one.

    Args:
        run: gives keys, and keeps checkpoints, metrics and the parameters at the end of each stage.
        plan: of the run.
        problem: losses, data and flow.
        quiet: no progress bar.
    """
    total = sum(stage.steps for stage in plan.stages)
    with progress(run, "train", total=total, quiet=quiet) as bar:
        checkpoints = Checkpoints(run.path / CHECKPOINTS)
        bar.resume(checkpoints.latest() or 0)
        try:
            run_stages(
                plan.stages,
                make_loss=problem.make_loss,
                make_refill=problem.make_refill,
                params=_initial(run, problem),
                data=jnp.asarray(problem.examples.rows),
                key=run.key("train"),
                checkpoints=checkpoints,
                hooks=_hooks(run, plan, problem, bar),
            )
        finally:
            checkpoints.close()


def _initial(run: Run, problem: Problem) -> Params:
    return problem.init(run.key("init"))


def _hooks(run: Run, plan: Plan, problem: Problem, bar) -> Hooks:
    """Hooks that write metrics and parameters to the run folder and update the progress bar."""
    starts = itertools.accumulate([0, *(stage.steps for stage in plan.stages)])
    offsets = {stage.name: start for stage, start in zip(plan.stages, starts, strict=False)}
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
        here = device_mesh(jax.devices()[:1])
        ((_, log_q, u),) = in_turn(problem.draw_at(1.0), (params, ()), [drawn_with], here)
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
        if stage != plan.stages[-1]:  # those of the last stage are in the last checkpoint
            run.save_arrays(_parameters_of(stage.name), **named_arrays(params))

    return Hooks(on_begin=on_begin, on_log=on_log, on_eval=on_eval, on_end=on_end)


def _parameters_of(stage: str) -> str:
    return f"{STAGES}/{stage}.npz"


def load_trained(run: Run, plan: Plan, problem: Problem, stage: str | None = None) -> Params:
    """The parameters of the flow as trained.

    Args:
        run: the run that was trained.
        plan: of the run.
        problem: as it was trained.
        stage: name of the stage at whose end they are; None for the last.

    Raises:
        ConfigError: not trained yet, no such stage, or a run that did not keep that stage's parameters.
    """
    if not run.stage_done("train"):
        raise ConfigError(f"{run.path} is not trained yet: run `jbg train {run.path}` first")
    names = [s.name for s in plan.stages]
    if stage is not None and stage not in names:
        raise ConfigError(f"{run.path} has no stage {stage!r}: choose one of {', '.join(names)}")
    if stage is not None and stage != names[-1]:
        if not (run.path / _parameters_of(stage)).exists():
            raise ConfigError(
                f"{run.path} did not keep the parameters of stage {stage!r}: make it again"
            )
        arrays = run.load_arrays(_parameters_of(stage))
        return from_named_arrays(_initial(run, problem), arrays)
    return final_params(
        run.path / CHECKPOINTS,
        plan.stages,
        params=_initial(run, problem),
        data=jnp.asarray(problem.examples.rows),
        key=run.key("train"),
    )


def has_trained(run: Run, plan: Plan) -> bool:
    """Whether the checkpoint at the end of the training is there."""
    return trained(run.path / CHECKPOINTS, sum(stage.steps for stage in plan.stages))
