"""The run folder: resolved config, manifest, metrics, named random keys, files that survive a kill.

A folder holds ``config.json`` (what was asked), ``manifest.json`` (what it was made with, and which
stages are done), ``metrics.jsonl`` (one line per logged step) and what the stages write.
"""

import contextlib
import dataclasses
import datetime
import json
import logging
import os
import sys
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jbg.interfaces import ConfigError, Key
from jbg.runs import environment, storage

logger = logging.getLogger(__name__)

CONFIG, MANIFEST, METRICS = "config.json", "manifest.json", "metrics.jsonl"
ABSENT = "(absent)"
CHOSEN = ("study", "options", "preset", "seed")  # by the user; the rest follows from them


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One run folder and the config it was made with. Build it with ``open_run`` or ``load_run``.

    ``config`` is what ``config.json`` holds: plain JSON values, with an integer ``seed``.
    """

    path: Path
    config: dict[str, Any]
    _clocks: dict[str, float] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    @property
    def seed(self) -> int:
        return self.config["seed"]

    def key(self, name: str) -> Key:
        """The PRNG key of the consumer ``name``: fold_in(root(seed), crc32(name)).

        Adding a consumer leaves the keys of all others as they are.
        """
        return jax.random.fold_in(jax.random.key(self.seed), np.uint32(zlib.crc32(name.encode())))

    def seed_for(self, name: str) -> int:
        """An integer seed in 1 .. 2^31 - 1 for host generators (OpenMM takes 0 for "draw one")."""
        sequence = np.random.SeedSequence([self.seed, zlib.crc32(name.encode())])
        return int(sequence.generate_state(1)[0] % (2**31 - 1)) + 1

    def file(self, name: str) -> Path:
        """The path of ``name`` inside the folder; makes the folders between."""
        path = self.path / name
        with storage.disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write_json(self, name: str, value: Any) -> None:
        """Writes ``value`` atomically; arrays become lists, NaN and infinities null."""
        storage.write_json(self.file(name), value)

    def read_json(self, name: str) -> Any:
        """The value in ``name``. Raises ConfigError when it is missing or damaged."""
        return storage.read_json(self.path / name)

    def save_arrays(self, name: str, /, **arrays: Any) -> None:
        """Writes arrays to the ``.npz`` file ``name``, atomically."""
        storage.write_arrays(self.file(name), arrays)

    def load_arrays(self, name: str) -> dict[str, np.ndarray]:
        """The arrays in ``name``. Raises ConfigError when it is missing or damaged."""
        return storage.read_arrays(self.path / name)

    def manifest(self) -> dict[str, Any]:
        """What ``manifest.json`` holds now."""
        return self.read_json(MANIFEST)

    def note(self, **entries: Any) -> None:
        """Merges ``entries`` into the manifest, dictionaries into the dictionaries there."""
        manifest = self.manifest()
        _merge(manifest, storage.plain(entries))
        self.write_json(MANIFEST, manifest | {"updated": _now()})

    def log_metrics(self, stage: str, step: int, **values: Any) -> None:
        """Appends ``{"stage", "step", ...}`` to ``metrics.jsonl``.

        Lines hold no times, so that a resumed run's file equals an unbroken one's.
        """
        record = storage.plain({"stage": stage, "step": step, **values})
        path = self.file(METRICS)
        with storage.disk_errors(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """All records of ``metrics.jsonl``; a line that a kill tore is left out."""
        records = (_record(line) for line in self._metric_lines())
        return [record for record in records if record is not None]

    def truncate_metrics(self, stage: str, step: int) -> None:
        """Drops the lines of ``stage`` from ``step`` on, and all that follow them.

        Call it when a stage goes on from a checkpoint, with the first step that will be done again.
        """
        lines = [line for line in self._metric_lines() if _record(line) is not None]
        ours = [i for i, line in enumerate(lines) if _record(line)["stage"] == stage]
        before = [i for i in ours if _record(lines[i])["step"] < step]
        if ours:
            lines = lines[: before[-1] + 1 if before else ours[0]]
        text = "".join(f"{line}\n" for line in lines)
        storage.write_atomic(self.file(METRICS), lambda file: file.write(text.encode()))

    def stage_done(self, name: str) -> bool:
        """Whether ``mark_done(name)`` was called, in this process or an earlier one."""
        return bool(self.manifest()["stages"].get(name, {}).get("done"))

    def mark_done(self, name: str, **info: Any) -> None:
        """Records in the manifest that the stage is done, with what else is to be known of it."""
        self.touch()
        self.note(stages={name: {"done": True, **info}})

    def wall_seconds(self, name: str) -> float | None:
        """Wall time stage ``name`` has taken so far, over interruptions; None if not begun."""
        return self.manifest()["stages"].get(name, {}).get("wall_seconds")

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time spent inside to the stage's wall time, however the block is left.

        Raises:
            ConfigError: another process is at work in the folder.
        """
        with storage.only_process(self.path):
            self._clocks[name] = time.monotonic()
            try:
                yield
            finally:
                self.touch()
                del self._clocks[name]

    def touch(self) -> None:
        """Saves the running stages' wall time, so that a ``kill -9`` loses only what came after."""
        if not self._clocks:
            return
        now, stages = time.monotonic(), self.manifest()["stages"]
        spent = {
            name: {"wall_seconds": stages.get(name, {}).get("wall_seconds", 0.0) + now - since}
            for name, since in self._clocks.items()
        }
        self.note(stages=spent)
        self._clocks.update(dict.fromkeys(spent, now))

    def _metric_lines(self) -> list[str]:
        path = self.path / METRICS
        if not path.exists():
            return []
        return path.read_text(encoding="utf-8", errors="replace").splitlines()


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
    seed = config.get("seed")
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**31:
        raise ConfigError(f"seed must be an integer in 0 .. 2147483647, got {seed}")
    if not (path / CONFIG).exists():
        _require_free(path)
        with storage.disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        storage.write_json(path / CONFIG, config)
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
        ConfigError: not a run folder, or its JSON is damaged.
    """
    path = Path(path)
    if not (path / CONFIG).is_file():
        raise ConfigError(f"{path} is not a run folder (no {CONFIG}): make one with `jbg run`")
    config = storage.read_json(path / CONFIG)
    if not isinstance(config, dict) or not isinstance(config.get("seed"), int):
        raise ConfigError(f"{path / CONFIG}: damaged (no seed): choose another --out")
    run = Run(path=path, config=config)
    if (path / MANIFEST).exists():
        _require_manifest(run)
    else:  # also after a kill between the two files
        run.write_json(MANIFEST, _new_manifest(run.seed))
    return run


def _require_free(path: Path) -> None:
    """``path`` may become a run: it is missing, or a folder with nothing but what a kill left."""
    if path.is_dir():
        others = (p.name for p in path.iterdir() if not p.name.endswith(storage.TEMPORARY_SUFFIX))
        first = next(others, None)
        if first is not None:
            raise ConfigError(
                f"{path} is not empty and not a run (it holds {first}): choose another --out"
            )
    elif path.exists():
        raise ConfigError(f"{path} is a file, not a folder: choose another --out")


def _require_manifest(run: Run) -> None:
    manifest = run.manifest()
    if not isinstance(manifest, dict) or not isinstance(manifest.get("stages"), dict):
        raise ConfigError(f"{run.path / MANIFEST}: damaged (no stages): choose another --out")
    now = environment.versions()
    before = manifest.get("versions", {})
    changed = [
        f"{name} {before.get(name)} -> {now[name]}" for name in now if now[name] != before.get(name)
    ]
    if changed:
        logger.warning("%s was begun with other versions: %s", run.path, ", ".join(changed))


def _new_manifest(seed: int) -> dict[str, Any]:
    return {
        "created": _now(),
        "updated": _now(),
        "command": sys.argv,
        "seed": seed,
        "versions": environment.versions(),
        "device": environment.devices(),
        "source": environment.commit(),
        "stages": {},
    }


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _merge(into: dict[str, Any], entries: Mapping[str, Any]) -> None:
    for name, entry in entries.items():
        if isinstance(entry, dict) and isinstance(into.get(name), dict):
            _merge(into[name], entry)
        else:
            into[name] = entry


def _record(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and {"stage", "step"} <= record.keys() else None


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
                values = (old, new)
                return inner, *(json.dumps(v[key]) if key in v else ABSENT for v in values)
            found = _first_difference(old[key], new[key], inner)
            if found:
                return found
        return None
    return None if old == new else (name, json.dumps(old), json.dumps(new))
