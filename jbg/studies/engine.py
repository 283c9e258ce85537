"""One study from config to report: the stages simulate, train, sample, evaluate, each resumable.

A stage reads what earlier stages left in the run folder and writes its own files; nothing else passes
between them. Physics is in the families beside this module and below;
numbers are made here and drawn in `jbg.report`.
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp

from jbg import report, reweighting
from jbg.analysis import results_alarms
from jbg.interfaces import ConfigError, Key, Params, RunError
from jbg.runs import Run, check_seed, environment
from jbg.runs.progress import progress
from jbg.sampling.generate import SAMPLES, count_samples, generate, load_samples, origin
from jbg.studies import evaluation, registry
from jbg.studies.registry import Problem
from jbg.training import (
    Checkpoints,
    Hooks,
    Stage,
    check_stages,
    evaluations,
    final_params,
    from_named_arrays,
    named_arrays,
    run_stages,
    stage_of,
    trained,
)

CHECKPOINTS, STAGES = "checkpoints", "stages"


def list_systems() -> list[tuple[str, str, tuple[str, ...]]]:
    """(name, description, presets) of everything that `jbg run` knows."""
    return [
        (name, registry.recipe(name).DESCRIPTION, registry.PRESETS) for name in registry.names()
    ]


def make_config(name: str, *, preset: str = "quick", seed: int = 0, **options: Any) -> dict:
    """The resolved configuration of a study, plain JSON values.

    Raises:
        ConfigError: unknown system or preset, or an option that makes no sense.
    """
    recipe = registry.recipe(name)
    if preset not in registry.PRESETS:
        raise ConfigError(f"unknown preset {preset!r}: choose one of {', '.join(registry.PRESETS)}")
    check_seed(seed)
    return recipe.make_config(preset=preset, seed=seed, **options)


def stages_of(config: dict[str, Any]) -> tuple[Stage, ...]:
    """The training stages that a configuration lists."""
    return tuple(stage_of(settings) for settings in config["stages"])


def taus_of(config: dict[str, Any]) -> tuple[float, ...]:
    """The relative temperatures that are sampled, 1 among them."""
    return tuple(config["sampling"].get("taus", (1.0,)))


def folder_of(tau: float) -> str:
    """Where the samples of a relative temperature are in a run folder."""
    return SAMPLES if tau == 1.0 else f"{SAMPLES}-tau-{tau:g}"


def cost(config: dict[str, Any]) -> dict[str, Any]:
    """What a study will spend, without running it: steps, energy evaluations, rough minutes."""
    stages = stages_of(config)
    return registry.recipe(config["system"]).cost(config) | {
        "training_steps": sum(stage.steps for stage in stages),
        "energy_evaluations_train": evaluations(stages, config["sampling"]["batch"]),
        "energy_evaluations_sample": config["sampling"]["n"] * len(taus_of(config)),
    }


def describe(config: dict[str, Any], run: Run | None = None) -> list[tuple[str, str]]:
    """(what, which) about the system of a study, said before it runs, or goes on in ``run``; molecules have
    something to say."""
    of = getattr(registry.recipe(config["system"]), "describe", None)
    return of(config, run) if of else []


def run_all(run: Run, *, quiet: bool = False) -> None:
    """All stages that are not done yet, then results and report."""
    simulate(run, quiet=quiet)
    problem = load_problem(run)
    train(run, problem=problem, quiet=quiet)
    sample(run, problem=problem, quiet=quiet)
    evaluate(run, problem=problem)
    report.write_report(run)


def _recipe(run: Run):
    return registry.recipe(run.config["system"])


def simulate(run: Run, *, quiet: bool = False) -> None:
    """Make the data that training by example learns from, once."""
    if run.stage_done("simulate"):
        return
    check_stages(stages_of(run.config), jax.device_count())
    with run.stage("simulate"):
        _recipe(run).simulate(run, quiet=quiet)
        run.mark_done("simulate")


def load_problem(run: Run) -> Problem:
    """The study's problem; needs the data of `simulate`.

    Raises:
        ConfigError: no data yet, or settings or files of another version of jbg.
    """
    if not run.stage_done("simulate"):
        raise ConfigError(f"{run.path} has no data yet: run `jbg simulate` (or `jbg run`) first")
    try:
        stages_of(run.config)
        return _recipe(run).load(run)
    except (TypeError, KeyError) as error:
        manifest = run.manifest()
        made_by = manifest.get("versions", {}).get("jbg"), manifest.get("source")
        if made_by == (environment.versions()["jbg"], environment.commit()):
            raise
        raise ConfigError(
            f"{run.path} is of another version of jbg ({type(error).__name__}: {error}): go on with the "
            "version and commit in its manifest.json, or choose another --out"
        ) from error


def train(run: Run, *, problem: Problem | None = None, quiet: bool = False) -> None:
    """Train through the stages of the config, from the last checkpoint if there is one."""
    steps = sum(stage["steps"] for stage in run.config["stages"])
    if run.stage_done("train") and trained(run.path / CHECKPOINTS, steps):
        return
    problem = problem or load_problem(run)
    with run.stage("train"):
        _train(run, problem, quiet=quiet)
        run.mark_done("train")


def _initial(run: Run, problem: Problem) -> Params:
    return problem.flow.init(run.key("init"))


def _train(run: Run, problem: Problem, *, quiet: bool) -> None:
    stages = stages_of(run.config)
    total = sum(stage.steps for stage in stages)
    starts = itertools.accumulate([0, *(stage.steps for stage in stages)])
    offsets = {stage.name: start for stage, start in zip(stages, starts, strict=False)}
    heldout_nll = problem.heldout_nll()
    key = run.key("evaluate-training")

    with progress(run, "train", total=total, quiet=quiet) as bar:

        def on_begin(stage: Stage, step: int) -> None:
            run.truncate_metrics(stage.name, step + 1)
            bar.update(offsets[stage.name] + step)

        def on_log(stage: Stage, step: int, values: dict[str, float]) -> None:
            run.log_metrics(stage.name, step, **values)
            shown = {k: values.get(k) for k in ("loss", "nll", "kl", "ess") if k in values}
            bar.update(offsets[stage.name] + step, **shown)

        def on_eval(stage: Stage, step: int, params: Params) -> dict[str, float]:
            _, log_q, u = problem.draw_at(1.0)(
                (params, ()), jax.random.fold_in(key, offsets[stage.name] + step)
            )
            log_w, n_invalid = reweighting.drop_non_finite(reweighting.log_weights(u, log_q))
            if n_invalid == len(log_w):
                raise RunError(
                    f"training stage {stage.name!r}, step {step}: none of {n_invalid} samples has a finite "
                    "energy; check the force field and the starting structure"
                )
            clipped = reweighting.clip_log_weights(log_w, share=1e-3)
            known = {"heldout_nll": float(heldout_nll(params))} if heldout_nll else {}
            return known | {
                "eval_ess": reweighting.ess(log_w),
                "eval_ess_clipped_1e-3": reweighting.ess(clipped),
            }

        def on_end(stage: Stage, params: Params) -> None:
            if stage != stages[-1]:  # the last checkpoint has those of the last
                run.save_arrays(_parameters_of(stage.name), **named_arrays(params))

        checkpoints = Checkpoints(run.path / CHECKPOINTS)
        try:
            run_stages(
                stages,
                make_loss=problem.make_loss,
                make_refill=problem.make_refill,
                params=_initial(run, problem),
                data=jnp.asarray(problem.examples),
                key=run.key("train"),
                checkpoints=checkpoints,
                hooks=Hooks(on_begin=on_begin, on_log=on_log, on_eval=on_eval, on_end=on_end),
            )
        finally:
            checkpoints.close()


def _parameters_of(stage: str) -> str:
    return f"{STAGES}/{stage}.npz"


def load_params(run: Run, problem: Problem, stage: str | None = None) -> Params:
    """The trained parameters of the flow: at the end of the training, or of the stage of this name.

    Raises:
        ConfigError: not trained yet, no such stage, or a run that did not keep that stage's parameters.
    """
    if not run.stage_done("train"):
        raise ConfigError(f"{run.path} is not trained yet: run `jbg train {run.path}` first")
    names = [s["name"] for s in run.config["stages"]]
    if stage is not None and stage not in names:
        raise ConfigError(f"{run.path} has no stage {stage!r}: choose one of {', '.join(names)}")
    if stage is not None and stage != names[-1]:
        if not (run.path / _parameters_of(stage)).exists():
            raise ConfigError(
                f"{run.path} did not keep the parameters of stage {stage!r}: make it again"
            )
        arrays = run.load_arrays(_parameters_of(stage))
        return from_named_arrays(_initial(run, problem), arrays)
    stages, start = stages_of(run.config), _initial(run, problem)
    data, key = jnp.asarray(problem.examples), run.key("train")
    return final_params(run.path / CHECKPOINTS, stages, params=start, data=data, key=key)


def _sample_key(run: Run, tau: float) -> Key:
    return run.key(folder_of(tau).replace(SAMPLES, "sample", 1))


def sample(
    run: Run, *, n: int | None = None, problem: Problem | None = None, quiet: bool = False
) -> int:
    """Generate n samples (default: the config's) with ln q and true energies into ``samples/``.

    At each relative temperature of the config; those of tau = 2 go into ``samples-tau-2/``. Asking for more than
    there are adds to them; ``results.json`` is then out of date until `evaluate`. Returns how many there are.
    """
    n = n or run.config["sampling"]["n"]
    if n < 1:
        raise ConfigError(f"sample: -n must be at least 1, got {n}")
    problem = problem or load_problem(run)
    params = (load_params(run, problem), ())
    taus = taus_of(run.config)
    run.note(samples={folder_of(tau): origin(params, _sample_key(run, tau)) for tau in taus})
    with run.stage("sample"), progress(run, "sample", total=n * len(taus), quiet=quiet) as bar:
        for i, tau in enumerate(taus):
            generate(
                run.path / folder_of(tau),
                problem.draw_at(tau),
                params,
                n=n,
                dim=problem.system.dim,
                batch=problem.batch,
                key=_sample_key(run, tau),
                on_block=lambda done, before=n * i: bar.update(before + done),
            )
        n_drawn = count_samples(run.path / SAMPLES)
        run.mark_done("sample", n=n_drawn)
    return n_drawn


def evaluate(run: Run, *, problem: Problem | None = None) -> dict[str, Any]:
    """Compute ``results.json`` and ``evaluation.npz`` from the samples on disk; returns the results."""
    problem = problem or load_problem(run)
    params = load_params(run, problem)
    drawn = {
        tau: load_samples(
            run.path / folder_of(tau), drawn_with=origin((params, ()), _sample_key(run, tau))
        )
        for tau in taus_of(run.config)
    }
    with run.stage("evaluate"):
        found, arrays = evaluation.compute(run, problem, params, drawn)
        run.save_arrays("evaluation.npz", **arrays)
    spent = {
        "simulate": problem.simulation_evaluations,
        "train": evaluations(stages_of(run.config), problem.batch),
        "evaluate": found.pop("frame_energies")
        + sum(len(samples.log_q) for samples in drawn.values()),
    }
    seconds = {name: run.wall_seconds(name) for name in ("simulate", "train", "sample", "evaluate")}
    found |= {"energy_evaluations": spent, "wall_seconds": seconds}
    found["warnings"] = results_alarms(found, run.metrics())
    run.write_json("results.json", found)
    run.mark_done("evaluate")
    return found
