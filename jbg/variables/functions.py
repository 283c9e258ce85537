"""Functions of the user: of an mdtraj trajectory or of positions, from Python or from FILE.py:NAME."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jbg.interfaces import ConfigError, Topology
from jbg.variables.selections import mdtraj_topology

CHUNK = 20_000  # configurations measured at once
Takes = Literal["trajectory", "positions"]


def over_batch(
    of: Callable[[np.ndarray], np.ndarray], n_atoms: int, dtype: Any
) -> Callable[[Any], np.ndarray]:
    """A function of flat x ``(3 atoms, *batch)`` from one of positions ``(n, atoms, 3)``, in pieces of CHUNK."""

    def of_flat(x: Any) -> np.ndarray:
        x = np.asarray(x)
        batch = x.shape[1:]
        flat = x.reshape(len(x), -1)
        parts = [
            np.asarray(of(np.array(flat[:, i : i + CHUNK].T).reshape(-1, n_atoms, 3)), dtype)
            for i in range(0, flat.shape[1], CHUNK)
        ]
        return np.concatenate([np.zeros(0, dtype), *parts]).reshape(batch)

    return of_flat


def of_positions(
    function: Callable[[Any], Any], topology: Topology, takes: Takes, whose: str
) -> Callable[[np.ndarray], np.ndarray]:
    """A function of positions ``(n, atoms, 3)`` in nm from one of the user's, whose answer is checked.

    Args:
        function: of what ``takes`` says, one value (or row) for each frame.
        topology: of the molecule.
        takes: "trajectory" (an ``mdtraj.Trajectory``) or "positions".
        whose: the beginning of every error.
    """
    if takes not in ("trajectory", "positions"):
        raise ConfigError(f"{whose}: takes must be trajectory or positions, got {takes!r}")
    if not callable(function):
        raise ConfigError(f"{whose}: expected a text or a function, got {type(function).__name__}")
    frames_of = _trajectories(topology) if takes == "trajectory" else lambda x: x

    def of(x: np.ndarray) -> np.ndarray:
        try:
            found = np.asarray(function(frames_of(x)))
        except Exception as error:
            line = " ".join(str(error).split())[:200]
            raise ConfigError(
                f"{whose}: the function failed: {type(error).__name__}: {line}"
            ) from error
        if found.shape[:1] != (len(x),):
            raise ConfigError(
                f"{whose}: expected one value for each of {len(x)} frames, got shape {found.shape}"
            )
        return found

    return of


def numbers_of(of: Callable[[np.ndarray], np.ndarray], whose: str) -> Callable:
    """The same function with its answer ``(n,)`` or ``(n, 1)`` as ``(n,)`` numbers.

    Raises:
        ConfigError: when called, an answer that is not one number a frame.
    """

    def one(x: np.ndarray) -> np.ndarray:
        found = of(x)
        if found.shape not in ((len(x),), (len(x), 1)) or found.dtype.kind not in "fiub":
            got = f"{found.dtype} of shape {found.shape}"
            raise ConfigError(
                f"{whose}: expected one number for each of {len(x)} frames, got {got}"
            )
        return found.reshape(len(x))

    return one


def frame_values(
    function: Callable[[Any], Any], topology: Topology, *, takes: Takes, whose: str
) -> Callable[[Any], np.ndarray]:
    """A function of frames ``(n, 3 atoms)`` -> values ``(n, k)`` from the user's, called in pieces of CHUNK.

    Args:
        function: -> ``(n,)`` or ``(n, k)``, numbers or bool.
        topology: of the molecule.
        takes: "trajectory" or "positions".
        whose: the beginning of every error.
    """
    of = of_positions(function, topology, takes, whose)

    def values(x: Any) -> np.ndarray:
        parts = []
        for i in range(0, len(x), CHUNK):
            found = of(np.array(x[i : i + CHUNK]).reshape(-1, topology.n_atoms, 3))
            if found.ndim > 2 or found.dtype.kind not in "fiub":
                raise ConfigError(
                    f"{whose}: expected numbers (n,) or (n, k), got {found.dtype} of shape {found.shape}"
                )
            parts.append(found.reshape(len(found), -1).astype(np.float64))
        return np.concatenate(parts)

    return values


def _trajectories(topology: Topology) -> Callable[[np.ndarray], Any]:
    import mdtraj

    made = mdtraj_topology(topology)
    return lambda x: mdtraj.Trajectory(np.asarray(x, np.float32), made)


def load_function(text: str, folder: Path | None = None) -> Callable[[Any], Any]:
    """The function of ``FILE.py:NAME``; the file is executed.

    Raises:
        ConfigError: no such file or function, or a file that fails.
    """
    file, _, name = text.rpartition(":")
    path = (folder or Path()) / file
    if not file.endswith(".py") or not name.isidentifier():
        raise ConfigError(f"expected FILE.py:FUNCTION, such as mine.py:distance, got {text!r}")
    if not path.is_file():
        raise ConfigError(f"no file {path}")
    spec = importlib.util.spec_from_file_location(f"jbg_user_{path.stem}", path.resolve())
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        line = " ".join(str(error).split())[:200]
        raise ConfigError(f"{path} failed: {type(error).__name__}: {line}") from error
    found = getattr(module, name, None)
    if not callable(found):
        names = [n for n, value in vars(module).items() if callable(value) and n[0] != "_"]
        raise ConfigError(f"{path} has no function {name}: it has {', '.join(names) or 'none'}")
    return found
