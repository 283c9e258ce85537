"""Checkpoints of a training run: atomic, the last two kept, restored bit for bit (orbax).

The first of several processes writes them; each reads by itself.

Parameters alone, without the optimiser, can also be kept as named arrays (`named_arrays`).
"""

import errno
import hashlib
import json
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from jbg.interfaces import ConfigError, Params, RunError
from jbg.processes.worker import is_writer, writer_only
from jbg.runs import storage

GO_ON = "delete that folder to go on from an earlier one, or choose another --out"


class Checkpoints:
    """Training states under one folder, numbered by the steps done in all stages together.

    Each holds digests of its own content and of what it is of, so that damage and foreign states are told apart.
    """

    def __init__(self, path: Path, *, keep: int = 2):
        self.path = Path(path).absolute()
        with storage.disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(self.path, options=_options(keep))

    @writer_only
    def save(self, step: int, tree: Any, *, about: Mapping[str, str] | None = None) -> None:
        """Write ``tree`` (arrays and typed keys) for good before returning.

        Args:
            step: its number. tree: what `restore` gives back.
            about: digests by name of what it is of, as those of `loop.identity`.

        Raises:
            RunError: disk full, or the place cannot be written to; earlier checkpoints stay.
        """
        names, leaves = _flat(tree)
        header = {
            "names": names,
            "step": step,
            "about": dict(about or {}),
            "sha256": _digest(leaves),
        }
        held = {f"{i:05d}": leaf for i, leaf in enumerate(leaves)}
        held["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
        try:
            self._manager.save(step, args=ocp.args.StandardSave(held), force=True)
            self._manager.wait_until_finished()
        except Exception as error:  # orbax and its storage raise what they like
            raise RunError(
                f"checkpoint {self.path / str(step)}: {_why_not_written(error)}"
            ) from error

    def latest(self) -> int | None:
        return self._manager.latest_step()

    def restore(
        self, like: Any, step: int | None = None, *, about: Mapping[str, str] | None = None
    ) -> Any:
        """The tree of ``step`` (default: the latest) with the structure, shapes and types of ``like``.

        Args:
            like: a tree of the kind that was saved.
            step: number of the checkpoint.
            about: what it has to be of; None for anything.

        Raises:
            ConfigError: no such checkpoint, a damaged one, or one of another network, of something else than
                ``about``, or of another kind of numbers.
        """
        there = sorted(self._manager.all_steps())
        step = self.latest() if step is None else step
        if step not in there:
            raise ConfigError(
                f"{self.path} has no checkpoint of step {step} (there: {', '.join(map(str, there)) or 'none'}): "
                f"run `jbg train {shlex.quote(str(self.path.parent))}` to go on to it"
            )
        where = self.path / str(step)
        header, leaves = self._read(step, where)
        if header["step"] != step:
            raise ConfigError(f"checkpoint {where} is that of step {header['step']}: rename it")
        for name, digest in (about or {}).items():
            if header["about"].get(name) != digest:
                raise ConfigError(
                    f"checkpoint {where} is of a training with {name}: choose another folder, or delete "
                    f"{self.path} to train anew"
                )
        _require_like(like, header["names"], leaves, where)
        tree = jax.tree.structure(like)
        return jax.tree.map(_from_plain, jax.tree.unflatten(tree, leaves), like)

    def _read(self, step: int, where: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
        try:
            held = dict(self._manager.restore(step, args=ocp.args.StandardRestore()))
        except MemoryError:
            raise
        except Exception as error:  # whatever orbax finds wrong with it
            system = _system_error(error)
            if system is not None:
                raise ConfigError(
                    f"checkpoint {where} cannot be read: {system.strerror}"
                ) from error
            raise ConfigError(
                f"checkpoint {where} is damaged ({_one_line(error)}): {GO_ON}"
            ) from error
        if "header" not in held:
            raise ConfigError(
                f"checkpoint {where} is of an earlier version of jbg: go on with that, or choose another --out"
            )
        try:
            header = json.loads(np.asarray(held.pop("header")).tobytes())
            leaves = [np.asarray(held[name]) for name in sorted(held)]
            whole = header["sha256"] == _digest(leaves) and len(header["names"]) == len(leaves)
        except (ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            raise ConfigError(f"checkpoint {where} is damaged (checksum): {GO_ON}")
        return header, leaves

    def close(self) -> None:
        self._manager.close()


def _options(keep: int) -> ocp.CheckpointManagerOptions:
    """Of a manager that knows of no other process: several would wait for each other at each step."""
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process-{me}"
    )
    if not is_writer():
        return ocp.CheckpointManagerOptions(
            read_only=True,
            create=False,
            save_interval_steps=0,
            cleanup_tmp_directories=False,
            multiprocessing_options=alone,
        )
    return ocp.CheckpointManagerOptions(
        max_to_keep=keep, create=False, multiprocessing_options=alone
    )


def _flat(tree: Any) -> tuple[list[str], list[np.ndarray]]:
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [jax.tree_util.keystr(path) for path, _ in paths], [_to_plain(leaf) for _, leaf in paths]


def digest(arrays: Iterable[Any]) -> str:
    """SHA-256 of the bytes, shapes and types of arrays (typed keys too), in order."""
    return _digest([_to_plain(array) for array in arrays])


def _digest(leaves: Iterable[np.ndarray]) -> str:
    found = hashlib.sha256()
    for leaf in leaves:
        found.update(f"{leaf.dtype} {leaf.shape};".encode())
        found.update(np.ascontiguousarray(leaf).data if leaf.size else b"")
    return found.hexdigest()


def _require_like(like: Any, names: list[str], leaves: list[np.ndarray], where: Path) -> None:
    """Raises ConfigError where a sound checkpoint does not fit ``like``; it says in what."""
    wanted, belong = _flat(like)
    if names != wanted:
        odd = next(iter(sorted(set(names) ^ set(wanted))), "their order")
        raise ConfigError(
            f"checkpoint {where} is of another network or optimiser (first difference: {odd}): "
            "use the config it came from, or choose another --out"
        )
    for name, found, fits, leaf in zip(names, leaves, belong, jax.tree.leaves(like), strict=True):
        if found.shape == fits.shape and found.dtype == fits.dtype:
            continue
        what = "another network: use the config it came from, or choose another --out"
        if _is_key(leaf):
            what = "another kind of random numbers: unset JAX_DEFAULT_PRNG_IMPL"
        elif found.shape == fits.shape:
            what = "numbers of another width: unset JAX_ENABLE_X64"
        raise ConfigError(
            f"checkpoint {where} holds {name} as {found.dtype}{list(found.shape)}, where "
            f"{fits.dtype}{list(fits.shape)} belongs; it is sound, but of {what}"
        )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _system_error(error: BaseException) -> OSError | None:
    """What the operating system refused, such as too many open files; None where it refused nothing."""
    for cause in _chain(error):
        missing = isinstance(cause, FileNotFoundError | NotADirectoryError | IsADirectoryError)
        if isinstance(cause, OSError) and cause.errno and not missing:
            return cause
    text = str(error)
    for code in (errno.EACCES, errno.EMFILE, errno.ENFILE, errno.EIO):
        if os.strerror(code) in text:
            return OSError(code, os.strerror(code))
    return None


def _why_not_written(error: BaseException) -> str:
    text = " ".join(str(cause) for cause in _chain(error))
    full = (errno.ENOSPC, errno.EDQUOT)
    by_number = any(isinstance(e, OSError) and e.errno in full for e in _chain(error))
    if by_number or any(os.strerror(code) in text for code in full):
        return "disk full: free space and run the same command again"
    return f"cannot be written ({_one_line(error)})"


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def named_arrays(params: Params) -> dict[str, np.ndarray]:
    """The leaves of a tree by their paths, for an ``.npz`` file."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def from_named_arrays(like: Params, arrays: Mapping[str, np.ndarray]) -> Params:
    """The tree that `named_arrays` was given, with the structure, shapes and types of ``like``.

    Raises:
        ConfigError: names or shapes are of another network.
    """
    leaves, tree = jax.tree_util.tree_flatten_with_path(like)
    wanted = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
    wrong = sorted(wanted.keys() ^ arrays.keys()) or [
        name for name, leaf in wanted.items() if np.shape(arrays[name]) != np.shape(leaf)
    ]
    if wrong:
        raise ConfigError(
            f"parameters are of another network (first difference: {wrong[0]}): use the config they came from"
        )
    found = [jax.numpy.asarray(arrays[name], dtype=leaf.dtype) for name, leaf in wanted.items()]
    return jax.tree_util.tree_unflatten(tree, found)


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_plain(leaf: Any) -> Any:
    return np.asarray(jax.random.key_data(leaf)) if _is_key(leaf) else np.asarray(leaf)


def _from_plain(value: Any, like: Any) -> Any:
    if _is_key(like):
        return jax.random.wrap_key_data(jax.numpy.asarray(value), impl=jax.random.key_impl(like))
    return jax.numpy.asarray(value, dtype=like.dtype)
