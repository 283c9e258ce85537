"""Checkpoints of a training run: atomic, the last two kept, restored bit for bit (orbax).

Parameters alone, without the optimiser, can also be kept as named arrays (`named_arrays`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from jbg.interfaces import ConfigError, Params


class Checkpoints:
    """Training states under one folder, numbered by the steps done in all stages together."""

    def __init__(self, path: Path, *, keep: int = 2):
        self.path = Path(path).absolute()
        self._manager = ocp.CheckpointManager(
            self.path, options=ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        )

    def save(self, step: int, tree: Any) -> None:
        """Write ``tree`` (arrays and typed keys) for good before returning."""
        plain = jax.tree.map(_to_plain, tree)
        self._manager.save(step, args=ocp.args.StandardSave(plain), force=True)
        self._manager.wait_until_finished()

    def latest(self) -> int | None:
        return self._manager.latest_step()

    def restore(self, like: Any, step: int | None = None) -> Any:
        """The tree of ``step`` (default: the latest) with the structure, shapes and types of ``like``.

        Raises:
            ConfigError: when the checkpoint is damaged or belongs to another network.
        """
        step = self.latest() if step is None else step
        where = self.path / str(step)
        plain = jax.tree.map(_to_plain, like)
        try:
            restored = self._manager.restore(step, args=ocp.args.StandardRestore(plain))
            jax.tree.map(_require_shape, restored, plain)  # orbax gives what is on disk
        except (ValueError, KeyError, OSError, TypeError) as error:
            reason = (
                str(error).strip().splitlines()[0][:200] if str(error).strip() else "unreadable"
            )
            raise ConfigError(
                f"checkpoint {where} is damaged or of another network ({reason}): "
                f"delete that folder to go on from an earlier one, or choose another --out"
            ) from error
        return jax.tree.map(_from_plain, restored, like)

    def close(self) -> None:
        self._manager.close()


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
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_plain(leaf: Any) -> Any:
    return np.asarray(jax.random.key_data(leaf)) if _is_key(leaf) else np.asarray(leaf)


def _require_shape(found: Any, like: Any) -> None:
    if np.shape(found) != np.shape(like):
        raise ValueError(f"an array of shape {np.shape(found)} where {np.shape(like)} belongs")


def _from_plain(value: Any, like: Any) -> Any:
    if _is_key(like):
        return jax.random.wrap_key_data(jax.numpy.asarray(value))
    return jax.numpy.asarray(value, dtype=like.dtype)
