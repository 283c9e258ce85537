"""The run folder: resolved config, manifest, metrics, named random keys, files that survive a kill.

A folder holds ``config.json`` (what was asked), ``manifest.json`` (what it was made with, which stages
are done, and digests of the files), ``metrics.jsonl`` (one line per logged step) and what the stages write.
A file that is not as the run wrote it is refused when read. The first of several processes writes.
"""

import contextlib
import dataclasses
import json
import logging
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jbg.interfaces import ConfigError, Key
from jbg.processes.worker import by_writer, writer_only
from jbg.runs import clocks, environment, metrics, records, storage
from jbg.runs.clocks import Spent, timestamp
from jbg.runs.environment import PRNG
from jbg.runs.records import FILES

logger = logging.getLogger(__name__)

CONFIG, MANIFEST, METRICS = "config.json", "manifest.json", "metrics.jsonl"
WRITE_WAIT, STAGE_WAIT = 20.0, 2.0  # seconds for another process to leave the folder


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One run folder and the config it was made with. Build it with ``open_run`` or ``load_run``.

    ``config`` is what ``config.json`` holds: plain JSON values, with an integer ``seed``; ``listeners`` are told
    each record of the metrics.
    """

    path: Path
    config: dict[str, Any]
    listeners: list[Callable[[dict[str, Any]], Any]] = dataclasses.field(
        default_factory=list, repr=False, compare=False
    )
    _clocks: dict[str, Spent] = dataclasses.field(default_factory=dict, repr=False, compare=False)
    _verified: dict[str, tuple] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    @property
    def seed(self) -> int:
        return self.config["seed"]

    def key(self, name: str) -> Key:
        """The PRNG key of the consumer ``name``: fold_in(root(seed), crc32(name)).

        Adding a consumer leaves the keys of all others as they are.
        """
        root = jax.random.key(self.seed, impl=PRNG)
        return jax.random.fold_in(root, np.uint32(zlib.crc32(name.encode())))

    def seed_for(self, name: str) -> int:
        """An integer seed in 1 .. 2^31 - 1 for host generators (OpenMM takes 0 for "draw one")."""
        sequence = np.random.SeedSequence([self.seed, zlib.crc32(name.encode())])
        return int(sequence.generate_state(1)[0] % (2**31 - 1)) + 1

    def file(self, name: str) -> Path:
        """The path of ``name`` inside the folder; makes the folders between.

        Raises:
            ConfigError: a name that is not plain words parted by "/", or that a link leads out of the folder.
        """
        path = storage.inside(self.path, name)
        with storage.disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write_json(self, name: str, value: Any) -> None:
        """Writes ``value`` atomically; arrays become lists, NaN and infinities null."""
        with self._alone():
            storage.write_json(self.file(name), value, before=self._recorder(name))

    def read_json(self, name: str) -> Any:
        """The value in ``name``. Raises ConfigError when it is missing, damaged or changed."""
        return storage.read_json(self.verify(name), self._repair(name))

    def write_text(self, name: str, text: str) -> None:
        """Writes ``text`` atomically."""
        write = lambda file: file.write(text.encode())
        with self._alone():
            storage.write_atomic(self.file(name), write, before=self._recorder(name))

    def save_arrays(self, name: str, /, **arrays: Any) -> None:
        """Writes arrays to the ``.npz`` file ``name``, atomically."""
        with self._alone():
            storage.write_arrays(self.file(name), arrays, before=self._recorder(name))

    def load_arrays(self, name: str) -> dict[str, np.ndarray]:
        """The arrays in ``name``. Raises ConfigError when it is missing, damaged or changed."""
        return storage.read_arrays(self.verify(name), self._repair(name))

    def verify(self, name: str) -> Path:
        """The path of a file that this run wrote, as it wrote it (by its SHA-256 in the manifest).

        Raises:
            ConfigError: missing, changed since, or of another run; the message says which command makes it again.
        """
        path = storage.inside(self.path, name)
        manifest, system = self.manifest(), self.config.get("study")
        if not path.is_file():
            known = name in manifest[FILES]
            what = "missing" if known else "no such file: run the earlier stages first"
            again = f": {self._repair(name)}" if known else ""
            raise ConfigError(f"{path}: {what}{again}")
        with storage.readable(path, "choose another --out"):
            now = path.stat()
            seen = (now.st_ino, now.st_size, now.st_mtime_ns)
            if self._verified.get(name) != seen:
                records.require_same(self.path, name, manifest, system)
                self._verified[name] = seen
        return path

    def holds(self, name: str) -> bool:
        """Whether there is a file ``name``, or was one when the run wrote it."""
        return name in self.manifest()[FILES] or storage.inside(self.path, name).exists()

    @by_writer
    def record(self, name: str) -> None:
        """Takes the file ``name`` as it is now for one that this run wrote, as data brought from elsewhere."""
        with self._alone():
            self._recorder(name)(storage.inside(self.path, name))

    @by_writer
    def remove(self, name: str) -> None:
        """Deletes a file of this run, if it is there, and its record."""
        with self._alone():
            with storage.disk_errors(self.path / name):
                storage.inside(self.path, name).unlink(missing_ok=True)
            self._change(lambda manifest: manifest[FILES].pop(name, None))

    def manifest(self) -> dict[str, Any]:
        """What ``manifest.json`` holds now.

        Raises:
            ConfigError: missing, damaged or changed by hand.
        """
        path = self.path / MANIFEST
        return records.unsealed(storage.read_json(path), path)

    def note(self, **entries: Any) -> None:
        """Merges ``entries`` into the manifest, dictionaries into the dictionaries there."""
        self._change(lambda manifest: records.merge(manifest, storage.plain(entries)))

    @writer_only
    def log_metrics(self, stage: str, step: int, **values: Any) -> None:
        """Appends ``{"stage", "step", ...}`` to ``metrics.jsonl``, without times: resumed runs give the same."""
        record = storage.plain({"stage": stage, "step": step, **values})
        path = self.file(METRICS)
        with storage.disk_errors(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")
        for listener in self.listeners:
            listener(record)

    def metrics(self) -> list[dict[str, Any]]:
        """All records of ``metrics.jsonl``; a line that a kill tore is left out.

        Raises:
            ConfigError: changed since the stage that wrote them was done.
        """
        if METRICS in self.manifest()[FILES]:
            self.verify(METRICS)
        found = (metrics.record(line) for line in metrics.read_lines(self.path / METRICS))
        return [record for record in found if record is not None]

    @by_writer
    def truncate_metrics(self, stage: str, step: int) -> None:
        """Drops the lines of ``stage`` from ``step`` on, and all that follow them.

        Call it when a stage goes on from a checkpoint, with the first step that will be done again.
        """
        with self._alone():
            if METRICS in self.manifest()[FILES]:  # of a stage that is done, and that goes on
                self._change(lambda manifest: manifest[FILES].pop(METRICS))
            kept = metrics.cut(metrics.read_lines(self.path / METRICS), stage, step)
            text = "".join(f"{line}\n" for line in kept)
            storage.write_atomic(self.file(METRICS), lambda file: file.write(text.encode()))

    def stage_done(self, name: str) -> bool:
        """Whether ``mark_done(name)`` was called, by any process, and the files of the stage are still there."""
        manifest = self.manifest()
        done = manifest["stages"].get(name, {}).get("done")
        return bool(done) and not records.missing(self.path, manifest[FILES], name)

    @by_writer
    def mark_done(self, name: str, **info: Any) -> None:
        """Records in the manifest that the stage is done, with what else is to be known of it."""
        with self._alone():
            self.touch()
            done = storage.plain({"stages": {name: {"done": True, **info}}})

            def change(manifest: dict[str, Any]) -> None:
                files = manifest[FILES]
                records.settle(self.path, files, name)
                if METRICS not in files and (self.path / METRICS).is_file():
                    digest = records.digest_of_file(self.path / METRICS)
                    files[METRICS] = records.new_entry(digest, None, None)
                records.merge(manifest, done)

            self._change(change)

    def wall_seconds(self, name: str) -> float | None:
        """Wall time stage ``name`` has taken so far, over interruptions; None if not begun."""
        return self.manifest()["stages"].get(name, {}).get("wall_seconds")

    def spent(self, name: str) -> Spent:
        """What stage ``name`` has spent so far, over interruptions, as `touch` saved it."""
        saved = self.manifest()["stages"].get(name, {})
        return Spent(*(saved.get(kind, 0.0) for kind in Spent._fields))

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Holds the folder, and adds the time spent inside to the stage's, however the block is left.

        Raises:
            ConfigError: another process is at work in the folder, or JAX is set to other numbers than runs have.
        """
        environment.require_single_precision()
        with storage.only_process(self.path, wait=STAGE_WAIT):
            storage.remove_left_over(self.path)
            self._note_environment(name)
            self._clocks[name] = clocks.now()
            try:
                yield
            finally:
                self.touch()
                del self._clocks[name]

    @writer_only
    def touch(self) -> None:
        """Saves the running stages' times, so that a ``kill -9`` loses only what came after."""
        if not self._clocks:
            return
        now = clocks.now()
        spent = {
            name: Spent(*map(sum, zip(self.spent(name), now.since(since), strict=True)))._asdict()
            for name, since in self._clocks.items()
        }
        self.note(stages=spent)
        self._clocks.update(dict.fromkeys(spent, now))

    def _alone(self) -> contextlib.AbstractContextManager[None]:
        return storage.only_process(self.path, wait=WRITE_WAIT)

    @by_writer
    def _change(self, change: Callable[[dict[str, Any]], Any]) -> None:
        with self._alone():
            manifest = self.manifest()
            change(manifest)
            write_manifest(self.path, manifest)

    def _recorder(self, name: str) -> Callable[[Path], None]:
        """What notes the digest of the new file ``name`` before it takes its place."""
        if name in (MANIFEST, CONFIG):
            raise ConfigError(f"{name} is written by the run itself: choose another name")
        stage = next(reversed(self._clocks), None)

        def note(path: Path) -> None:
            digest = records.digest_of_file(path)

            def change(manifest: dict[str, Any]) -> None:
                files = manifest[FILES]
                files[name] = records.new_entry(digest, stage, files.get(name))

            self._change(change)

        return note

    def _repair(self, name: str) -> str:
        return records.repair(self.path, name, self.manifest(), self.config.get("study"))

    @by_writer
    def _note_environment(self, stage: str) -> None:
        """Warns of, and records, other versions or devices than the run was begun or gone on with."""
        manifest, now = self.manifest(), environment.current()
        last = manifest.get("continued") or [manifest]
        changed = environment.changes(last[-1], now)
        if changed:
            logger.warning(
                "%s goes on with another installation or machine, and its numbers may differ: %s",
                self.path,
                ", ".join(changed),
            )
            entry = {"stage": stage, "time": timestamp(), **now}
            self._change(lambda manifest: manifest.setdefault("continued", []).append(entry))


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Seals and writes the manifest of the run ``path``, whose folder is held."""
    storage.write_json(path / MANIFEST, records.sealed({**manifest, "updated": timestamp()}))
