"""One study from options to report: the stages simulate, train, sample, correct, evaluate, each resumable.

A stage reads what earlier stages left in the run folder and writes its own files; nothing else passes
between them. Physics is in the families beside this module and below; numbers are made here and drawn in
`jbg.report`.
"""

from typing import Any

from jbg import report
from jbg.analysis import results_alarms
from jbg.interfaces import ConfigError, Params
from jbg.processes.worker import by_writer
from jbg.runs import Run, storage
from jbg.runs.progress import progress
from jbg.sampling.generate import (
    Ensemble,
    SampleSet,
    count_samples,
    generate,
    load_samples,
    origin,
)
from jbg.studies import evaluation, registry
from jbg.studies.annealed import anneal_in
from jbg.studies.correction import correct_in
from jbg.studies.cost import cost as cost
from jbg.studies.cost import needs
from jbg.studies.dataset import load_dataset
from jbg.studies.evidence import Evidence
from jbg.studies.plans import check_questions as check_questions
from jbg.studies.plans import make_plan as make_plan
from jbg.studies.plans import open_run as open_run
from jbg.studies.plans import plan_of as plan_of
from jbg.studies.problem import Problem
from jbg.studies.study import Plan, Study
from jbg.studies.trained import has_trained, load_trained, spent_training, train_in
from jbg.studies.wanted import Questions, kept
from jbg.studies.wanted import keep as keep_questions
from jbg.studies.worth import STAGES, worth
from jbg.training import check_stages

EVALUATION, RESULTS = "evaluation.npz", "results.json"
NOTED = "samples"  # in the manifest: what the samples of each ensemble follow from


def describe(plan: Plan, run: Run | None = None) -> list[tuple[str, str]]:
    """(what, which) rows about the system, printed before a run or before ``run`` is resumed."""
    return registry.study(plan.study).describe(plan, run)


def run_all(run: Run, *, quiet: bool = False) -> None:
    """Run all stages that are not done yet, then write results and report."""
    simulate(run, quiet=quiet)
    with progress(None, "prepare", total=0, quiet=quiet):
        problem = load_problem(run)
    train(run, problem=problem, quiet=quiet)
    sample(run, problem=problem, quiet=quiet)
    evidence = correct(run, problem=problem, quiet=quiet)
    evaluate(run, problem=problem, evidence=evidence, quiet=quiet)
    with progress(None, "report", total=0, quiet=quiet):
        report.write_report(run)


def _study_of(plan: Plan) -> Study[Any, Any]:
    return registry.study(plan.study)


def simulate(run: Run, *, quiet: bool = False) -> None:
    """Make the data that training by example learns from, once."""
    if run.stage_done("simulate"):
        return
    plan = plan_of(run)
    check_stages(plan.stages)
    needed, smaller = needs(plan), "choose --preset quick, or a smaller plan"
    storage.require_memory(f"{run.path}", needed["memory"], smaller)
    storage.require_space(run.path, needed["disk"], smaller)
    with run.stage("simulate"):
        _make_data(run, plan, quiet=quiet)


@by_writer
def _make_data(run: Run, plan: Plan, *, quiet: bool) -> None:
    """The data of a run; several processes wait for the first, and read them."""
    _study_of(plan).source(plan).make(run, quiet=quiet)
    run.mark_done("simulate")


def load_problem(run: Run) -> Problem:
    """The study's problem; needs the data of `simulate`.

    Raises:
        ConfigError: no data yet, or settings or files written by another version of jbg.
    """
    if not run.stage_done("simulate"):
        raise ConfigError(f"{run.path} has no data yet: run `jbg simulate` (or `jbg run`) first")
    plan = plan_of(run)
    return _study_of(plan).problem(plan, run)


def train(run: Run, *, problem: Problem | None = None, quiet: bool = False) -> None:
    """Train through the stages of the plan, from the last checkpoint if there is one."""
    plan = plan_of(run)
    if run.stage_done("train") and has_trained(run, plan):
        return
    problem = problem or load_problem(run)
    with run.stage("train"):
        train_in(run, plan, problem, quiet=quiet)
        run.mark_done("train")


def load_params(run: Run, problem: Problem, stage: str | None = None) -> Params:
    """The trained parameters of the flow: at the end of the training, or of the stage of this name.

    Raises:
        ConfigError: not trained yet, no such stage, or a run that did not keep that stage's parameters.
    """
    return load_trained(run, plan_of(run), problem, stage)


def load_ensemble(run: Run, ensemble: Ensemble | None = None) -> SampleSet:
    """The samples of an ensemble (by default that at tau = 1) on disk, memory-mapped.

    Raises:
        ConfigError: there are none, their files are damaged, or they were drawn otherwise than the run noted.
    """
    at = ensemble or Ensemble()
    noted = run.manifest().get(NOTED, {}).get(at.folder)
    return load_samples(run.path / at.folder, drawn_with=noted)


def sample(
    run: Run, *, n: int | None = None, problem: Problem | None = None, quiet: bool = False
) -> int:
    """Generate samples with ln q and true energies into ``samples/``.

    Of each ensemble of the plan; those of tau = 2 go into ``samples/tau-2/``. Asking for more than there are adds
    to them; ``results.json`` is then out of date until `evaluate`.

    Args:
        run: a trained run.
        n: number of samples of each ensemble; None or 0 for that of the plan.
        problem: as from `load_problem`; None loads it.
        quiet: no progress bar.

    Returns:
        The number of samples on disk at tau = 1.

    Raises:
        ConfigError: not trained yet, a negative ``n``, or samples on disk that are damaged or of other parameters.
        RunError: disk full.
    """
    plan = plan_of(run)
    n = n or plan.sampling.n
    if n < 1:
        raise ConfigError(f"sample: -n must be at least 1, got {n}")
    problem = problem or load_problem(run)
    params = (load_params(run, problem), ())
    ensembles = plan.sampling.ensembles
    run.note(**{NOTED: {at.folder: origin(params, run.key(at.stream)) for at in ensembles}})
    with run.stage("sample"), progress(run, "sample", total=n * len(ensembles), quiet=quiet) as bar:
        before = sum(min(n, count_samples(run.path / at.folder)) for at in ensembles)

        def on_block(done: int) -> None:
            if not bar.marks:  # the samples that there were are found right
                bar.resume(before)
            bar.update(done)

        for i, at in enumerate(ensembles):
            generate(
                run.path / at.folder,
                problem.draw_at(at.tau),
                params,
                n=n,
                dim=problem.system.dim,
                batch=problem.batch,
                key=run.key(at.stream),
                on_block=lambda done, first=n * i: on_block(first + done),
            )
        n_drawn = count_samples(run.path / Ensemble().folder)
        run.mark_done("sample", n=n_drawn)
    return n_drawn


def evidence_of(run: Run, plan: Plan, problem: Problem) -> Evidence:
    """What the estimates of a run are made from.

    Raises:
        ConfigError: not trained, or no samples yet.
    """
    params = load_params(run, problem)
    drawn = {
        at: load_samples(run.path / at.folder, drawn_with=origin((params, ()), run.key(at.stream)))
        for at in plan.sampling.ensembles
    }
    return Evidence(run, plan, problem, params, drawn)


def _corrects(plan: Plan) -> bool:
    by_chains = plan.correction is not None and plan.correction.corrector != "none"
    return by_chains or plan.annealing is not None


def after_sampling(run: Run) -> str:
    """The stage after ``sample``: "correct" where the run has a corrector, else "evaluate"."""
    return "correct" if _corrects(plan_of(run)) else "evaluate"


def correct(run: Run, *, problem: Problem | None = None, quiet: bool = False) -> Evidence | None:
    """Correct what the weights of the samples cannot, by the corrector or the annealing of the plan; nothing
    where it has neither.

    Returns:
        What estimates are made from, where that was needed: `evaluate` need not make it again.

    Raises:
        ConfigError: no samples yet.
    """
    plan = plan_of(run)
    if not _corrects(plan) or run.stage_done("correct"):
        return None
    problem = problem or load_problem(run)
    with run.stage("correct"):
        evidence = evidence_of(run, plan, problem)
        if plan.correction is not None:
            correct_in(run, evidence, plan.correction, quiet=quiet)
        if plan.annealing is not None:
            anneal_in(run, evidence, plan.annealing, quiet=quiet)
        run.mark_done("correct")
    return evidence


def evaluate(
    run: Run,
    *,
    problem: Problem | None = None,
    evidence: Evidence | None = None,
    questions: Questions | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Compute ``results.json`` and ``evaluation.npz`` from the samples on disk; returns the results.

    Args:
        run: with samples.
        problem: as from `load_problem`; None loads it.
        evidence: as from `correct`; None reads it again.
        questions: states, variables and temperatures of the user, kept in place of earlier ones; None for those
            that the run was asked before.
        quiet: no progress bar.

    Raises:
        ConfigError: also a question that cannot be answered.
    """
    plan = plan_of(run)
    wanted = check_questions(plan, questions or kept(run), run)
    if questions is not None:
        keep_questions(run, questions)
    problem = problem or load_problem(run)
    with run.stage("evaluate"), progress(run, "evaluate", total=0, quiet=quiet):
        evidence = (evidence or evidence_of(run, plan, problem)).asking(wanted)
        found, arrays = evaluation.compute(_study_of(plan), evidence)
        run.save_arrays(EVALUATION, **arrays)
    spent = {
        "simulate": load_dataset(run).evaluations,
        "train": spent_training(run, plan),
        "evaluate": found.pop("frame_energies")
        + sum(len(weighted.log_w) for weighted in evidence.weighted.values()),
    }
    corrected = [found[name] for name in ("correction", "annealing") if found.get(name)]
    if corrected:
        spent["correct"] = sum(each.get("energy_evaluations", 0) for each in corrected)
    seconds = {name: run.wall_seconds(name) for name in STAGES}
    if not _corrects(plan):
        del seconds["correct"]
    found |= {"energy_evaluations": spent, "wall_seconds": seconds}
    found["worth"] = worth(run, found["free_energy_differences"])
    found["warnings"] = results_alarms(found, run.metrics())
    if _corrects(plan) and not run.stage_done("correct"):
        found["warnings"].append(
            f"not corrected yet: run `jbg correct {run.path}`, then evaluate again"
        )
    run.write_json(RESULTS, found)
    run.mark_done("evaluate")
    return found
