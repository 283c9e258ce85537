"""Monte-Carlo moves that give one torsion, or two about neighbouring bonds, new values at once.

A torsional barrier is crossed by dynamics once in nanoseconds; here phi and psi of a residue are proposed
together, from where known conformations have them, whatever lies between. The proposal is a kernel density of
known values on the circles with a uniform floor, r = (1 - e) mean_k N(theta; theta_k, h) + e / (2 pi)^d, and does
not depend on where the chain is. The moves are made in the coordinates v of a map x = T(v), in which the other
coordinates stay and stiff ones follow as T says; so the rule of Hastings (1970, doi:10.1093/biomet/57.1.97) reads

    ln a = -u(x') + ln|det T'(v')| - ln r(theta') + u(x) - ln|det T'(v)| + ln r(theta).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jbg.interfaces import Bijector, ConfigError, Key

WIDTH = 0.2  # h, radians
FLOOR = 0.1  # e, so that every value is proposed
MOST = 512  # known conformations that the density is made of


class TorsionMoves(NamedTuple):
    """What is moved, and where to.

    Attributes:
        coords: x = T(v), without parameters.
        pairs: rows of v ``(n, 2)`` that are on the circle [-pi, pi) and move together; twice the same for one that
            moves alone.
        known: v of conformations that values come from ``(n_known, dim)``.
    """

    coords: Bijector
    pairs: np.ndarray
    known: np.ndarray


# (key, x (dim, n), u (n,)) -> x, u and the accepted share of each chain (n,)
Turn = Callable[[Key, Array, Array], tuple[Array, Array, Array]]


class _Place(NamedTuple):
    x: Array
    u: Array
    v: Array
    log_det: Array  # ln|det T'(v)|


def make_turn(moves: TorsionMoves, energy: Callable[[Array], Array], n_tries: int) -> Turn:
    """A function that tries ``n_tries`` moves of each chain, of pairs at random and the same for all chains.

    Args:
        moves: what is moved, and where to.
        energy: reduced, ``(dim, n)`` -> ``(n,)``; where it or ln|det T'| is not finite nothing moves to.
        n_tries: moves, one after another.

    Raises:
        ConfigError: no pairs, or nothing known.
    """
    if not len(moves.pairs) or not len(moves.known):
        raise ConfigError("torsion moves: there is no torsion to move, or no known conformation")
    pairs, coords = np.asarray(moves.pairs, np.int32), moves.coords
    known = _spread(moves.known, MOST)
    centres = jnp.asarray(np.stack([known[:, pair].T for pair in pairs]))  # (pairs, 2, known)
    two = jnp.asarray(pairs[:, 0] != pairs[:, 1])
    pairs = jnp.asarray(pairs)

    def turn(key, x, u):
        v, log_det = coords.inverse((), x)  # ln|det dv/dx|
        start = _Place(x, u, v, -log_det), jnp.zeros_like(u)

        def try_one(i, carry):
            place, accepted = carry
            key_pair, key_new, key_accept = jax.random.split(jax.random.fold_in(key, i), 3)
            k = jax.random.randint(key_pair, (), 0, len(pairs))
            rows, at, both = pairs[k], centres[k], two[k]
            theta = _proposed(key_new, at, both, u.shape[0])
            moved = place.v.at[rows].set(theta)
            x_new, log_det = coords.forward((), moved)
            new = _Place(x_new, energy(x_new), moved, log_det)
            change = new.u - new.log_det - place.u + place.log_det
            change += _log_density(theta, at, both) - _log_density(place.v[rows], at, both)
            # NaN compares false and is refused
            accept = change < jax.random.exponential(key_accept, change.shape, change.dtype)
            accept &= jnp.isfinite(new.u)
            place = _Place(*(jnp.where(accept, a, b) for a, b in zip(new, place, strict=True)))
            return place, accepted + accept

        place, accepted = jax.lax.fori_loop(0, n_tries, try_one, start)
        return place.x, place.u, accepted / n_tries

    return turn


def _spread(rows: np.ndarray, most: int) -> np.ndarray:
    """``most`` of the rows at most, evenly."""
    return np.asarray(rows, np.float32)[np.arange(min(most, len(rows))) * len(rows) // most]


def _wrap(angle: Array) -> Array:
    return angle - 2 * jnp.pi * jnp.floor((angle + jnp.pi) / (2 * jnp.pi))


def _proposed(key: Key, centres: Array, both: Array, n: int) -> Array:
    """n draws ``(2, n)`` from the density; twice the same where one torsion moves alone."""
    key_row, key_noise, key_floor, key_uniform = jax.random.split(key, 4)
    row = jax.random.randint(key_row, (n,), 0, centres.shape[1])
    near = _wrap(centres[:, row] + WIDTH * jax.random.normal(key_noise, (2, n)))
    anywhere = jax.random.uniform(key_uniform, (2, n), minval=-jnp.pi, maxval=jnp.pi)
    theta = jnp.where(jax.random.bernoulli(key_floor, FLOOR, (n,)), anywhere, near)
    return jnp.where(both, theta, theta[:1])


def _log_density(theta: Array, centres: Array, both: Array) -> Array:
    """ln r of ``(2, n)``, ``(n,)``; the second counts where both move.

    The normal distribution about the nearest image of a centre alone: at a width of 0.2 the others are below
    1e-50 of it.
    """
    apart = _wrap(theta[:, None] - centres[:, :, None]) / WIDTH  # (2, known, n)
    count = jnp.where(both, 2.0, 1.0)
    squares = apart[0] ** 2 + jnp.where(both, apart[1] ** 2, 0.0)
    log_kernel = -0.5 * squares - count * jnp.log(WIDTH * jnp.sqrt(2 * jnp.pi))
    near = jax.nn.logsumexp(log_kernel, axis=0) - jnp.log(centres.shape[1])
    floor = jnp.log(FLOOR) - count * jnp.log(2 * jnp.pi)
    return jnp.logaddexp(jnp.log1p(-FLOOR) + near, floor)
