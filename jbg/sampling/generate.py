"""Samples streamed to disk: any number in bounded memory, resumed at the block where they stopped."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jbg.generator import Generator
from jbg.interfaces import ConfigError, Key, Params, Target
from jbg.runs import storage

PROGRESS = "progress.json"
SAMPLES = "samples"  # of all ensembles of a run
FILES = ("positions", "log_q", "reduced_energy")
BLOCKS_PER_FLUSH = 16


class Ensemble(NamedTuple):
    """What samples are of: a relative temperature tau, and a member where a run has several generators."""

    tau: float = 1.0
    member: str = ""

    @property
    def folder(self) -> str:
        """Where its samples are in a run folder."""
        short = f"{self.tau:g}"
        tau = f"tau-{short if float(short) == self.tau else repr(self.tau)}"
        return f"{SAMPLES}/{self.member}-{tau}" if self.member else f"{SAMPLES}/{tau}"

    @property
    def stream(self) -> str:
        """The name of the PRNG key that its samples are drawn with."""
        parts = ["sample", *([self.member] if self.member else [])]
        return "-".join(parts if self.tau == 1.0 else [*parts, f"tau-{self.tau:g}"])


class SampleSet(NamedTuple):
    """Generated samples on disk (memory-mapped): positions ``(n, dim)``, ln q and u, ``(n,)`` each."""

    positions: np.ndarray
    log_q: np.ndarray
    reduced_energy: np.ndarray


def make_draw(generator: Generator, target: Target, batch: int, tau: float = 1.0) -> Callable:
    """Compiled (params, key) -> (x ``(batch, dim)``, ln q, u of the true target), the base at temperature tau."""

    def draw(params, key):
        drawn = generator.sample(key, params, batch, tau)
        valid = jnp.isfinite(drawn.log_prob) & jnp.isfinite(drawn.x).all(0)
        # an invalid sample has no weight: its density is kept, its energy is infinite
        u = jnp.where(valid, target.reduced_energy(drawn.x), jnp.inf)
        return drawn.x.T, drawn.log_prob, u

    return jax.jit(draw)


def generate(
    folder: Path,
    draw: Callable,
    params: Params,
    *,
    n: int,
    dim: int,
    batch: int,
    key: Key,
    on_block: Callable[[int], None] = lambda done: None,
) -> SampleSet:
    """Draw n samples block by block into ``folder``; goes on where an earlier call stopped.

    Block i uses fold_in(key, i), so the result does not depend on interruptions, and asking for more later
    keeps what is there. The last block is drawn whole and cut.

    Args:
        draw: from `make_draw`. on_block: told the number of samples done after each block.

    Raises:
        RunError: disk full.
        ConfigError: the files in the folder are damaged or of another batch size.
    """
    done = _samples_done(folder, batch)
    if done >= n:
        return load_samples(folder, n)
    done -= done % batch  # a block that an earlier call cut is drawn again, whole
    arrays = _open(folder, n, dim, done)
    for start in range(done, n, batch):
        stop = min(start + batch, n)
        block = draw(params, jax.random.fold_in(key, start // batch))
        for array, values in zip(arrays, block, strict=True):
            array[start:stop] = np.asarray(values)[: stop - start]
        last = stop == n
        if last or (start // batch) % BLOCKS_PER_FLUSH == BLOCKS_PER_FLUSH - 1:
            for array in arrays:
                array.flush()
            storage.write_json(folder / PROGRESS, {"done": stop, "batch": batch})
        on_block(stop)
    del arrays
    return load_samples(folder, n)


def count_samples(folder: Path) -> int:
    """How many samples there are in ``folder``, an interrupted drawing's too."""
    return _read_progress(folder)[0]


def load_samples(folder: Path, n: int | None = None) -> SampleSet:
    """Map the samples in ``folder`` (the first n of them).

    Raises:
        ConfigError: when there are none, fewer than n, or the files are damaged.
    """
    done, _ = _read_progress(folder)
    if not done:
        raise ConfigError(f"{folder} holds no samples: run `jbg sample` first")
    n = done if n is None else n
    return SampleSet(*(array[:n] for array in _map(folder, n)))


def _map(folder: Path, n: int) -> list[np.ndarray]:
    """The files in ``folder``, checked to hold n samples."""
    try:
        arrays = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in FILES]
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError(
            f"samples in {folder} are damaged ({error}): delete that folder"
        ) from error
    if [a.ndim for a in arrays] != [2, 1, 1] or min(len(a) for a in arrays) < n:
        raise ConfigError(f"{folder} holds fewer than the {n} samples it lists: delete that folder")
    return arrays


def _read_progress(folder: Path) -> tuple[int, int | None]:
    """Number of samples done, and the batch they were drawn in."""
    path = folder / PROGRESS
    if not path.exists():
        return 0, None
    try:
        progress = json.loads(path.read_text())
        return int(progress["done"]), int(progress["batch"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is damaged: delete the folder {folder}") from error


def _samples_done(folder: Path, batch: int) -> int:
    done, drawn_in = _read_progress(folder)
    if done and drawn_in != batch:
        raise ConfigError(
            f"{folder} holds samples drawn in blocks of {drawn_in}, not {batch}: delete that folder"
        )
    return done


def _open(folder: Path, n: int, dim: int, done: int) -> list[np.memmap]:
    """Files of the full length; what is done already is kept."""
    with storage.disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    kept = _map(folder, done) if done else [None] * len(FILES)
    shapes = ((n, dim), (n,), (n,))
    if kept[0] is None or kept[0].shape != shapes[0]:
        storage.require_space(folder, 4 * n * (dim + 2))
    arrays = []
    for name, shape, old in zip(FILES, shapes, kept, strict=True):
        path = folder / f"{name}.npy"
        with storage.disk_errors(path):
            if old is not None and old.shape == shape:
                arrays.append(np.lib.format.open_memmap(path, mode="r+"))
                continue
            fresh = path.with_suffix(storage.TEMPORARY_SUFFIX)
            new = storage.new_array(fresh, shape)
            for start in range(0, done, 65536):
                new[start : min(start + 65536, done)] = old[start : min(start + 65536, done)]
            new.flush()
            fresh.replace(path)
            arrays.append(new)
    return arrays
