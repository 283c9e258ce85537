"""One study from config to report: the stages simulate, train, sample, evaluate, each resumable.

A stage reads what earlier stages left in the run folder and writes its own files; nothing else passes
between them. Physics is in `jbg.presets` and below; numbers are made here and drawn in `jbg.report`.
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jbg import presets, report, reweighting
from jbg.analysis import forward_nll_by_state, free_energy_difference, results_alarms
from jbg.interfaces import ConfigError, Params, RunError
from jbg.presets import Problem
from jbg.progress import progress
from jbg.runs import Run
from jbg.sampling.generate import SampleSet, generate, load_samples
from jbg.training import Checkpoints, Hooks, Stage, begin_stage, evaluations, run_stages

CHECKPOINTS, SAMPLES = "checkpoints", "samples"


def list_systems() -> list[tuple[str, str, tuple[str, ...]]]:
    """(name, description, presets) of everything that `jbg run` knows."""
    return [(name, presets.recipe(name).DESCRIPTION, presets.PRESETS) for name in presets.names()]


def make_config(name: str, *, preset: str = "quick", seed: int = 0, **options: Any) -> dict:
    """The resolved configuration of a study, plain JSON values.

    Raises:
        ConfigError: unknown system or preset, or an option that makes no sense.
    """
    recipe = presets.recipe(name)
    if preset not in presets.PRESETS:
        raise ConfigError(f"unknown preset {preset!r}: choose one of {', '.join(presets.PRESETS)}")
    return recipe.make_config(preset=preset, seed=seed, **options)


def stages_of(config: dict[str, Any]) -> tuple[Stage, ...]:
    """The training stages that a configuration lists."""
    return tuple(Stage(**(stage | {"taus": tuple(stage["taus"])})) for stage in config["stages"])


def cost(config: dict[str, Any]) -> dict[str, Any]:
    """What a study will spend, without running it: steps, energy evaluations, rough minutes."""
    stages = stages_of(config)
    return presets.recipe(config["system"]).cost(config) | {
        "training_steps": sum(stage.steps for stage in stages),
        "energy_evaluations_train": evaluations(stages, config["sampling"]["batch"]),
        "energy_evaluations_sample": config["sampling"]["n"],
    }


def run_all(run: Run, *, quiet: bool = False) -> None:
    """All stages that are not done yet, then results and report."""
    simulate(run, quiet=quiet)
    problem = load_problem(run)
    train(run, problem=problem, quiet=quiet)
    sample(run, problem=problem, quiet=quiet)
    evaluate(run, problem=problem)
    report.write_report(run)


def _recipe(run: Run):
    return presets.recipe(run.config["system"])


def simulate(run: Run, *, quiet: bool = False) -> None:
    """Make the data that training by example learns from, once."""
    if run.stage_done("simulate"):
        return
    with run.stage("simulate"):
        _recipe(run).simulate(run, quiet=quiet)
        run.mark_done("simulate")


def load_problem(run: Run) -> Problem:
    """The study's problem; needs the data of `simulate`."""
    if not run.stage_done("simulate"):
        raise ConfigError(f"{run.path} has no data yet: run `jbg simulate` (or `jbg run`) first")
    return _recipe(run).load(run)


def train(run: Run, *, problem: Problem | None = None, quiet: bool = False) -> None:
    """Train through the stages of the config, from the last checkpoint if there is one."""
    if run.stage_done("train"):
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
            _, log_q, u = problem.draw(
                (params, ()), jax.random.fold_in(key, offsets[stage.name] + step)
            )
            log_w, n_invalid = reweighting.drop_non_finite(reweighting.log_weights(u, log_q))
            if n_invalid == len(log_w):
                raise RunError(
                    f"training stage {stage.name!r}, step {step}: none of {n_invalid} samples has a finite "
                    "energy; check the force field and the starting structure"
                )
            clipped = reweighting.clip_log_weights(log_w, share=1e-3)
            return {
                "heldout_nll": float(heldout_nll(params)),
                "eval_ess": reweighting.ess(log_w),
                "eval_ess_clipped_1e-3": reweighting.ess(clipped),
            }

        checkpoints = Checkpoints(run.path / CHECKPOINTS)
        try:
            run_stages(
                stages,
                make_loss=problem.make_loss,
                params=_initial(run, problem),
                data=jnp.asarray(problem.train),
                key=run.key("train"),
                checkpoints=checkpoints,
                hooks=Hooks(on_begin=on_begin, on_log=on_log, on_eval=on_eval),
            )
        finally:
            checkpoints.close()


def load_params(run: Run, problem: Problem) -> Params:
    """The trained parameters of the flow."""
    if not run.stage_done("train"):
        raise ConfigError(f"{run.path} is not trained yet: run `jbg train {run.path}` first")
    last = stages_of(run.config)[-1]
    like = begin_stage(_initial(run, problem), last.optimiser(), run.key("train"))
    checkpoints = Checkpoints(run.path / CHECKPOINTS)
    try:
        return checkpoints.restore(like).params
    finally:
        checkpoints.close()


def sample(
    run: Run, *, n: int | None = None, problem: Problem | None = None, quiet: bool = False
) -> None:
    """Generate n samples (default: the config's) with ln q and true energies into ``samples/``.

    Asking for more than there are adds to them; ``results.json`` is then out of date until `evaluate`.
    """
    n = n or run.config["sampling"]["n"]
    if n < 1:
        raise ConfigError(f"sample: -n must be at least 1, got {n}")
    problem = problem or load_problem(run)
    params = (load_params(run, problem), ())
    with run.stage("sample"), progress(run, "sample", total=n, quiet=quiet) as bar:
        generate(
            run.path / SAMPLES,
            problem.draw,
            params,
            n=n,
            dim=problem.system.dim,
            batch=problem.batch,
            key=run.key("sample"),
            on_block=bar.update,
        )
        run.mark_done("sample", n=max(n, len(load_samples(run.path / SAMPLES).log_q)))


def evaluate(run: Run, *, problem: Problem | None = None) -> dict[str, Any]:
    """Compute ``results.json`` and ``evaluation.npz`` from the samples on disk; returns the results."""
    problem = problem or load_problem(run)
    params = load_params(run, problem)
    samples = load_samples(run.path / SAMPLES)
    with run.stage("evaluate"):
        log_w = reweighting.log_weights(samples.reduced_energy, samples.log_q)
        log_w, n_invalid = reweighting.drop_non_finite(log_w)
        if n_invalid == len(log_w):
            raise RunError(
                f"all {len(log_w)} samples have non-finite energies: the flow is untrained or the system broken"
            )
        extra, arrays = _recipe(run).evaluate(run, problem, samples, log_w)
        arrays = _shared_arrays(run, problem, params, samples, log_w) | arrays
        run.save_arrays("evaluation.npz", **arrays)
        results = _results(run, problem, params, samples, log_w) | {"n_invalid": n_invalid} | extra
    results["wall_seconds"] = {
        name: run.wall_seconds(name) for name in ("simulate", "train", "sample", "evaluate")
    }
    results["warnings"] = results_alarms(results, run.metrics())
    run.write_json("results.json", results)
    run.mark_done("evaluate")
    return results


def _results(
    run: Run, problem: Problem, params: Params, samples: SampleSet, log_w: np.ndarray
) -> dict[str, Any]:
    target, config = problem.target, run.config
    in_kt = problem.system.energy_unit == "kT"
    log_z = reweighting.log_z_estimate(log_w)
    clipped = reweighting.clip_log_weights(log_w)
    x_heldout, log_q_heldout = _heldout(problem, params)
    return {
        "system": config["system"],
        "seed": config["seed"],
        "preset": config["preset"],
        "temperature": config["options"].get("temperature"),
        "units": {
            "free_energy": "kT",
            "energy": problem.system.energy_unit,
            "length": "dimensionless" if in_kt else "nm",
            "temperature": None if in_kt else "K",
        },
        "n_samples": len(log_w),
        "ess_fraction": reweighting.ess(log_w),
        "ess_fraction_clipped": reweighting.ess(clipped),
        "largest_weight_share": reweighting.largest_weight_share(log_w),
        "pareto_k": reweighting.pareto_k(log_w),
        "forward_nll": float(-log_q_heldout.mean()),
        "forward_nll_by_state": forward_nll_by_state(
            log_q_heldout,
            _inside(problem, x_heldout),
            samples.log_q,
            _states_of(problem, samples),
        ),
        "log_z": None
        if target.log_z is None
        else {"value": log_z.value, "stderr": log_z.stderr, "reference": target.log_z(1.0)},
        "free_energy_differences": _differences(run, problem, samples, log_w),
        "ess_by_state": _ess_by_state(problem, samples, log_w),
        "energy_evaluations": {
            "simulate": problem.simulation_evaluations,
            "train": evaluations(stages_of(config), problem.batch),
            "evaluate": len(log_w),
        },
        "parameters": sum(p.size for p in jax.tree.leaves(params)),
    }


def _heldout(problem: Problem, params: Params) -> tuple[np.ndarray, np.ndarray]:
    """Held-out data x ``(dim, n)`` and their ln q, in the measure of x."""
    v = jnp.asarray(problem.heldout.T)
    x, log_det = problem.coords.forward((), v)
    log_q = problem.flow_generator.log_prob(params, v) - log_det
    return np.asarray(x), np.asarray(log_q, np.float64)


def _states_of(problem: Problem, samples: SampleSet) -> dict[str, np.ndarray]:
    return _inside(problem, samples.positions.T)


def _inside(problem: Problem, x: np.ndarray) -> dict[str, np.ndarray]:
    """Which of x ``(dim, n)`` lie in each state."""
    return {state.name: np.asarray(state.contains(x)) for state in problem.system.states}


def _differences(run: Run, problem: Problem, samples: SampleSet, log_w: np.ndarray) -> list[dict]:
    recipe, inside = _recipe(run), _states_of(problem, samples)
    entries = []
    for a, b in presets.state_pairs(problem.system.states):
        found = free_energy_difference(
            log_w, inside[a.name], inside[b.name], seed=run.seed_for(f"bootstrap {a.name} {b.name}")
        )
        entry = {
            "states": [a.name, b.name],
            "tau": 1.0,
            "value": found.value,
            "stderr": found.stderr,
            "interval95": found.interval95,
            "definition": f"F({b.name}) - F({a.name}) = -ln(P_{b.name}/P_{a.name}); {a.name}: {a.definition}; "
            f"{b.name}: {b.definition}; error: bootstrap of the weighted samples",
        }
        if found.reason:
            entry["reason"] = found.reason
        entries.append(entry | recipe.reference_difference(run, problem, a, b))
    return entries


def _ess_by_state(problem: Problem, samples: SampleSet, log_w: np.ndarray) -> dict[str, Any]:
    """Effective samples (a number, not a fraction) and share of the generated samples in each state."""
    return {
        name: {
            "effective_samples": reweighting.ess(log_w[inside]) * int(inside.sum())
            if inside.any()
            else 0.0,
            "generated_share": float(inside.mean()),
        }
        for name, inside in _states_of(problem, samples).items()
    }


def _shared_arrays(run, problem, params, samples, log_w) -> dict[str, np.ndarray]:
    """What every system's figures need; at most 20 000 of each."""
    few = slice(0, 20_000)
    v = np.concatenate([problem.train, problem.heldout])
    v = v[np.random.default_rng(run.seed_for("figures")).permutation(len(v))[:4000]]
    x, _ = problem.coords.forward((), jnp.asarray(v.T))
    z, _ = problem.flow.inverse(params, jnp.asarray(v.T))
    states = problem.system.states
    arrays = {
        "u_data": np.asarray(problem.target.reduced_energy(x)),
        "u_generated": np.asarray(samples.reduced_energy[few]),
        "log_weights": log_w[few],
        "z_data": np.asarray(z[-2:]).T,  # the last two: linear wherever there are any
    }
    if problem.system.dim == 2:
        arrays["x_data"] = np.asarray(x).T
    if states:
        arrays["state_data"] = np.argmax([np.asarray(s.contains(np.asarray(x))) for s in states], 0)
        arrays["state_names"] = np.array([s.name for s in states])
    return arrays
