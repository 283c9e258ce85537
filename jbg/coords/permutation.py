"""Identical particles: which labelling of a configuration is nearest to a reference, and relabelling to it.

Relabelling is many-to-one. Of the n! labellings of a configuration, exactly one (but for ties) has
the least sum of squared distances to the reference; the configurations for which that is the
labelling they already have make up the *fundamental cell*. Data may be relabelled into it. Generated
samples may not: the density of a relabelled sample is a sum over all n! of its origins. They are
kept if they lie in the cell and have weight zero if they do not (`reweighting.restrict_log_weights`).

The sum differs between labellings by sum_i x_i . r_p(i) alone, so the cell depends neither on the
scale of the reference nor on where its centre is. Nothing here is differentiated through.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment

from jbg.interfaces import ConfigError

BLOCK = 256  # configurations screened together: their costs fit into a core's cache
SCREEN_ROUNDS = 4  # of the screen; what it leaves open goes to the Hungarian algorithm


def relabel(
    x: ArrayLike, reference: ArrayLike, movable: ArrayLike, *, n_coords: int = 2
) -> np.ndarray:
    """Configurations with their movable particles relabelled to the least squared distance to a reference.

    For data, not for generated samples: see the module's text. The Hungarian algorithm
    (`scipy.optimize.linear_sum_assignment`), for those that are not in the cell already. It solves
    36 particles in 0.01 to 0.1 ms; `optax.assignment` under vmap took 5 to 10 times as long on a CPU.

    Args:
        x: ``(n, dim)``, particle after particle, ``n_coords`` coordinates each.
        reference: ``(dim,)``.
        movable: numbers of the particles that are identical; all others keep their labels.
        n_coords: coordinates of a particle.

    Returns:
        ``(n, dim)``, a copy.

    Raises:
        ConfigError: shapes that do not fit, particles that do not exist or come twice.
    """
    sites, rows = _sites(reference, movable, n_coords)
    x = _checked(x, reference)
    found = x.copy()
    outside = np.flatnonzero(~in_cell(x, reference, movable, n_coords=n_coords))
    for i in outside:
        particles = x[i, rows]
        found[i, rows] = particles[_assignment(particles, sites)]
    return found


def in_cell(
    x: ArrayLike, reference: ArrayLike, movable: ArrayLike, *, n_coords: int = 2
) -> np.ndarray:
    """Whether configurations have the labelling that is nearest to the reference, ``(n,)`` bool.

    Exact: a screen settles most, the Hungarian algorithm the rest. A configuration that is not finite is not in
    the cell.

    Args:
        x, reference, movable, n_coords: as for `relabel`.

    Raises:
        ConfigError: as `relabel`.
    """
    sites, rows = _sites(reference, movable, n_coords)
    x = _checked(x, reference)
    inside = np.zeros(len(x), bool)
    for start in range(0, len(x), BLOCK):
        block = x[start : start + BLOCK]
        padded = np.concatenate([block, np.zeros((BLOCK - len(block), x.shape[1]), x.dtype)])
        found, is_open = _screen(padded[:, rows].transpose(1, 2, 0), sites, SCREEN_ROUNDS)
        found, is_open = (np.array(a[: len(block)]) for a in (found, is_open))
        for i in np.flatnonzero(is_open):
            found[i] = np.array_equal(_assignment(block[i, rows], sites), np.arange(len(sites)))
        inside[start : start + BLOCK] = found
    return inside


def _screen(particles: Array | np.ndarray, sites: np.ndarray, n_rounds: int) -> tuple[Array, Array]:
    """(in the cell, still open) of particles ``(m, n_coords, *batch)``; n_rounds >= m leaves none open.

    The labelling is the nearest one exactly if no cycle of particles gains by each moving to the place of the
    next (cycle cancelling; Ahuja, Magnanti & Orlin, Network Flows, 1993), which Bellman and Ford's relaxation
    decides.

    w_ij = (|x_i - r_j|^2 - |x_i - r_i|^2) / 2 is what particle i costs more at place j than at its
    own. v_j, the least cost of a chain of moves that ends at j, stops to fall if and only if no
    cycle has a negative sum; at once if every particle is nearest to its own place.
    """
    places = jnp.asarray(sites, particles.dtype).reshape(*sites.shape, *(1,) * (particles.ndim - 2))
    cost = 0.5 * ((particles[None] - places[:, None]) ** 2).sum(2)  # (j, i, *batch)
    stay = 0.5 * ((particles - places) ** 2).sum(1)
    itself = jnp.eye(len(sites), dtype=bool).reshape(*2 * (len(sites),), *(1,) * (stay.ndim - 1))
    # exactly zero: differently rounded sums would make a place cheaper than itself
    more = jnp.where(itself, 0.0, cost - stay[None])
    finite = jnp.isfinite(cost).all((0, 1))
    exchange = ~finite | (more + jnp.swapaxes(more, 0, 1) < 0).any((0, 1))

    def cond(carry):
        _, falls, n = carry
        return jnp.any(falls) & (n < n_rounds)

    def body(carry):
        v, _, n = carry
        lower = jnp.minimum(v, (v[None] + more).min(1))
        return lower, (lower < v).any(0) & ~exchange, n + 1

    start = (jnp.zeros_like(stay), ~exchange, 0)
    falls = jax.lax.while_loop(cond, body, start)[1]
    return ~exchange & ~falls, falls


_screen = jax.jit(_screen, static_argnums=2)


def _assignment(particles: np.ndarray, sites: np.ndarray) -> np.ndarray:
    """Which particle each site gets, ``(m,)``."""
    if not np.isfinite(particles).all():
        return np.arange(len(sites))
    return linear_sum_assignment(-sites @ particles.T.astype(np.float64))[1]


def _checked(x: ArrayLike, reference: ArrayLike) -> np.ndarray:
    x = np.asarray(x)
    if x.ndim != 2 or x.shape[1] != np.size(reference):
        raise ConfigError(
            f"permutation: x must be (n, {np.size(reference)}) as the reference is, got {x.shape}"
        )
    return x


def _sites(
    reference: ArrayLike, movable: ArrayLike, n_coords: int
) -> tuple[np.ndarray, np.ndarray]:
    """Places of the movable particles about their centre ``(m, n_coords)``, and their rows in x."""
    reference, movable = np.asarray(reference, np.float64), np.asarray(movable)
    if reference.ndim != 1 or n_coords < 1 or reference.size % n_coords:
        raise ConfigError(
            f"permutation: reference must be (dim,) with dim a multiple of n_coords={n_coords}, "
            f"got {reference.shape}"
        )
    n_particles = reference.size // n_coords
    if (
        movable.ndim != 1
        or movable.size == 0
        or not np.issubdtype(movable.dtype, np.integer)
        or len(np.unique(movable)) != movable.size
        or movable.min() < 0
        or movable.max() >= n_particles
    ):
        raise ConfigError(
            f"permutation: movable must list different particles of 0..{n_particles - 1}, got {movable.tolist()}"
        )
    rows = movable[:, None] * n_coords + np.arange(n_coords)
    sites = reference[rows]
    return sites - sites.mean(0), rows
