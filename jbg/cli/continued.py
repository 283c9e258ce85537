"""``jbg continue DIR --set stages.1.steps=20000``: a finished run trained further, and what follows made anew."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import tyro

from jbg.cli import settings
from jbg.cli.interrupt import interruptible
from jbg.cli.options import Flag, SettingOptions, SharedOptions, TrackOptions
from jbg.cli.printing import print_results, print_rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContinueOptions(SettingOptions, SharedOptions, TrackOptions):
    """Train a finished run further: more steps of its last stage, or a stage added to them."""

    dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    """Run folder."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of the further run; default DIR-continued. With DIR itself, the earlier one becomes DIR-before-1."""
    dry_run: Flag = False
    """Print what would be trained, without training it."""
    quiet: Flag = False
    """No progress bars."""


def continue_run(options: ContinueOptions) -> int:
    """All stages after the data, beginning with the parameters of the run."""
    from jbg import runs
    from jbg.runs.tracking import check_tracker, tracked
    from jbg.studies import continued, engine
    from jbg.studies.settings import differences, encoded, read_settings

    check_tracker(options.track)
    plan = engine.plan_of(runs.load_run(options.dir))
    single = read_settings(options.set)
    asked = continued.asked_plan(plan, config=options.config, settings=single)
    changes = differences(encoded(plan), encoded(asked))
    stages = continued.further_plan(plan, asked).stages
    print_rows(settings.rows(changes), to=None if options.dry_run else sys.stderr)
    if options.dry_run:
        print_rows([("trains", f"{stage.steps} steps of {stage.name}") for stage in stages])
        return 0
    run = continued.continue_run(options.dir, options.out, config=options.config, settings=single)
    settings.note(run, options, changes)
    print(f"continues {options.dir} in {run.path}", file=sys.stderr)
    with interruptible(run), tracked(run, options.track):
        engine.run_all(run, quiet=options.quiet)
    print_results(run)
    return 0
