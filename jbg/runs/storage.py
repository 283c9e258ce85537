"""Files that are never half written: atomic replacement, plain JSON, disk errors in one line."""

import contextlib
import errno
import fcntl
import json
import math
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jbg.interfaces import ConfigError, RunError

TEMPORARY_SUFFIX = ".partial"
LOCK = ".lock"


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


@contextlib.contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Holds ``folder`` for this process; a kill frees it.

    Raises:
        ConfigError: another process holds it.
    """
    path = folder / LOCK
    with disk_errors(path):
        file = path.open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another process is at work in {folder}: wait for it or choose another --out"
            ) from None
        yield


def write_atomic(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Calls ``write(file)`` on a temporary neighbour of ``path``, then puts that in its place.

    A reader, or a process that is killed, sees the old file or the new one, never a part.

    Raises:
        RunError: disk full; the old file stays.
        ConfigError: not writable.
    """
    partial = path.with_name(path.name + TEMPORARY_SUFFIX)
    with disk_errors(path):
        try:
            with partial.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
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


def write_json(path: Path, value: Any) -> None:
    """Writes ``plain(value)``, indented, atomically."""
    text = json.dumps(plain(value), indent=2, allow_nan=False) + "\n"
    write_atomic(path, lambda file: file.write(text.encode()))


def read_json(path: Path) -> Any:
    """The value in ``path``.

    Raises:
        ConfigError: missing, unreadable or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file: run the earlier stages first") from None
    except ValueError as error:
        raise ConfigError(f"{path}: damaged ({error}): delete it or choose another --out") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes named arrays as ``.npz``, atomically."""
    host = {name: np.asarray(array) for name, array in arrays.items()}
    write_atomic(path, lambda file: np.savez(file, **host))


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The named arrays in an ``.npz`` file, all read into memory.

    Raises:
        ConfigError: missing, unreadable or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file: run the earlier stages first") from None
    except (zipfile.BadZipFile, ValueError, EOFError, KeyError, OSError, AttributeError) as error:
        # AttributeError: np.load gives a bare array, without `files`, for an .npy named .npz
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"{path}: damaged ({reason}): delete it or choose another --out"
        ) from None


def new_array(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """A float32 ``.npy`` file of zeros to write to in place, its space on the disk claimed."""
    try:
        array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        reserve(path)
    except OSError:
        path.unlink(missing_ok=True)  # with what it could claim
        raise
    return array


def require_space(folder: Path, n_bytes: int) -> None:
    """Raises ConfigError if ``n_bytes`` more do not fit on the disk of ``folder``; nothing is claimed."""
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        need, have = (f"{size / 1e9:.3g} GB" for size in (n_bytes, free))
        raise ConfigError(f"{folder} would need {need}, and {have} are free: choose a smaller -n")


def reserve(path: Path) -> None:
    """Claims a file's blocks now: a full disk is an error here, not a bus error at the mapped write."""
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
