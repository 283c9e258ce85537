"""Whether the frames of a run are of its target (`analysis.target_test`), in the coordinates fitted to them."""

import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jbg.analysis.target_test import target_test
from jbg.coords import CoordinateFit, coordinates_from_fit
from jbg.coords.molecular import MolecularCoordinates
from jbg.interfaces import Topology
from jbg.runs import Run
from jbg.studies.dataset import Dataset
from jbg.studies.molecule.files import TARGET_TEST

MOST = 20_000  # frames that are looked at
BATCH = 1000
OTHER_TARGET = "the frames are of another force field or temperature"


def check_target(
    topology: Topology,
    fit: CoordinateFit,
    reduced_energy: Callable[[jax.Array], jax.Array],
    data: Dataset,
    temperature: float,
) -> dict[str, Any]:
    """What frames in the domain of the coordinates say of their temperature and forces (`target_test`).

    Args:
        topology: of the molecule.
        fit: of the coordinates.
        reduced_energy: of x ``(dim, n)``, kT.
        data: the frames.
        temperature: of the target, K.
    """
    coords = coordinates_from_fit(topology, fit)
    rows = np.arange(0, len(data.x), -(-len(data.x) // MOST))
    rows = rows[coords.in_domain(data.x[rows].reshape(len(rows), -1, 3))]
    v, force = coordinates_and_forces(coords, reduced_energy, data.x[rows])
    good = np.isfinite(force).all(axis=1)
    found = target_test(
        v[good],
        force[good],
        data.chain[rows][good],
        data.weight[rows][good],
        n_circular=coords.n_circular,
        labels=coords.labels,
        temperature=temperature,
    )
    return found | {"frames_looked_at": int(good.sum())}


def mismatch(run: Run) -> str:
    """Why no estimate may take the frames of a run for those of its target; empty where nothing speaks against
    it."""
    if not run.holds(TARGET_TEST):
        return ""
    found = json.loads(str(run.load_arrays(TARGET_TEST)["about"]))
    return OTHER_TARGET if found["reasons"] else ""


def coordinates_and_forces(
    coords: MolecularCoordinates,
    reduced_energy: Callable[[jax.Array], jax.Array],
    x: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The coordinates v of frames ``(n, dim)`` and the slope of ln p along each, ``(n, dim_v)``."""

    def log_p(v):
        positions, log_det = coords.bijector.forward((), v)
        return jnp.sum(log_det - reduced_energy(positions))

    def both(x):
        v, _ = coords.bijector.inverse((), x)
        return v, jax.grad(log_p)(v)

    compiled, parts = jax.jit(both), []
    for i in range(0, len(x), BATCH):
        piece = np.resize(x[i : i + BATCH], (BATCH, x.shape[1])).astype(np.float32)
        parts.append(jax.device_get(compiled(jnp.asarray(piece.T))))
    v, force = (np.concatenate([p[k].T for p in parts])[: len(x)] for k in (0, 1))
    return v.astype(np.float64), force.astype(np.float64)
