"""Making and opening run folders: whose config and manifest are whole, and agree with what is asked."""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jbg.interfaces import ConfigError
from jbg.processes.worker import by_writer
from jbg.runs import environment, storage
from jbg.runs.run import CONFIG, MANIFEST, WRITE_WAIT, Run, timestamp, write_manifest

ABSENT = "(absent)"
CHOSEN = ("study", "options", "preset", "seed")  # by the user; the rest follows from them


def open_run(path: str | os.PathLike, config: Mapping[str, Any]) -> Run:
    """Makes the run folder ``path``, or opens the one that is there to go on with it.

    Args:
        path: the folder; made with its parents when missing.
        config: the resolved configuration, plain values, with an integer ``seed`` in 0 .. 2^31 - 1.

    Raises:
        ConfigError: the folder holds another config, something that is not a run, or damaged JSON.
        RunError: disk full.
    """
    path, config = Path(path), storage.plain(config)
    check_seed(config.get("seed"))
    _begin_where_missing(path, config)
    run = load_run(path)
    difference = _first_difference(run.config, config)
    if difference:
        name, old, new = difference
        way_out = "choose another --out, or the options of that run"
        if not name.startswith(CHOSEN):  # what the user chose is compared first, and is the same
            way_out += "; if another version of jbg made it, resume it with that version"
        raise ConfigError(
            f"{path} holds a run with {name} = {old}, this command has {name} = {new}: {way_out}"
        )
    return run


def load_run(path: str | os.PathLike) -> Run:
    """Opens the run folder ``path`` with the config it holds.

    Raises:
        ConfigError: not a run folder, or its JSON is damaged or changed by hand.
    """
    path = Path(path)
    if not (path / CONFIG).is_file():
        raise ConfigError(f"{path} is not a run folder (no {CONFIG}): make one with `jbg run`")
    _require_no_way_out(path)
    config = _read_config(path)
    _complete(path, config)
    run = Run(path=path, config=config)
    found = _first_difference(run.manifest()["config"], config)
    if found:
        name, old, new = found
        raise ConfigError(
            f"{path / CONFIG} was changed by hand: {name} = {old} when the run began, now {new}: put it back, or "
            "begin another run with --out"
        )
    return run


@by_writer
def adopt(run: Run, source: Path, name: str = "data") -> None:
    """Copies the folder ``source``, as of another run, to ``name`` in ``run``, which takes its files for its own.

    Raises:
        ConfigError: the place cannot be written to, or another process is at work in it.
        RunError: disk full.
    """
    with storage.only_process(run.path, wait=WRITE_WAIT), storage.disk_errors(run.path / name):
        shutil.copytree(source, run.path / name, dirs_exist_ok=True)
        for path in sorted((run.path / name).rglob("*")):
            if path.is_file():
                run.record(path.relative_to(run.path).as_posix())


def check_seed(seed: Any) -> None:
    """Raises ConfigError for what is no integer in 0 .. 2^31 - 1."""
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**31:
        raise ConfigError(f"seed must be an integer in 0 .. 2147483647, got {seed}")


@by_writer
def _begin_where_missing(path: Path, config: Mapping[str, Any]) -> None:
    if (path / CONFIG).exists():
        return
    _require_free(path)
    with storage.disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    with storage.only_process(path, wait=WRITE_WAIT):
        _require_free(path)  # another process may have been here first
        if not (path / CONFIG).exists():
            _begin(path, config)


@by_writer
def _complete(path: Path, config: Mapping[str, Any]) -> None:
    """Writes the manifest of a run that was killed between its first two files."""
    if (path / MANIFEST).exists():
        return
    with storage.only_process(path, wait=WRITE_WAIT):
        if not (path / MANIFEST).exists():
            _require_free(path, but=CONFIG)
            _begin(path, config)


def _begin(path: Path, config: Mapping[str, Any]) -> None:
    """Writes config and manifest of a new run, whose folder is held."""
    manifest = {
        "created": timestamp(),
        "command": sys.argv,
        "seed": config["seed"],
        **environment.current(),
        "source": environment.commit(),
        "config": config,
        "stages": {},
        "files": {},
    }
    storage.remove_left_over(path)
    storage.write_json(path / CONFIG, config)
    write_manifest(path, storage.plain(manifest))


def _read_config(path: Path) -> dict[str, Any]:
    config = storage.read_json(path / CONFIG)
    if not isinstance(config, dict):
        raise ConfigError(f"{path / CONFIG}: damaged (no settings): choose another --out")
    try:
        check_seed(config.get("seed"))
    except ConfigError as error:
        raise ConfigError(f"{path / CONFIG}: damaged ({error}): choose another --out") from None
    return config


def _require_free(path: Path, *, but: str | None = None) -> None:
    """``path`` may become a run: it is missing, or a folder with nothing but what a kill left."""
    if path.is_dir():
        names = {p.name for p in path.iterdir() if storage.TEMPORARY_SUFFIX not in p.name}
        if CONFIG in names and but is None:
            return  # a run, as another process has just made
        first = min(names - {storage.LOCK, but}, default=None)
        if first is not None and but:
            raise ConfigError(
                f"{path / MANIFEST}: missing, though the run holds {first}: put it back, or choose another --out"
            )
        if first is not None:
            raise ConfigError(
                f"{path} is not empty and not a run (it holds {first}): choose another --out"
            )
    elif path.exists():
        raise ConfigError(f"{path} is a file, not a folder: choose another --out")


def _require_no_way_out(path: Path) -> None:
    """Raises ConfigError for a link in the run folder that leads out of it."""
    root = path.resolve()
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            entry = Path(folder) / name
            if entry.is_symlink() and not entry.resolve().is_relative_to(root):
                raise ConfigError(f"{entry} leads outside of {path}: remove that link")


def _first_difference(old: Any, new: Any, name: str = "") -> tuple[str, str, str] | None:
    """(dotted key, old value, new value) where two JSON values first differ; None when equal."""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        old, new = (dict(enumerate(values)) for values in (old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        # what the user chose comes first, then what is in both: it says more than a key that one of them lacks
        order = lambda k: (str(k) not in CHOSEN, k not in old or k not in new, k != "study", k)
        for key in sorted(old.keys() | new.keys(), key=order):
            inner = f"{name}.{key}" if name else str(key)
            if key not in old or key not in new:
                before, after = (json.dumps(v[key]) if key in v else ABSENT for v in (old, new))
                return inner, before, after
            found = _first_difference(old[key], new[key], inner)
            if found:
                return found
        return None
    return None if old == new else (name, json.dumps(old), json.dumps(new))
