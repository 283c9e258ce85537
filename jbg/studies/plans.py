"""Plans: made from options, and written to and read from run folders."""

import os
from collections.abc import Mapping
from typing import Any

from jbg.interfaces import ConfigError
from jbg.runs import Run, check_seed
from jbg.runs import open_run as open_folder
from jbg.studies import codec, registry
from jbg.studies.registry import PRESETS
from jbg.studies.settings import changed, choices, encoded, read_config
from jbg.studies.study import Plan
from jbg.studies.wanted import Questions, Wanted, resolve


def make_plan(
    name: str,
    *,
    preset: str | None = None,
    seed: int | None = None,
    config: str | os.PathLike | Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> Plan:
    """Every number of a run of the study ``name``.

    Args:
        name: name of the study; `studies.registry` lists them.
        preset: "quick" (minutes; the default) or "full" (may take hours).
        seed: seed of all random numbers; by default 0.
        config: a file like ``config.json``, whole or a part of it, or what one holds; arguments have precedence.
        settings: single settings by their place in ``config.json``, such as ``{"stages.1.steps": 10_000}``
            (`studies.settings`).
        options: options of the study, named like the flags of ``jbg run NAME``; the others keep their defaults.

    Raises:
        ConfigError: unknown study, preset, option or setting, or an invalid value.
    """
    given, where = (None, "config") if config is None else read_config(config)
    study, single = registry.study(name), settings or {}
    first, last = choices(study, given, single, where)
    arguments = {"preset": preset, "seed": seed}
    arguments = {key: value for key, value in arguments.items() if value is not None}
    chosen = {"preset": "quick", "seed": 0} | first | arguments | options | last
    plan = _planned(name, **chosen)
    if given is None and not single:
        return plan
    return changed(plan, config=config, settings=single)


def _planned(name: str, *, preset: str, seed: int, **options: Any) -> Plan:
    """The plan that options make."""
    study = registry.study(name)
    if preset not in PRESETS:
        raise ConfigError(f"unknown preset {preset!r}: choose one of {', '.join(PRESETS)}")
    check_seed(seed)
    try:
        chosen = study.options(**options)
    except TypeError as error:
        raise ConfigError(f"{name}: {error}") from error
    return study.plan(chosen, preset, seed)


def open_run(path: str | os.PathLike, plan: Plan) -> Run:
    """Create the run folder of a plan, or open it to resume.

    Raises:
        ConfigError: the folder holds another plan, something that is not a run, or damaged JSON.
        RunError: disk full.
    """
    return open_folder(path, encoded(plan))


def plan_of(run: Run) -> Plan:
    """The plan that a run folder holds.

    Raises:
        ConfigError: it is of no study, or its ``config.json`` was edited, or written by another version of jbg.
    """
    config = run.config
    name = str(config.get("study") or config.get("system") or "")
    if name not in registry.STUDIES:
        raise ConfigError(
            f"{run.path} holds a run of {name!r}, which has no stages: expected one of "
            f"{', '.join(registry.STUDIES)}"
        )
    try:
        study = registry.study(name)
        where = str(run.path / "config.json")
        return codec.decode(Plan, config, where, options=study.options, data=study.data)
    except ConfigError as error:
        made_by = run.manifest().get("versions", {}).get("jbg")
        raise ConfigError(
            f"{error}: edited, or written by another version (jbg {made_by}); restore the file, resume with the "
            "version and commit in manifest.json, or choose another --out"
        ) from error


def check_questions(plan: Plan, questions: Questions, run: Run | None = None) -> Wanted:
    """The functions that the questions about a run of ``plan`` stand for.

    Raises:
        ConfigError: a question that cannot be answered (`wanted.resolve`).
    """
    topology = None if questions.empty else registry.study(plan.study).topology(plan, run)
    kelvin = getattr(plan.options, "temperature", 1.0)
    return resolve(questions, topology, temperature=kelvin)
