"""Files that are never half written: atomic replacement, plain JSON, disk errors in one line.

Of several processes the first writes, and the others wait for it (`processes.worker`).
"""

import contextlib
import errno
import fcntl
import json
import math
import os
import re
import secrets
import shutil
import time
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from jbg.interfaces import ConfigError, RunError
from jbg.processes.worker import by_writer, is_writer, writer_only

TEMPORARY_SUFFIX = ".partial"
LOCK = ".lock"
_TEMPORARY = re.compile(rf"\.\d+-[0-9a-f]{{8}}\{TEMPORARY_SUFFIX}")  # names that `temporary` makes
WORD = re.compile(r"[\w.+-]+")  # of which names of files in a folder are made
BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    ArithmeticError,
    AttributeError,  # np.load gives a bare array, without `files`, for an .npy named .npz
    EOFError,
    LookupError,
    RuntimeError,  # RecursionError and NotImplementedError are
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,  # of the header of an .npy file, in some versions of Python
)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns an OSError met while writing ``path`` into one line.

    Raises:
        RunError: the disk (or the quota) is full.
        ConfigError: the place cannot be written to.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = f"disk full writing {path}: free space and run the same command again"
            raise RunError(message) from error
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error


def inside(folder: Path, name: str) -> Path:
    """The path of ``name`` in ``folder``: plain words, parted by "/".

    Raises:
        ConfigError: anything else, or a name that a link leads out of the folder with.
    """
    parts = str(name).split("/")
    if not all(WORD.fullmatch(part) and part.strip(".") for part in parts):
        raise ConfigError(
            f"{str(name)[:80]!r} is no name of a file in {folder}: expected letters, digits, '.', '_', '-' "
            "and '+'; choose another name, or another --out"
        )
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"{path} leads outside of {folder}: remove that link")
    return path


_held: dict[tuple[int, str], int] = {}  # process and folder -> how many times over


@contextlib.contextmanager
def only_process(folder: Path, *, wait: float = 0.0) -> Iterator[None]:
    """Holds ``folder`` for this process, as often as it asks; a kill frees it. The first of several processes
    holds it for all.

    ``wait``: seconds to wait for another process that holds it.

    Raises:
        ConfigError: another process holds it.
    """
    if not is_writer():
        yield
        return
    place = os.getpid(), os.path.realpath(folder)
    with contextlib.ExitStack() as stack:
        if not _held.get(place):
            with disk_errors(folder / LOCK):
                file = stack.enter_context((folder / LOCK).open("w"))
            _lock(file, folder, wait)
        _held[place] = _held.get(place, 0) + 1
        try:
            yield
        finally:
            _held[place] -= 1
            if not _held[place]:
                del _held[place]


def _lock(file: IO[str], folder: Path, wait: float) -> None:
    end = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < end:
                time.sleep(0.02)
                continue
            raise ConfigError(
                f"another process is at work in {folder}: wait for it or choose another --out"
            ) from None
        return


def temporary(path: Path) -> Path:
    """A neighbour of ``path`` that no other process or thread writes, of the same suffix."""
    token = f"{os.getpid()}-{secrets.token_hex(4)}"
    return path.with_name(f"{path.name}.{token}{TEMPORARY_SUFFIX}{path.suffix}")


@writer_only
def remove_left_over(folder: Path) -> None:
    """Deletes what killed processes did not finish; whoever calls holds the folder."""
    for path in folder.rglob(f"*{TEMPORARY_SUFFIX}*"):
        if path.is_file() and _TEMPORARY.search(path.name):
            path.unlink(missing_ok=True)


@by_writer
def write_atomic(
    path: Path,
    write: Callable[[BinaryIO], object],
    *,
    before: Callable[[Path], None] = lambda partial: None,
) -> None:
    """Calls ``write(file)`` on a temporary neighbour of ``path``, then puts that in its place.

    A reader, or a process that is killed, sees the old file or the new one, never a part. ``before`` is told the
    finished neighbour before it takes the place.

    Raises:
        RunError: disk full; the old file stays.
        ConfigError: not writable.
    """
    partial = temporary(path)
    with disk_errors(path):
        try:
            with partial.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            before(partial)
            partial.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: arrays to lists, tuples to lists, NaN and infinities to None.

    Raises:
        TypeError: for what JSON has no form for.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if hasattr(value, "tolist"):  # numpy and JAX arrays and scalars
        return plain(np.asarray(value).tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON: {value!r}")


def write_json(path: Path, value: Any, **options: Any) -> None:
    """Writes ``plain(value)``, indented, as `write_atomic`."""
    text = json.dumps(plain(value), indent=2, allow_nan=False) + "\n"
    write_atomic(path, lambda file: file.write(text.encode()), **options)


def read_json(path: Path, repair: str = "choose another --out") -> Any:
    """The value in ``path``; ``repair`` is what to do where there is none.

    Raises:
        ConfigError: missing, unreadable or damaged.
    """
    with readable(path, repair):
        return json.loads(path.read_text(encoding="utf-8"))


def write_arrays(path: Path, arrays: Mapping[str, Any], **options: Any) -> None:
    """Writes named arrays as ``.npz``, as `write_atomic`."""
    host: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    write_atomic(path, lambda file: np.savez(file, **host), **options)


def read_arrays(path: Path, repair: str = "choose another --out") -> dict[str, np.ndarray]:
    """The named arrays in an ``.npz`` file, all read into memory; ``repair`` as for `read_json`.

    Raises:
        ConfigError: missing, unreadable or damaged.
    """
    with readable(path, repair), np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@contextlib.contextmanager
def readable(path: Path, repair: str) -> Iterator[None]:
    """Turns whatever reading ``path`` may raise into one line; ``repair`` is what to do about damage.

    Raises:
        ConfigError: missing, unreadable or damaged.
    """
    try:
        yield
    except ConfigError:
        raise
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file: run the earlier stages first") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    except BROKEN as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise ConfigError(f"{path}: damaged ({reason}): {repair}") from None


def new_array(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """A float32 ``.npy`` file of zeros to write to in place, its space on the disk claimed."""
    try:
        array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        reserve(path)
    except OSError:
        path.unlink(missing_ok=True)  # with what it could claim
        raise
    return array


def require_space(folder: Path, n_bytes: float, smaller: str) -> None:
    """Raises ConfigError if ``n_bytes`` more do not fit on the disk of ``folder``; nothing is claimed.

    ``folder`` need not be there yet. ``smaller``: what the user may do about it.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    if n_bytes > free:
        need, have = (f"{size / 1e9:.3g} GB" for size in (n_bytes, free))
        raise ConfigError(f"{folder} would need {need}, and {have} are free: {smaller}")


def require_memory(what: str, n_bytes: float, smaller: str) -> None:
    """Raises ConfigError if ``what`` needs more memory than there is; ``smaller`` as for `require_space`."""
    free = available_memory()
    if free is not None and n_bytes > free:
        need, have = (f"{size / 1e9:.3g} GB" for size in (n_bytes, free))
        raise ConfigError(f"{what} would need {need} of memory, and {have} are free: {smaller}")


def available_memory() -> int | None:
    """Bytes that this process may still claim, as Linux and its control group say; None elsewhere."""
    known = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        known += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            known.append(int(limit) - int((group / "memory.current").read_text()))
    except (OSError, ValueError, IndexError):
        pass  # no Linux, or no limit of its own
    return max(0, min(known)) if known else None


def reserve(path: Path) -> None:
    """Claims a file's blocks now: a full disk is an error here, not a bus error at the mapped write."""
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
