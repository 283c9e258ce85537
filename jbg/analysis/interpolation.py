"""Paths that are straight in latent space (Noe et al. 2019, Figs. 2 F, L, 3 C, F).

No path found here is a transition path, and no highest energy along it a barrier: it is a bound from above on the
barrier, for the points of the path that were looked at.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from jbg.generator import Generator
from jbg.interfaces import ConfigError, Params, Target

CHUNK = 4096  # points that are mapped at a time


class LatentPaths(NamedTuple):
    """Straight lines in z between pairs of configurations (host arrays).

    ``pairs (n_pairs, 2)`` rows of A and of B; ``highest (n_pairs,)`` energy along each path in kT, inf where a
    point has none; ``best`` the pair whose highest energy is lowest, with its ``path (n_points, dim)`` and
    ``u (n_points,)``. ``all_u (n_pairs, n_points)`` only where it was asked for.
    """

    pairs: np.ndarray
    highest: np.ndarray
    best: int
    path: np.ndarray
    u: np.ndarray
    all_u: np.ndarray | None = None


def latent_paths(
    generator: Generator,
    params: Params,
    target: Target,
    a: ArrayLike,
    b: ArrayLike,
    *,
    n_points: int = 50,
    keep_all: bool = False,
) -> LatentPaths:
    """Paths x(t) = F((1 - t) F^-1(a) + t F^-1(b)) for all pairs of a and b, with their energies.

    Args:
        generator, params: the flow; the same generator object compiles once.
        target: u along the paths, the true one.
        a, b: configurations of two states, ``(n_a, dim)`` and ``(n_b, dim)``; ten of each make the 100 pairs
            of the paper.
        n_points: of t, even on [0, 1], both ends included.
        keep_all: return the energies of all paths too, n_a n_b n_points numbers.

    Returns:
        `LatentPaths`, pairs in the order (0, 0), (0, 1) ... Memory grows with CHUNK and with n_a n_b, not with
        n_a n_b n_points.

    Raises:
        ConfigError: configurations of the wrong shape, fewer than two points, or ends without a latent image.
    """
    if n_points < 2:
        raise ConfigError(f"latent paths: n_points must be at least 2, got {n_points}")
    z_a, z_b = (_latent(generator, params, x, target.dim) for x in (a, b))
    pairs = np.stack(np.divmod(np.arange(len(z_a) * len(z_b)), len(z_b)), axis=1)
    t = jnp.linspace(0.0, 1.0, n_points)
    per_chunk = min(len(pairs), max(1, CHUNK // n_points))
    highest, kept = [], []
    for first in range(0, len(pairs), per_chunk):
        # a short last chunk is filled up with pairs done before: one shape, compiled once
        rows = np.minimum(np.arange(first, first + per_chunk), len(pairs) - 1)
        i, j = pairs[rows].T
        u = _along(params, z_a[i].T, z_b[j].T, t, generator=generator, target=target)[1]
        u = np.asarray(u, np.float64)[:, : len(pairs) - first]
        highest.append(u.max(axis=0))
        kept += [u.T] if keep_all else []
    highest = np.concatenate(highest)
    best = int(np.argmin(highest))
    i, j = pairs[best]
    x, u = _along(params, z_a[i][:, None], z_b[j][:, None], t, generator=generator, target=target)
    all_u = np.concatenate(kept) if keep_all else None
    return LatentPaths(pairs, highest, best, np.asarray(x[..., 0]).T, np.asarray(u[:, 0]), all_u)


def _latent(generator: Generator, params: Params, x: ArrayLike, dim: int) -> np.ndarray:
    """z ``(n, dim_z)`` of configurations ``(n, dim)``."""
    x = np.asarray(x, jnp.result_type(float))
    if x.ndim != 2 or x.shape[1] != dim or not len(x):
        raise ConfigError(
            f"latent space: configurations must be (n, {dim}) with n >= 1, got {x.shape}"
        )
    z = np.concatenate(
        [
            np.asarray(_inverse(params, x[first : first + CHUNK].T, generator=generator)).T
            for first in range(0, len(x), CHUNK)
        ]
    )
    lost = np.sum(~np.isfinite(z).all(axis=1))
    if lost:
        raise ConfigError(
            f"latent space: {lost} of {len(x)} configurations have no latent image; leave them out"
        )
    return z


@functools.partial(jax.jit, static_argnames=("generator",))
def _inverse(params: Params, x: Array, *, generator: Generator) -> Array:
    return generator.bijector.inverse(params, x)[0]


@functools.partial(jax.jit, static_argnames=("generator", "target"))
def _along(
    params: Params, z_a: Array, z_b: Array, t: Array, *, generator: Generator, target: Target
) -> tuple[Array, Array]:
    """x ``(dim, n_points, n_pairs)`` and u ``(n_points, n_pairs)``; u is inf where it or x is not finite."""
    t = t[None, :, None]
    x, _ = generator.bijector.forward(params, (1 - t) * z_a[:, None] + t * z_b[:, None])
    u = target.reduced_energy(x)
    return x, jnp.where(jnp.isfinite(u) & jnp.isfinite(x).all(0), u, jnp.inf)
