"""``--set`` and ``--config``: what they hold of a study's options becomes flags, the rest changes its plan."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jbg.cli.options import SettingOptions

SET, CONFIG, SEEDS = "--set", "--config", "--seeds"


def expanded(study: Any, arguments: Sequence[str]) -> list[str]:
    """The arguments with the choices of ``--config`` before all flags and those of ``--set`` after them, as flags;
    of a flag that is given twice the last counts.

    Args:
        study: the study that the command begins.
        arguments: as typed.

    Raises:
        ConfigError: a file that cannot be read, or an option that is not known or of another type.
    """
    from jbg.interfaces import ConfigError  # loads JAX

    files, rest = _taken(CONFIG, arguments)
    texts, rest = _taken(SET, rest)
    seeds, _ = _taken(SEEDS, arguments)
    for flag, values, what in (
        (CONFIG, files, "a file"),
        (SET, texts, "KEY=VALUE"),
        (SEEDS, seeds, "seeds such as 0..4"),
    ):
        if not values and flag in arguments:
            raise ConfigError(f"{flag}: expected {what}")
    if not (files or texts):
        return list(arguments)
    from jbg.studies.settings import choices, read_config, read_settings

    config, where = read_config(files[-1]) if files else (None, "")
    first, last = choices(study, config, read_settings(texts), where)
    if SEEDS in rest:  # in place of the seed of the file
        first.pop("seed", None)
    again = [CONFIG, files[-1]] if files else []
    again += [SET, *texts] if texts else []
    return [*_flags(first), *rest, *_flags(last), *again]


def _taken(flag: str, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The values of a flag wherever it stands, and the other arguments."""
    found, rest, inside = [], [], False
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name == flag:
            inside = True
            found += [value] if equals else []
        elif inside and not argument.startswith("--"):
            found.append(argument)
        else:
            inside = False
            rest.append(argument)
    return found, rest


def _flags(values: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for name, value in values.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            found.append(flag)
        elif isinstance(value, tuple | list):
            found += [flag, *map(str, value)]
        elif value is not None and value is not False:
            found += [flag, str(value)]
    return found


def with_settings(plan: Any, options: SettingOptions) -> tuple[Any, dict[str, tuple[Any, Any]]]:
    """The plan with the settings of ``options``, and what they changed: {place: (before, after)}."""
    if options.config is None and not options.set:
        return plan, {}
    from jbg.studies import settings

    single = settings.read_settings(options.set)
    found = settings.changed(plan, config=options.config, settings=single)
    return found, settings.differences(settings.encoded(plan), settings.encoded(found))


def rows(changes: dict[str, tuple[Any, Any]]) -> list[tuple[str, str]]:
    """(place, "old -> new") of each change, as a dry run prints them."""
    return [
        (place, f"{_short(before)} -> {_short(after)}")
        for place, (before, after) in changes.items()
    ]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def note(run: Any, options: SettingOptions, changes: dict[str, tuple[Any, Any]]) -> None:
    """Writes where the settings of a new run come from to its manifest."""
    if (options.config is None and not options.set) or "settings" in run.manifest():
        return
    from jbg.runs.records import digest_of_file

    file = options.config and {
        "file": str(Path(options.config).absolute()),
        "sha256": digest_of_file(options.config),
    }
    changed = {place: {"before": old, "after": new} for place, (old, new) in changes.items()}
    run.note(settings={"config": file, "set": list(options.set), "changed": changed})


def default_folder(system: str, options: Any) -> Path:
    """Where a run goes without ``--out``: runs/NAME, after the molecule where the options name one.

    Args:
        system: name of the study, or "md".
        options: of the command.
    """
    given = vars(options)
    molecule = given.get("sequence")
    if molecule is None:
        files = [value for value in given.values() if isinstance(value, Path)]
        names = [value for value in files if value not in (options.out, given.get("config"))]
        molecule = names[0].stem if names else None
    elif "-" in molecule:  # names of residues, not letters of which lower case is D
        molecule = molecule.lower()
    if molecule is None:
        return Path("runs") / system
    plain = re.sub(r"[^\w.+-]+", "-", molecule).strip("-.") or system
    return Path("runs") / (plain[:80] if system == "molecule" else f"{plain[:80]}-{system}")
