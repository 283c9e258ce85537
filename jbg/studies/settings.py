"""Settings of a plan changed by name: ``--set stages.1.steps=10000``, ``--config mine.json``, and in Python.

A setting is named by its place in ``config.json``: keys parted by dots, entries of a list by number or, where they
have one, by name or kind (``stages.by-example.steps``); ``+`` adds an entry at the end of a list. Values are
checked by the dataclass that they belong to.
"""

import difflib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jbg.interfaces import ConfigError
from jbg.studies import codec, registry
from jbg.studies.study import Plan, Study
from jbg.training import check_stages

CHOSEN = ("study", "preset", "seed", "options")  # what a plan is made from; the rest follows
APPEND = "+"
# of the data: facts about the molecule, or choices that they repeat
FOLLOWING = ("atoms", "sha256", "starts_sha256", "options")

Config = Mapping[str, Any]


def encoded(plan: Plan) -> dict[str, Any]:
    """What ``config.json`` of a plan holds."""
    study = registry.study(plan.study)
    return codec.encode(plan, options=study.options, data=study.data)


def read_config(config: str | os.PathLike | Config) -> tuple[dict[str, Any], str]:
    """The settings of a file such as ``config.json``, or of a part of one; and what to call it in errors.

    Raises:
        ConfigError: no such file, or not settings in JSON.
    """
    if isinstance(config, Mapping):
        return dict(config), "config"
    path = Path(config)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON ({error}): give a file like config.json") from None
    if not isinstance(found, dict):
        raise ConfigError(
            f"{path}: expected settings, as {{...}} in config.json, got {found!r:.60}"
        )
    return found, str(path)


def read_settings(texts: Sequence[str]) -> dict[str, Any]:
    """{place: value} of texts such as "stages.1.steps=10000"; a value is JSON, or else text.

    Raises:
        ConfigError: a text without "=", or a place that is given twice.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ConfigError(f"--set {text}: expected KEY=VALUE, such as stages.1.steps=10000")
        if name in found and not name.endswith(APPEND):
            raise ConfigError(f"--set {name}: given twice")
        found[name] = [*found.get(name, []), _value(value)] if name[-1] == APPEND else _value(value)
    return found


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    # 1e4 is a whole number to whoever types it
    whole = isinstance(value, float) and value.is_integer() and "." not in text
    return int(value) if whole else value


def choices(
    study: Study, config: Config | None, settings: Config, where: str = "config"
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ``preset``, the ``seed`` and the options that a file and single settings hold, each of its type.

    Args:
        study: that the plan is of.
        config: of `read_config`; None for none.
        settings: of `read_settings`.
        where: names the file in errors.

    Raises:
        ConfigError: a file of another study, or an option that is not known or of another type.
    """
    found = []
    _require_same("study", study.name, config or {}, where)
    single: dict[str, Any] = {"options": {}}
    for name, value in settings.items():
        first, _, rest = name.partition(".")
        if first == "options" and rest:
            single["options"] = {**single["options"], rest: value}
        elif first == "options":
            raise ConfigError("--set options: expected options.NAME=VALUE, or a flag")
        elif first in ("preset", "seed") and not rest:
            single[first] = value
    for given, place in ((config or {}, where), (single, "--set")):
        chosen = codec.decode_given(study.options, given.get("options", {}), f"{place}: options")
        found.append({k: given[k] for k in ("preset", "seed") if k in given} | chosen)
    return found[0], found[1]


def changed(
    plan: Plan, *, config: str | os.PathLike | Config | None = None, settings: Config | None = None
) -> Plan:
    """The plan with other settings, those of a file first; its options, preset and seed stay (`choices`).

    Args:
        plan: as its options make it.
        config: a file like ``config.json``, whole or a part of it, or what one holds.
        settings: {place: value}, such as ``{"stages.1.steps": 10_000}``.

    Raises:
        ConfigError: a setting that is not known or follows from the options, or a value that does not fit it.
    """
    study, before = registry.study(plan.study), encoded(plan)
    after = before
    if config is not None:
        given, name = read_config(config)
        _require_same("study", plan.study, given, name)
        _require_same("preset", plan.preset, given, name)
        rest = {key: value for key, value in given.items() if key not in CHOSEN}
        after = _merged(after, rest, name)
    for place, value in (settings or {}).items():
        if place.split(".")[0] == "study":
            raise ConfigError("--set study: the system is an argument of the command")
        if place.split(".")[0] not in CHOSEN:
            after = _merged(after, _nested(place, value), f"--set {place}")
    known = {"options": study.options, "data": study.data}
    after = codec.filled(Plan, after, **known)
    found = codec.decode(Plan, after, "config", **known)
    _require_following(before["data"], after["data"], "data")
    if type(found.flow) is not type(plan.flow):
        kind = codec.kind_of(type(plan.flow))
        raise ConfigError(
            f"config.flow must be a {kind} with these options, got another kind of flow"
        )
    check_stages(found.stages)
    study.check(found)
    return found


def _require_same(key: str, own: str, given: Config, name: str) -> None:
    if given.get(key, own) != own:
        raise ConfigError(
            f"{name}: {key} is {given[key]!r} there and {own!r} here: choose that one, or leave it out of the file"
        )


def _require_following(before: Any, after: Any, place: str) -> None:
    """Refuses other values of what follows from the molecule or from the options."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return
    for key in before.keys() & after.keys():
        inner = f"{place}.{key}"
        if key in FOLLOWING and before[key] != after[key]:
            raise ConfigError(
                f"{inner} follows from the molecule and the options, and is {_short(before[key])} here, got "
                f"{_short(after[key])}: leave it out"
            )
        _require_following(before[key], after[key], inner)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _nested(place: str, value: Any) -> dict[str, Any]:
    """{"a": {"b": value}} of the place "a.b"."""
    for key in reversed(place.split(".")):
        value = {key: value}
    return value


def _merged(old: Any, new: Any, where: str, place: str = "") -> Any:
    """JSON values with those of ``new`` in place of theirs; lists are replaced whole, or entry by entry."""
    if not isinstance(new, dict) or not isinstance(old, dict | list):
        return new
    if isinstance(old, dict) and codec.KIND in new and new[codec.KIND] != old.get(codec.KIND):
        return new
    found = dict(old) if isinstance(old, dict) else list(old)
    for key, value in new.items():
        inner = f"{place}.{key}" if place else key
        if isinstance(found, list) and key == APPEND:
            found += value if isinstance(value, list) else [value]
            continue
        at = _located(found, key, where, inner)
        found[at] = _merged(found[at], value, where, inner)
    return found


def _located(values: Any, key: str, where: str, place: str) -> Any:
    """The key or the index of an entry that ``key`` names.

    Raises:
        ConfigError: there is none.
    """
    if isinstance(values, dict):
        known = list(values)
        if key in values:
            return key
    else:
        names = [_name_of(value) for value in values]
        known = [name or str(i) for i, name in enumerate(names)]
        if names.count(key) == 1:
            return names.index(key)
        if key.lstrip("-").isdecimal() and -len(values) <= int(key) < len(values):
            return int(key)
    outer = place.removesuffix(key)
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {outer}{nearest[0]}?" if nearest else f"known: {', '.join(known)}"
    raise ConfigError(f"{where}: no setting {place}: {hint}")


def _name_of(value: Any) -> str | None:
    """How an entry of a list may be called: a stage by its name, a loss by its kind."""
    return value.get("name", value.get(codec.KIND)) if isinstance(value, dict) else None


def differences(before: Any, after: Any, place: str = "") -> dict[str, tuple[Any, Any]]:
    """{place: (old, new)} of the settings that differ between two configs; None for entries that one has not."""
    if isinstance(before, list) and isinstance(after, list):
        longest = range(max(len(before), len(after)))
        before, after = (
            {i: values[i] if i < len(values) else None for i in longest}
            for values in (before, after)
        )
    if not (isinstance(before, dict) and isinstance(after, dict)) or before.keys() != after.keys():
        return {} if before == after else {place: (before, after)}
    found: dict[str, tuple[Any, Any]] = {}
    for key in before:
        inner = f"{place}.{key}" if place else str(key)
        found |= differences(before[key], after[key], inner)
    return found
