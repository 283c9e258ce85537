"""Training inside a run folder: checkpoints, metrics and the parameters that each stage ended with."""

import jax.numpy as jnp

from jbg.interfaces import ConfigError, Params
from jbg.runs import Run
from jbg.studies.problem import Problem
from jbg.studies.relearned import cycles_of, finished, load_relearned, relearn_in
from jbg.studies.start import initial_params, spent_before, training_key
from jbg.studies.study import Plan
from jbg.studies.training_run import parameters_of, train_stages
from jbg.training import evaluations, final_params, from_named_arrays, trained

CHECKPOINTS = "checkpoints"


def train_in(run: Run, plan: Plan, problem: Problem, *, quiet: bool) -> None:
    """Train through the stages of the plan, resuming at the last checkpoint if there is one.

    Args:
        run: gives keys, and keeps checkpoints, metrics and the parameters at the end of each stage.
        plan: of the run.
        problem: losses, data and flow.
        quiet: no progress bar.
    """
    params = train_stages(
        run,
        plan.stages,
        problem,
        _initial(run, problem),
        key=training_key(run),
        folder=CHECKPOINTS,
        quiet=quiet,
    )
    if plan.correction is not None and plan.correction.cycles:
        relearn_in(run, plan.correction, problem, params, quiet=quiet)


def _initial(run: Run, problem: Problem) -> Params:
    return initial_params(run, problem.init(run.key("init")))


def load_trained(
    run: Run, plan: Plan, problem: Problem, stage: str | None = None, *, here: bool = True
) -> Params:
    """The parameters of the flow as trained.

    Args:
        run: the run that was trained.
        plan: of the run.
        problem: as it was trained.
        stage: name of the stage at whose end they are; None for the last.
        here: whether the training is to be of this machine, as where stages go on (`training.final_params`).

    Raises:
        ConfigError: not trained yet, no such stage, or a run that did not keep that stage's parameters.
    """
    if not run.stage_done("train"):
        raise ConfigError(f"{run.path} is not trained yet: run `jbg train {run.path}` first")
    names = [s.name for s in plan.stages]
    if stage is not None and stage not in names:
        raise ConfigError(f"{run.path} has no stage {stage!r}: choose one of {', '.join(names)}")
    if stage is not None and stage != names[-1]:
        if not (run.path / parameters_of(stage)).exists():
            raise ConfigError(
                f"{run.path} did not keep the parameters of stage {stage!r}: make it again"
            )
        arrays = run.load_arrays(parameters_of(stage))
        return from_named_arrays(_initial(run, problem), arrays)
    params = final_params(
        run.path / CHECKPOINTS,
        plan.stages,
        params=_initial(run, problem),
        data=jnp.asarray(problem.examples.rows),
        key=training_key(run),
        here=here,
    )
    return params if stage is not None else load_relearned(run, plan.correction, params)


def spent_training(run: Run, plan: Plan) -> int:
    """Energies that the training of a run has spent, those cycles that were made and, where it continues another,
    the training of that one included."""
    batch = plan.sampling.batch
    spent = spent_before(run) + evaluations(plan.stages, batch)
    if plan.correction is None:
        return spent
    made = cycles_of(run, plan.correction)
    return spent + sum(plan.correction.cycle_evaluations(c.corrector, batch) for c in made)


def has_trained(run: Run, plan: Plan) -> bool:
    """Whether the training is at its end, learning again included."""
    steps = sum(stage.steps for stage in plan.stages)
    return trained(run.path / CHECKPOINTS, steps) and finished(run, plan.correction)
