"""Monte-Carlo moves that give a few torsions new values at once, such as phi and psi of a residue or of two.

A torsional barrier is crossed by dynamics once in nanoseconds; here phi and psi of a residue are proposed
together, from where known conformations have them, whatever lies between, or those of two neighbouring residues,
each by itself. The proposal is a kernel density of known values on the circles with a uniform floor,
r = (1 - e) mean_k N(theta; theta_k, h) + e / (2 pi)^d, and does not depend on where the chain is. The moves are
made in the coordinates v of a map x = T(v), in which the others stay and stiff ones follow as T says; so
the rule of Hastings (1970, doi:10.1093/biomet/57.1.97) reads

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
        links: which pairs ``(m, 2)`` move at once as well, and have no row in common.
        known: v of conformations that values come from ``(n_known, dim)``.
    """

    coords: Bijector
    pairs: np.ndarray
    links: np.ndarray
    known: np.ndarray


# (key, x (dim, n), u (n,)) -> x, u and the accepted share of each chain (n,)
Turn = Callable[[Key, Array, Array], tuple[Array, Array, Array]]


class _Place(NamedTuple):
    x: Array
    u: Array
    v: Array
    log_det: Array  # ln|det T'(v)|


class _Kind(NamedTuple):
    """Two pairs that move at once, or twice the same: rows of v ``(2, 2)``, known values of them ``(2, 2,
    n_known)``, whether each pair has two rows ``(2,)``, and whether the pairs are two; of all kinds stacked."""

    rows: Array
    centres: Array
    two: Array
    linked: Array


def _kinds(moves: TorsionMoves) -> _Kind:
    pairs, n = np.asarray(moves.pairs, np.int32), len(moves.pairs)
    alone = np.stack([np.arange(n)] * 2, 1)
    links = np.concatenate([alone, np.asarray(moves.links, int).reshape(-1, 2)])
    n_known = min(MOST, len(moves.known))
    known = np.asarray(moves.known, np.float32)[np.arange(n_known) * len(moves.known) // n_known]
    rows = pairs[links]
    centres = known.T[rows]
    two = pairs[:, 0] != pairs[:, 1]
    return _Kind(*map(jnp.asarray, (rows, centres, two[links], links[:, 0] != links[:, 1])))


def make_turn(moves: TorsionMoves, energy: Callable[[Array], Array], n_tries: int) -> Turn:
    """A function that tries ``n_tries`` moves of each chain, of pairs or links at random, the same for all chains.

    Args:
        moves: what is moved, and where to.
        energy: reduced, ``(dim, n)`` -> ``(n,)``; where it or ln|det T'| is not finite nothing moves to.
        n_tries: moves, one after another.

    Raises:
        ConfigError: no pairs, or nothing known.
    """
    if not len(moves.pairs) or not len(moves.known):
        raise ConfigError("torsion moves: there is no torsion to move, or no known conformation")
    coords, kinds = moves.coords, _kinds(moves)

    def turn(key, x, u):
        v, log_det = coords.inverse((), x)  # ln|det dv/dx|
        start = _Place(x, u, v, -log_det), jnp.zeros_like(u)

        def try_one(i, carry):
            place, accepted = carry
            key_kind, key_new, key_accept = jax.random.split(jax.random.fold_in(key, i), 3)
            kind = jax.tree.map(lambda a: a[jax.random.randint(key_kind, (), 0, len(a))], kinds)
            theta = _proposed(key_new, kind, u.shape[0])
            moved = place.v.at[kind.rows.ravel()].set(theta.reshape(4, -1))
            x_new, log_det = coords.forward((), moved)
            new = _Place(x_new, energy(x_new), moved, log_det)
            change = new.u - new.log_det - place.u + place.log_det
            change += _log_density(theta, kind) - _log_density(place.v[kind.rows], kind)
            # NaN compares false and is refused
            accept = change < jax.random.exponential(key_accept, change.shape, change.dtype)
            accept &= jnp.isfinite(new.u)
            place = _Place(*(jnp.where(accept, a, b) for a, b in zip(new, place, strict=True)))
            return place, accepted + accept

        place, accepted = jax.lax.fori_loop(0, n_tries, try_one, start)
        return place.x, place.u, accepted / n_tries

    return turn


def _wrap(angle: Array) -> Array:
    return angle - 2 * jnp.pi * jnp.floor((angle + jnp.pi) / (2 * jnp.pi))


def _proposed(key: Key, kind: _Kind, n: int) -> Array:
    """n draws ``(2, 2, n)`` from the density, the same twice where rows are the same."""
    key_row, key_noise, key_floor, key_uniform = jax.random.split(key, 4)
    row = jax.random.randint(key_row, (2, n), 0, kind.centres.shape[-1])
    centre = jnp.take_along_axis(kind.centres, row[:, None], axis=-1)
    near = _wrap(centre + WIDTH * jax.random.normal(key_noise, (2, 2, n)))
    anywhere = jax.random.uniform(key_uniform, (2, 2, n), minval=-jnp.pi, maxval=jnp.pi)
    theta = jnp.where(jax.random.bernoulli(key_floor, FLOOR, (2, 1, n)), anywhere, near)
    theta = jnp.where(kind.two[:, None, None], theta, theta[:, :1])
    return jnp.where(kind.linked, theta, theta[:1])


def _log_density(theta: Array, kind: _Kind) -> Array:
    """ln r of ``(2, 2, n)``, ``(n,)``, each row that moves counted once.

    The normal distribution about the nearest image of a centre alone: at a width of 0.2 the others are below
    1e-50 of it.
    """
    apart = _wrap(theta[:, :, None] - kind.centres[..., None]) / WIDTH  # (pairs, 2, known, n)
    two = kind.two[:, None]
    squares = apart[:, 0] ** 2 + jnp.where(two[..., None], apart[:, 1] ** 2, 0.0)
    count = jnp.where(two, 2.0, 1.0)
    log_norm = count * jnp.log(WIDTH * jnp.sqrt(2 * jnp.pi)) + jnp.log(kind.centres.shape[-1])
    near = jax.nn.logsumexp(-0.5 * squares, axis=1) - log_norm
    floor = jnp.log(FLOOR) - count * jnp.log(2 * jnp.pi)
    of_pairs = jnp.logaddexp(jnp.log1p(-FLOOR) + near, floor)
    return of_pairs[0] + jnp.where(kind.linked, of_pairs[1], 0.0)
