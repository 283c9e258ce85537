"""Samples streamed to disk: any number in bounded memory, resumed at the block where they stopped."""

import functools
import shlex
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jbg.generator import Generator
from jbg.interfaces import ConfigError, Key, Params, Target
from jbg.processes.worker import by_writer, meet, writer_only
from jbg.runs import storage
from jbg.training.checkpoints import digest
from jbg.training.mesh import in_turn

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
    """Compiled (params, key) -> (x ``(batch, dim)``, ln q ``(batch,)``, u ``(batch,)``).

    Args:
        generator: of x.
        target: the true density of x; u is its reduced energy, infinite for an invalid sample.
        batch: number of samples per call.
        tau: relative temperature of the base; u is not divided by it.
    """

    def draw(params, key):
        drawn = generator.sample(key, params, batch, tau)
        valid = jnp.isfinite(drawn.log_prob) & jnp.isfinite(drawn.x).all(0)
        # an invalid sample has no weight: its density is kept, its energy is infinite
        u = jnp.where(valid, target.reduced_energy(drawn.x), jnp.inf)
        return drawn.x.T, drawn.log_prob, u

    return jax.jit(draw)


def origin(params: Params, key: Key) -> str:
    """What samples follow from: a digest of the parameters and the key that they are drawn with."""
    return digest([*jax.tree.leaves(params), key])


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
    keeps what is there. The last block is drawn whole and cut. Several devices draw a block each at once.

    Args:
        folder: where the samples are kept.
        draw: from `make_draw`. params: of the generator.
        n: number of samples. dim: of a configuration.
        batch: number of samples in a block, that of ``draw``. key: PRNG key of all blocks.
        on_block: told the number of samples done after each block.

    Raises:
        RunError: disk full.
        ConfigError: the files in the folder are damaged, of another batch size, or drawn with other parameters.
    """
    progress = _read_progress(folder)
    drawn_with = origin(params, key)
    if progress.done:
        _require_origin(folder, progress, drawn_with)
        if progress.batch != batch:
            raise ConfigError(
                f"{folder} holds samples drawn in blocks of {progress.batch}, not {batch}: {_again(folder)}"
            )
    if progress.done >= n:
        return load_samples(folder, n)
    # a block that an earlier call cut is drawn again, whole
    whole = progress.done // batch
    begun = Progress(whole * batch, batch, drawn_with, progress.crc32[:whole])
    files = _Files(folder, n, begun)
    files.open(dim, progress)
    starts = range(begun.done, n, batch)
    keys = (jax.random.fold_in(key, start // batch) for start in starts)
    for start, block in zip(starts, in_turn(draw, params, keys), strict=True):
        files.add(block)
        on_block(min(start + batch, n))
    del files
    meet("samples written")
    return SampleSet(*(array[:n] for array in _map(folder, n)))


def count_samples(folder: Path) -> int:
    """How many samples there are in ``folder``, an interrupted drawing's too."""
    return _read_progress(folder).done


def load_samples(folder: Path, n: int | None = None, *, drawn_with: str | None = None) -> SampleSet:
    """Map the samples in ``folder`` (the first n of them), all blocks of them compared with their checksums.

    ``drawn_with``: their `origin`; None for any.

    Raises:
        ConfigError: when there are none, fewer than n, the files are damaged, or the samples were drawn otherwise.
    """
    progress = _read_progress(folder)
    if not progress.done:
        raise ConfigError(
            f"{folder} holds no samples: run `jbg sample {shlex.quote(str(folder.parents[1]))}` first"
        )
    if drawn_with is not None:
        _require_origin(folder, progress, drawn_with)
    n = progress.done if n is None else n
    if n > progress.done:
        raise ConfigError(f"{folder} holds {progress.done} samples, {n} are asked for: draw more")
    arrays = _map(folder, progress.done)
    _require_sound(folder, arrays, progress)
    return SampleSet(*(array[:n] for array in arrays))


class Progress(NamedTuple):
    """What ``progress.json`` says of a folder: samples done, drawn in blocks of ``batch``, with what
    parameters and key (`origin`), and the CRC-32 of each block, the last of which may be cut."""

    done: int
    batch: int
    origin: str
    crc32: tuple[int, ...]


class _Files:
    """The files of n samples while they are drawn, and what is written so far."""

    def __init__(self, folder: Path, n: int, begun: Progress):
        self.folder, self.n, self.begun = folder, n, begun
        self.arrays, self.sums = [], list(begun.crc32)

    @by_writer
    def open(self, dim: int, before: Progress) -> None:
        self.arrays = _open(self.folder, self.n, dim, before)

    @writer_only
    def add(self, block: Iterable[np.ndarray]) -> None:
        """Writes the next block, and now and then how far that is."""
        start = len(self.sums) * self.begun.batch
        stop = min(start + self.begun.batch, self.n)
        parts = [np.asarray(values, np.float32)[: stop - start] for values in block]
        for array, values in zip(self.arrays, parts, strict=True):
            array[start:stop] = values
        self.sums.append(_checksum(parts))
        if stop == self.n or len(self.sums) % BLOCKS_PER_FLUSH == 0:
            for array in self.arrays:
                array.flush()
            reached = self.begun._replace(done=stop, crc32=tuple(self.sums))
            storage.write_json(self.folder / PROGRESS, reached._asdict())


def _again(folder: Path) -> str:
    run = shlex.quote(str(folder.parents[1]))
    return f"delete that folder and run `jbg sample {run}` to draw them again"


def _require_origin(folder: Path, progress: Progress, drawn_with: str) -> None:
    if progress.origin != drawn_with:
        raise ConfigError(
            f"samples in {folder} were drawn with other parameters than those trained now: {_again(folder)}"
        )


def _checksum(parts: Iterable[np.ndarray]) -> int:
    of = lambda found, part: zlib.crc32(np.ascontiguousarray(part).data, found)
    return functools.reduce(of, parts, 0)


def _require_sound(folder: Path, arrays: list[np.ndarray], progress: Progress) -> None:
    """Compares all blocks with their checksums, one at a time."""
    batch = progress.batch
    for block, start in enumerate(range(0, progress.done, batch)):
        rows = slice(start, min(start + batch, progress.done))
        if _checksum(array[rows] for array in arrays) != progress.crc32[block]:
            raise ConfigError(
                f"samples in {folder} are damaged (checksum of {start} to {rows.stop - 1}): {_again(folder)}"
            )


def _map(folder: Path, n: int) -> list[np.ndarray]:
    """The files in ``folder``, checked to hold at least n samples in float32."""
    try:
        arrays = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in FILES]
    except PermissionError as error:
        raise ConfigError(f"samples in {folder} cannot be read: {error.strerror}") from error
    except (OSError, *storage.BROKEN) as error:
        reason = " ".join(str(error).split())[:120]
        raise ConfigError(
            f"samples in {folder} are damaged ({reason}): {_again(folder)}"
        ) from error
    as_written = all(isinstance(a, np.memmap) and a.dtype == np.float32 for a in arrays)
    if not as_written or [a.ndim for a in arrays] != [2, 1, 1]:
        found = ", ".join(f"{a.dtype}{list(a.shape)}" for a in arrays)
        raise ConfigError(f"samples in {folder} are damaged (they are {found}): {_again(folder)}")
    if min(len(a) for a in arrays) < n:
        raise ConfigError(f"{folder} holds fewer than the {n} samples it lists: {_again(folder)}")
    return arrays


def _read_progress(folder: Path) -> Progress:
    path = folder / PROGRESS
    if not path.exists():
        return Progress(0, 0, "", ())
    found = storage.read_json(path, _again(folder))
    if isinstance(found, dict) and {"done", "batch"} == found.keys():
        raise ConfigError(
            f"{path} is of an earlier version of jbg, which kept no checksums: {_again(folder)}"
        )
    if not isinstance(found, dict) or set(found) != set(Progress._fields):
        raise ConfigError(f"{path} is damaged: {_again(folder)}")
    progress = Progress(**found)
    numbers = (progress.done, progress.batch)
    whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers)
    listed = isinstance(progress.crc32, list) and isinstance(progress.origin, str)
    if not (whole and listed) or len(progress.crc32) != -(-progress.done // max(1, progress.batch)):
        raise ConfigError(f"{path} is damaged: {_again(folder)}")
    return progress._replace(crc32=tuple(progress.crc32))


def _kept(folder: Path, dim: int, progress: Progress) -> list[np.ndarray]:
    """The files so far, sound and of this dimension."""
    arrays = _map(folder, progress.done)
    if arrays[0].shape[1] != dim:
        raise ConfigError(
            f"samples in {folder} are of {arrays[0].shape[1]} coordinates, not {dim}: {_again(folder)}"
        )
    _require_sound(folder, arrays, progress)
    return arrays


def _open(folder: Path, n: int, dim: int, progress: Progress) -> list[np.memmap]:
    """Files of the full length; what is done already is kept, once it is found sound."""
    with storage.disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    done = progress.done
    kept = _kept(folder, dim, progress) if progress.done else [None] * len(FILES)
    shapes = ((n, dim), (n,), (n,))
    if kept[0] is None or kept[0].shape != shapes[0]:
        storage.require_space(folder, 4 * n * (dim + 2), "choose a smaller -n")
    arrays = []
    for name, shape, old in zip(FILES, shapes, kept, strict=True):
        path = folder / f"{name}.npy"
        with storage.disk_errors(path):
            if old is not None and old.shape == shape:
                arrays.append(np.lib.format.open_memmap(path, mode="r+"))
                continue
            fresh = storage.temporary(path)
            new = storage.new_array(fresh, shape)
            if old is not None:
                for start in range(0, done, 65536):
                    new[start : min(start + 65536, done)] = old[start : min(start + 65536, done)]
            new.flush()
            fresh.replace(path)
            arrays.append(new)
    return arrays
