"""``jbg run`` and ``jbg simulate``: a plan from options and settings, and its run folder."""

import sys
from typing import Any

from jbg.cli import questions, settings
from jbg.cli.interrupt import interruptible
from jbg.cli.options import PlanOptions, RunOptions, separated
from jbg.cli.printing import print_cost, print_results, print_rows


def _begin(name: str, options: PlanOptions) -> Any:
    """The run folder for ``options``, or None after a dry run."""
    from jbg.studies import engine

    given = separated(options)
    plan = engine.make_plan(name, preset=options.preset, seed=options.seed, **given)
    plan, changes = settings.with_settings(plan, options)
    questions.check(plan, options)
    if options.dry_run:
        print_rows([*engine.describe(plan), *settings.rows(changes)])
        print_cost(engine.cost(plan))
        return None
    run = engine.open_run(options.out or settings.default_folder(name, options), plan)
    settings.note(run, options, changes)
    questions.keep(run, options)
    print_rows(engine.describe(plan, run), to=sys.stderr)
    return run


def _run_one(name: str, options: RunOptions) -> Any:
    """The run after all of its stages, or None after a dry run."""
    from jbg.runs.tracking import check_tracker, tracked
    from jbg.studies import engine

    check_tracker(options.track)
    begun = _begin(name, options)
    if begun is not None:
        with interruptible(begun), tracked(begun, options.track):
            engine.run_all(begun, quiet=options.quiet)
    return begun


def run(name: str, options: RunOptions) -> int:
    """All stages of a run, or of one for each seed, and the numbers."""
    if options.seeds:
        from jbg.cli.seeds import run_seeds

        return run_seeds(name, options, _run_one)
    done = _run_one(name, options)
    if done is not None:
        print_results(done)
    return 0


def simulate(name: str, options: PlanOptions) -> int:
    """The first stage of a run."""
    from jbg.studies import engine

    begun = _begin(name, options)
    if begun is not None:
        with interruptible(begun):
            engine.simulate(begun, quiet=options.quiet)
        print(f"next: jbg train {begun.path}")
    return 0
