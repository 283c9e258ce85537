"""Whether chains on the slice have mixed: R-hat of every torsion, those that are locked, and energies."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jbg.analysis.equilibration import split_r_hat
from jbg.coords import ReducedCoordinates
from jbg.coords.whitening import whitening

LOCKED = np.pi / 3  # an arc that no chain leaves
LIMIT = 1.05
MOST_NAMED = 12


def mixing(
    coords: ReducedCoordinates, v: np.ndarray, u: np.ndarray, walkers: np.ndarray | None = None
) -> dict[str, Any]:
    """R-hat of cos and sin of each kept torsion, and of angles and the energy, over chains.

    A torsion is locked where every chain keeps it within an arc of 60 degrees and yet not all chains within the
    same one: then no chain says how much each of its values weighs, and R-hat is large.

    Args:
        coords: of the v.
        v: ``(chains, frames, d)``.
        u: reduced energies ``(chains, frames)``.
        walkers: which replica of its ladder each frame is of ``(chains, frames)``.

    Returns:
        ``r_hat`` the largest of torsions that are not locked, with its name; ``r_hat_walkers`` the same over
        replicas, of which few frames make it larger; ``slow`` those above 1.05, ``locked``, ``r_hat_energy``.
    """
    n_chains, n, d = v.shape
    flat, _ = whitening(coords.fit.whitening).forward((), jnp.asarray(v.reshape(-1, d).T))
    values = np.asarray(flat).reshape(d, n_chains, n)
    start = 2 * coords.fit.zmatrix.n_atoms - 3
    turns = np.asarray(coords.fit.kept) >= start
    found, locked, of_walkers = {}, [], {}
    for name, value, turning in zip(coords.labels, values, turns, strict=True):
        waves = (np.cos(value), np.sin(value)) if turning else (value,)
        if turning and _locked(value):
            locked.append(name)
            continue
        found[name] = max(split_r_hat(wave) for wave in waves)
        if walkers is not None:
            of_walkers[name] = max(split_r_hat(wave, walkers) for wave in waves)
    worst = max(found, key=lambda name: found[name])
    slow = sorted((name for name in found if found[name] > LIMIT), key=lambda name: -found[name])
    return {
        "r_hat": found[worst],
        "r_hat_of": worst,
        "r_hat_walkers": max(of_walkers.values(), default=None),
        "r_hat_energy": split_r_hat(u),
        "slow": {name: found[name] for name in slow[:MOST_NAMED]},
        "n_slow": len(slow),
        "locked": locked,
        "chains": n_chains,
        "frames": n,
    }


def _locked(angle: np.ndarray) -> bool:
    """Whether each chain ``(chains, frames)`` stays within 60 degrees, and all of them together do not."""
    centre = np.angle(np.exp(1j * angle).mean(1, keepdims=True))
    off = np.abs(np.angle(np.exp(1j * (angle - centre)))).max(1)
    middle = np.angle(np.exp(1j * angle).mean())
    spread = np.abs(np.angle(np.exp(1j * (angle - middle)))).max()
    return bool((off < LOCKED / 2).all() and spread > LOCKED / 2)
