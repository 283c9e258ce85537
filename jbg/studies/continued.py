"""A finished run trained further: a folder with its data and parameters, where all that follows is made anew.

The new folder's plan has the further training alone: the steps that the last stage gets more, and stages that are
added. ``continues`` in its manifest says which run and which parameters it began from.
"""

import dataclasses
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from jbg.interfaces import ConfigError, Params
from jbg.processes.worker import by_writer
from jbg.runs import Run, adopt, load_run
from jbg.runs.clocks import Spent
from jbg.runs.records import FILES
from jbg.studies import engine
from jbg.studies.settings import CHOSEN, changed, encoded, read_config
from jbg.studies.start import CONTINUES, START, continues
from jbg.studies.study import Plan
from jbg.studies.trained import load_trained, spent_training
from jbg.training import named_arrays
from jbg.training.checkpoints import digest

MAY_CHANGE = ("stages", "sampling", "correction", "annealing")
# of the manifest, what every run writes for itself; the rest was noted by the source of the data
_OWN = {
    "created", "updated", "command", "seed", "versions", "device", "source", "config", "stages", FILES,
    "continued", "samples", "settings", CONTINUES,
}  # fmt: skip


def continue_run(
    source: str | os.PathLike,
    out: str | os.PathLike | None = None,
    *,
    config: str | os.PathLike | Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Run:
    """The folder of a run that trains a finished one further; ``jbg.run_all(run)`` then runs it.

    Args:
        source: folder of the run that was trained.
        out: folder of the new one; by default ``DIR-continued``. Where it is ``source`` itself, the earlier run is
            kept as ``DIR-before-1``.
        config: settings as in ``config.json``, whole or a part of it.
        settings: single settings, such as ``{"stages.1.steps": 20_000}``, the steps that were trained included, or
            ``{"stages.+": {"name": "more", "steps": 1000, "losses": [{"kind": "nll"}]}}``.

    Raises:
        ConfigError: a run that is not trained, nothing to train further, settings that do not fit, or a folder of
            something else.
        RunError: disk full.
    """
    run = load_run(source)
    plan = engine.plan_of(run)
    further = further_plan(plan, asked_plan(plan, config=config, settings=settings))
    params = load_trained(run, plan, engine.load_problem(run), here=False)
    return _begun(run, plan, further, params, Path(out or default_folder(run.path)))


def asked_plan(
    plan: Plan,
    *,
    config: str | os.PathLike | Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Plan:
    """The plan of a run with other settings of what comes after its data.

    Args:
        plan: of the run.
        config: as for `continue_run`.
        settings: as for `continue_run`.

    Raises:
        ConfigError: other options, data or flow, or a setting that is not known or does not fit.
    """
    given = {} if config is None else read_config(config)[0]
    before = encoded(plan)
    after = encoded(changed(plan, config=config, settings=settings))
    after |= {key: value for key, value in given.items() if key in CHOSEN}
    after |= {
        key: None for key in (place.split(".")[0] for place in settings or {}) if key in CHOSEN
    }
    for key in before:
        if key not in MAY_CHANGE and before[key] != after[key]:
            raise ConfigError(
                f"{key} stays as it is where a run is continued: change {', '.join(MAY_CHANGE)}, or begin another "
                "run with jbg run --config"
            )
    return changed(plan, config=config, settings=settings)


def further_plan(plan: Plan, asked: Plan) -> Plan:
    """The plan of the further training.

    Args:
        plan: of the run that was trained.
        asked: the same with more steps of the last stage, or with more stages.

    Raises:
        ConfigError: nothing is left to train, or a stage that was trained already is another.
    """
    n, last = len(plan.stages) - 1, plan.stages[-1]
    for i, before in enumerate(plan.stages):
        kept = asked.stages[i : i + 1] == (before,)
        if not kept and (i < n or len(asked.stages) <= n):
            raise ConfigError(
                f"stage {before.name!r} is trained already and stays: give the last more steps, or add one"
            )
    again, added = asked.stages[n], asked.stages[n + 1 :]
    more = ()
    if again != last:
        if again.steps <= last.steps:
            raise ConfigError(
                f"stage {last.name!r} is trained for {last.steps} steps already: give it more, or add a stage"
            )
        more = (dataclasses.replace(again, steps=again.steps - last.steps),)
    if not (more or added):
        raise ConfigError(
            f"nothing is left to train: give the last stage more than its {last.steps} steps, as with --set "
            f"stages.{n}.steps={2 * last.steps}, or add a stage with --set 'stages.+={{...}}'"
        )
    return dataclasses.replace(asked, stages=(*more, *added))


def default_folder(path: Path) -> Path:
    """Where the continuation of a run goes: DIR-continued, then DIR-continued-2 and so on."""
    before = re.fullmatch(r"(.*-continued)(?:-(\d+))?", path.name)
    if before is None:
        return path.with_name(f"{path.name}-continued")
    return path.with_name(f"{before[1]}-{int(before[2] or 1) + 1}")


def _begun(source: Run, plan: Plan, further: Plan, params: Params, out: Path) -> Run:
    here = out.absolute() == source.path.absolute()
    kept = _free(source.path) if here else source.path
    new = out.with_name(f"{out.name}.continuing") if here else out
    sha256 = digest(jax.tree.leaves(params))
    if (new / "config.json").exists():
        _require_same_start(load_run(new), sha256)
    run = engine.open_run(new, further)
    if not run.stage_done("simulate"):
        entry = {
            "run": str(kept.absolute()),
            "sha256": sha256,
            "steps": (continues(source) or {}).get("steps", 0)
            + sum(stage.steps for stage in plan.stages),
            "energy_evaluations": spent_training(source, plan),
        }
        _fill(run, source, params, entry)
    if not here:
        return run
    _exchange(run.path, source.path, kept)
    return load_run(out)


@by_writer
def _exchange(new: Path, old: Path, kept: Path) -> None:
    """``new`` takes the place of ``old``, which is kept."""
    old.rename(kept)
    new.rename(old)


def _require_same_start(run: Run, sha256: str) -> None:
    known = continues(run)
    if run.stage_done("simulate") and (known or {}).get("sha256") != sha256:
        raise ConfigError(
            f"{run.path} holds a run that begins with other parameters: choose another --out"
        )


def _free(path: Path) -> Path:
    """The first name DIR-before-1, DIR-before-2 and so on that nothing has."""
    i = 1
    while path.with_name(f"{path.name}-before-{i}").exists():
        i += 1
    return path.with_name(f"{path.name}-before-{i}")


@by_writer
def _fill(run: Run, source: Run, params: Params, entry: dict[str, Any]) -> None:
    """Data, parameters and provenance; the stage of the data is done when all of it is there."""
    manifest = source.manifest()
    for name in manifest[FILES]:
        if name.startswith("data/"):
            source.verify(name)
    trained = {} if continues(run) else manifest["stages"].get("train", {})
    spent = {name: trained[name] for name in Spent._fields if name in trained}
    noted = {name: value for name, value in manifest.items() if name not in _OWN}
    with run.stage("simulate"):  # which these files are of
        adopt(run, source.path / "data")
        run.save_arrays(START, **named_arrays(params))
        run.note(**noted, **{CONTINUES: entry}, stages={"train": spent})
        run.mark_done("simulate", **manifest["stages"]["simulate"])
