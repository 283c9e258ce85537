"""What may happen to a file of a run folder: bytes lost or flipped, JSON of other types, other numbers."""

import io
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

JSON_OF_OTHER_TYPES = ("[]", "3", "null", "{}", '"x"', "[" * 100_000)


def bytes_attacks(rng: random.Random) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """What may happen to any file."""

    def flip(path: Path) -> None:
        whole = bytearray(path.read_bytes())
        if whole:
            whole[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(whole)

    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    yield "missing", lambda path: path.unlink()
    yield "empty", lambda path: path.write_bytes(b"")
    yield "cut in half", cut
    yield "one bit", flip
    yield "another bit", flip
    yield "garbage", lambda path: path.write_bytes(rng.randbytes(1000))


def json_attacks(content: Any) -> Iterator[tuple[str, str]]:
    """Other types, and another value for each setting."""
    for text in JSON_OF_OTHER_TYPES:
        yield f"JSON {text[:4]}", text
    if not isinstance(content, dict):
        return
    for name, value in content.items():
        for other in _others(value):
            yield f"{name} = {json.dumps(other)[:30]}", json.dumps(content | {name: other})


def _others(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1, -500, 1e30, "x"]
    if isinstance(value, list):
        return [[], value[:-1], "../../../x"] if value else ["x"]
    if isinstance(value, dict):
        inner = next(iter(value), None)
        changed = [] if inner is None else [value | {inner: _others(value[inner])[0]}]
        return [{}, "x", *changed]
    return ["../../../x", 3]


def array_attacks(path: Path) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Files that numpy reads, with other numbers in them."""
    if path.suffix == ".npz":
        arrays = dict(np.load(path, allow_pickle=False))

        def put(**changed: Any) -> Callable[[Path], None]:
            return lambda to: np.savez(to, **(arrays | changed))

        yield "npy named npz", lambda to: to.write_bytes(_npy(np.zeros(3)))
        yield "no arrays", lambda to: np.savez(to)
        yield "array named out", put(**{"profile_../../../../x/y_centers": np.zeros(3)})
        for name, array in arrays.items():
            if array.dtype.kind == "f" and array.ndim:
                yield f"{name} of NaN", put(**{name: np.full_like(array, np.nan)})
                yield f"{name} of none", put(**{name: array[:0]})
                yield f"{name} + 0.1", put(**{name: array + 0.1})
    elif path.suffix == ".npy":
        array = np.load(path)
        for how, other in (
            ("float64", array.astype(float)),
            ("int", array.astype(int)),
            ("zeros", np.zeros_like(array)),
            ("short", array[:-1]),
            ("+ 0.1", array + np.float32(0.1)),
            ("pickle", np.array([os.system], dtype=object)),
        ):
            yield how, lambda to, other=other: to.write_bytes(_npy(other))


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def swap(name: str, other: Path) -> Callable[[Path], None]:
    """Puts a folder of another run in the place of its own."""

    def attack(path: Path) -> None:
        shutil.rmtree(path / name)
        shutil.copytree(other / name, path / name)

    return attack


def link_out(path: Path) -> None:
    """Moves a file out of the folder and leaves a link to it."""
    outside = Path(*path.parts[: path.parts.index("attacked")]) / "planted"
    path.rename(outside)
    path.symlink_to(outside)
