"""Files of an annealing: each is written whole, and says what it follows from."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jbg.interfaces import ConfigError, Key, Params
from jbg.runs import storage
from jbg.sampling.annealing_program import Annealer
from jbg.training.checkpoints import digest

Arrays = dict[str, np.ndarray]


def origin_of(key: Key, params: Params, annealer: Annealer, arrays: list[Any]) -> str:
    """What a file follows from: a digest of all that its bits depend on, but the number of particles.

    Args:
        key: PRNG key of all blocks.
        params: of the flow.
        annealer: from `make_annealer`; its settings and reference energy count.
        arrays: what else counts, such as time steps and frames.
    """
    settings = dataclasses.asdict(annealer.settings)
    settings.pop("n_particles")
    numbers = np.array([*settings.values(), annealer.reference], np.float64)
    return digest([*jax.tree.leaves(params), key, numbers, *arrays])


def kept(
    folder: Path | None, name: str, origin: str, make: Callable[[], Mapping[str, Any]]
) -> Arrays:
    """The arrays of ``name`` in ``folder``, made first where they are not there.

    Args:
        folder: held by this process meanwhile; None to keep nothing.
        name: of the file, without its suffix.
        origin: from `origin_of`, kept in the file.
        make: gives the arrays.

    Raises:
        ConfigError: the file is damaged, or of another origin; another process holds the folder.
        RunError: disk full.
    """
    if folder is None:
        return dict(make())
    path = Path(folder) / f"{name}.npz"
    again = f"delete {folder} to anneal anew"
    with storage.disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with storage.only_process(path.parent):
        if not path.exists():
            made = {key: np.asarray(value) for key, value in make().items()}
            storage.write_arrays(path, {**made, "origin": np.array(origin)})
            return made
        found = storage.read_arrays(path, again)
    if str(found.pop("origin", "")) != origin:
        raise ConfigError(
            f"{path} was made with other parameters, settings, steps, frames or another key: {again}"
        )
    return found
