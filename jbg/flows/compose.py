"""Bijectors made of bijectors: chains, permutations, and equal layers run by one scan."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jbg.flows.score import push_score
from jbg.interfaces import Bijector, Key, Params


def chain(*bijectors: Bijector) -> Bijector:
    """Forward applies the first bijector first: chain(flow, coordinates) is the generator's map.

    Raises:
        ValueError: when the dimensions of neighbours do not fit.
    """
    for left, right in zip(bijectors, bijectors[1:], strict=False):
        if left.dim_out != right.dim_in:
            raise ValueError(
                f"chain: a bijector with {left.dim_out} outputs cannot feed one with {right.dim_in} inputs"
            )

    def init(key):
        keys = jax.random.split(key, len(bijectors))
        return tuple(b.init(k) for b, k in zip(bijectors, keys, strict=True))

    def forward(params, z):
        total: Any = 0.0
        for b, p in zip(bijectors, params, strict=True):
            z, log_det = b.forward(p, z)
            total = total + log_det
        return z, total

    def inverse(params, x):
        total: Any = 0.0
        for b, p in zip(reversed(bijectors), reversed(params), strict=True):
            x, log_det = b.inverse(p, x)
            total = total + log_det
        return x, total

    def forward_score(params, z, score):
        total: Any = 0.0
        for b, p in zip(bijectors, params, strict=True):
            z, log_det, score = push_score(b, p, z, score)
            total = total + log_det
        return z, total, score

    def keyed(key):
        keys = jax.random.split(key, len(bijectors))
        return chain(*(with_key(b, k) for b, k in zip(bijectors, keys, strict=True)))

    return Bijector(
        dim_in=bijectors[0].dim_in,
        dim_out=bijectors[-1].dim_out,
        init=init,
        forward=forward,
        inverse=inverse,
        links=bijectors,
        forward_score=forward_score,
        keyed=keyed if any(b.keyed for b in bijectors) else None,
    )


def with_key(bijector: Bijector, key: Key) -> Bijector:
    """The map whose networks draw from ``key`` (dropout); itself where nothing is random."""
    return bijector if bijector.keyed is None else bijector.keyed(key)


@jax.custom_vjp
def take_rows(x: Array, index: Array, inverse_index: Array) -> Array:
    """x[index] for a permutation, whose gradient gathers with the inverse instead of scattering."""
    del inverse_index
    return x[index]


take_rows.defvjp(
    lambda x, index, inverse_index: (x[index], inverse_index),
    lambda inverse_index, g: (g[inverse_index], None, None),
)


def _zeros(x: Array) -> Array:
    """Log-determinants ``(*batch,)`` of a volume-preserving map, in the precision of JAX."""
    return jnp.zeros(x.shape[1:], jnp.result_type(x))


def permute(permutation: np.ndarray) -> Bijector:
    """x = z[permutation]; volume preserving."""
    index = np.asarray(permutation, np.int32)
    back = np.argsort(index).astype(np.int32)

    def forward_score(params, z, score):
        zero = _zeros(z)
        return take_rows(z, index, back), zero, take_rows(score, index, back)

    return Bijector(
        dim_in=len(index),
        dim_out=len(index),
        init=lambda key: (),
        forward=lambda params, z: (take_rows(z, index, back), _zeros(z)),
        inverse=lambda params, x: (take_rows(x, back, index), _zeros(x)),
        forward_score=forward_score,
    )


def repeat(
    layer: Callable[[Array], Bijector],
    constants: np.ndarray,
    *,
    unroll: int = 1,
    rematerialise: bool = False,
) -> Bijector:
    """One copy of ``layer`` for each row of ``constants``, with its own parameters, run by `lax.scan`.

    ``layer(row)`` builds the bijector of one copy; the parameters are stacked on a leading axis, so the time to
    compile does not grow with the number of copies.

    Args:
        layer: row of constants -> bijector.
        constants: one row for each copy.
        unroll: copies per step of the scan.
        rematerialise: compute a copy again for its gradient, and keep its input alone.
    """
    first, n = layer(jnp.asarray(constants[0])), len(constants)

    def rows(x: Array) -> Array:
        floating = np.issubdtype(np.asarray(constants).dtype, np.floating)
        return jnp.asarray(constants, x.dtype if floating else None)

    def init(key):
        return jax.vmap(lambda k, row: layer(row).init(k))(
            jax.random.split(key, n), jnp.asarray(constants)
        )

    keep = partial(jax.checkpoint, prevent_cse=False) if rematerialise else lambda body: body
    return _scanned(layer, first, init, rows, partial(_scan, keep, unroll))


def _scan(keep: Callable, unroll: int, body: Callable, start: Any, xs: Any, **options: Any) -> Any:
    """What is carried at the end; ``keep(body)`` says what its gradient remembers."""
    return jax.lax.scan(keep(body), start, xs, unroll=unroll, **options)[0]


def _scanned(
    layer: Callable[[Any], Bijector],
    first: Bijector,
    init: Callable[[Key], Params],
    rows: Callable[[Array], Any],
    scan: Callable[..., Any],
) -> Bijector:
    """``layer(entry)`` for each entry of ``rows(x)``, one after the other; shapes as of ``first``."""

    def run(direction: str, *, reverse: bool):
        def go(params, x):
            def body(carry, xs):
                x, total = carry
                p, row = xs
                x, log_det = getattr(layer(row), direction)(p, x)
                return (x, total + log_det), None

            x = jnp.asarray(x)  # float64 of NumPy as JAX holds it, without a warning
            start = (x, jnp.zeros(x.shape[1:], x.dtype))
            xs = (params, rows(x))
            return scan(body, start, xs, reverse=reverse)

        return go

    def forward_score(params, z, score):
        def body(carry, xs):
            z, total, score = carry
            p, row = xs
            x, log_det, score = push_score(layer(row), p, z, score)
            return (x, total + log_det, score), None

        z, score = jnp.asarray(z), jnp.asarray(score)
        start = (z, jnp.zeros(z.shape[1:], z.dtype), score)
        return scan(body, start, (params, rows(z)))

    def keyed(key):
        def with_keys(x):
            constants = rows(x)
            return constants, jax.random.split(key, len(constants))

        at = lambda entry: with_key(layer(entry[0]), entry[1])
        return _scanned(at, dataclasses.replace(first, keyed=None), init, with_keys, scan)

    return Bijector(
        dim_in=first.dim_in,
        dim_out=first.dim_out,
        init=init,
        forward=run("forward", reverse=False),
        inverse=run("inverse", reverse=True),
        forward_score=forward_score,
        keyed=first.keyed and keyed,
    )
