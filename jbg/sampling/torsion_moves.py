"""Monte-Carlo moves that give a few torsions new values at once, such as phi and psi of a residue or of two.

A torsional barrier is crossed by dynamics once in nanoseconds; here phi and psi of a residue are proposed
together, from where known conformations have them, whatever lies between, or those of two neighbouring residues,
drawn independently. The proposal r is a smoothed histogram of known values on the circles, constant in cells of 5
degrees, with a uniform floor, and does not depend on where the chain is. The moves are made in the coordinates v
of a map x = T(v), in which the others stay and stiff ones follow as T says; so the rule of Hastings (1970,
doi:10.1093/biomet/57.1.97) reads

    ln a = -u(x') + ln|det T'(v')| - ln r(theta') + u(x) - ln|det T'(v)| + ln r(theta).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jbg.interfaces import Bijector, ConfigError, Key

WIDTH = 0.2  # of the smoothing, radians
FLOOR = 0.1  # share of the uniform distribution, so that every value is proposed
CELLS = 72  # around a circle
WIDE = 2 * np.pi / CELLS


class TorsionMoves(NamedTuple):
    """What is moved, and where to.

    Attributes:
        coords: x = T(v), without parameters.
        pairs: rows of v ``(n, 2)`` that are on the circle [-pi, pi) and move together; twice the same for one that
            moves alone.
        links: which pairs ``(m, 2)`` move at once as well, and have no row in common.
        known: v of conformations that values come from ``(n_known, rows)``, all rows that ``pairs`` name or more.
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


class _Tables(NamedTuple):
    """Of each pair its rows of v ``(n, 2)``, the mass of the first row's cells up to each ``(n, CELLS)``, that of
    the second's given the first's ``(n, CELLS, CELLS)``, ln r in each, and whether it has two rows ``(n,)``."""

    rows: Array
    first: Array
    second: Array
    log_r: Array
    two: Array


def _tables(moves: TorsionMoves) -> _Tables:
    pairs, known = np.asarray(moves.pairs, np.int32), np.asarray(moves.known).T
    two = pairs[:, 0] != pairs[:, 1]
    mass = np.stack(
        [_masses(known[pair[: 1 + both]]) for pair, both in zip(pairs, two, strict=True)]
    )
    of_first = mass.sum(2, keepdims=True)
    log_r = np.where(
        two[:, None, None], np.log(mass) - 2 * np.log(WIDE), np.log(of_first) - np.log(WIDE)
    )
    single = lambda table: jnp.asarray(table, jnp.float32)
    return _Tables(
        rows=jnp.asarray(pairs),
        first=single(of_first[..., 0].cumsum(1)),
        second=single((mass / of_first).cumsum(2)),
        log_r=single(log_r),
        two=jnp.asarray(two),
    )


def _at_once(moves: TorsionMoves) -> np.ndarray:
    """Which two pairs move at once ``(m, 2)``, twice the same for one."""
    alone = np.stack([np.arange(len(moves.pairs))] * 2, 1)
    return np.concatenate([alone, np.asarray(moves.links, int).reshape(-1, 2)])


def _masses(known: np.ndarray) -> np.ndarray:
    """Of the cells ``(CELLS, CELLS)``: a histogram of values ``(1 or 2, n)``, smoothed on the circles, and the
    floor; uniform in the second torsion where there is none."""
    d, known = len(known), (known + np.pi) % (2 * np.pi) - np.pi
    counts, _ = np.histogramdd(known.T, CELLS, [(-np.pi, np.pi)] * d)
    kernel = np.exp(-0.5 * (WIDTH * np.fft.fftfreq(CELLS, 1 / CELLS)) ** 2)  # a wrapped normal's
    for axis in range(d):
        shape = np.where(np.arange(d) == axis, CELLS, 1)
        spectrum = np.fft.fft(counts, axis=axis) * kernel.reshape(shape)
        counts = np.fft.ifft(spectrum, axis=axis).real
    counts = np.maximum(counts, 0.0)
    share = (1 - FLOOR) * counts / counts.sum() + FLOOR / counts.size
    return share if d == 2 else np.repeat(share[:, None] / CELLS, CELLS, axis=1)


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
    coords, tables, at_once = moves.coords, _tables(moves), jnp.asarray(_at_once(moves))

    def turn(key, x, u):
        v, log_det = coords.inverse((), x)  # ln|det dv/dx|
        start = _Place(x, u, v, -log_det), jnp.zeros_like(u)

        def try_one(i, carry):
            place, accepted = carry
            key_kind, key_new, key_accept = jax.random.split(jax.random.fold_in(key, i), 3)
            both = at_once[jax.random.randint(key_kind, (), 0, len(at_once))]
            kind = jax.tree.map(lambda table: table[both], tables)
            linked = both[0] != both[1]
            theta = _proposed(key_new, kind, linked, u.shape[0])
            moved = place.v.at[kind.rows.ravel()].set(theta.reshape(4, -1))
            x_new, log_det = coords.forward((), moved)
            new = _Place(x_new, energy(x_new), moved, log_det)
            change = new.u - new.log_det - place.u + place.log_det
            change += _log_density(theta, kind, linked)
            change -= _log_density(place.v[kind.rows], kind, linked)
            # NaN compares false and is refused
            accept = change < jax.random.exponential(key_accept, change.shape, change.dtype)
            accept &= jnp.isfinite(new.u)
            place = _Place(*(jnp.where(accept, a, b) for a, b in zip(new, place, strict=True)))
            return place, accepted + accept

        place, accepted = jax.lax.fori_loop(0, n_tries, try_one, start)
        return place.x, place.u, accepted / n_tries

    return turn


def _proposed(key: Key, kind: _Tables, linked: Array, n: int) -> Array:
    """n draws ``(2, 2, n)`` from the density of two pairs, the same twice where rows are the same."""
    key_cell, key_inside = jax.random.split(key)
    u = jax.random.uniform(key_cell, (2, 2, n))
    first = jax.vmap(jnp.searchsorted)(kind.first, u[0]).clip(0, CELLS - 1)
    given = jnp.take_along_axis(kind.second, first[..., None], axis=1)  # (2, n, CELLS)
    second = (given < u[1][..., None]).sum(-1).clip(0, CELLS - 1)
    cell = jnp.stack([first, second], axis=1)
    theta = WIDE * (cell + jax.random.uniform(key_inside, (2, 2, n))) - jnp.pi
    theta = jnp.where(kind.two[:, None, None], theta, theta[:, :1])
    return jnp.where(linked, theta, theta[:1])


def _log_density(theta: Array, kind: _Tables, linked: Array) -> Array:
    """ln r of ``(2, 2, n)``, ``(n,)``, each row that moves counted once: of both pairs where ``linked``."""
    cell = jnp.floor((theta + jnp.pi) / WIDE).astype(jnp.int32).clip(0, CELLS - 1)
    tables = kind.log_r.reshape(2, CELLS**2)
    of_pairs = jnp.take_along_axis(tables, CELLS * cell[:, 0] + cell[:, 1], axis=1)
    return of_pairs[0] + jnp.where(linked, of_pairs[1], 0.0)
