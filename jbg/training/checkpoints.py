"""Checkpoints of a training run: atomic, the last two kept, restored bit for bit (orbax)."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from jbg.interfaces import ConfigError


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
