"""Split coupling: one half of the variables conditions the other, and nothing is computed to be masked away.

Variables are ordered [circular | linear]. A layer sees circular variables as (cos, sin) and linear ones as they
are, so a network output is continuous across the cut of an angle.
"""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jbg.flows.conditioners import ConditionerConfig
from jbg.flows.halves import Half
from jbg.flows.transformers import Transformer
from jbg.interfaces import Bijector, ConfigError, Key, Params


class _Rows:
    """The event cut where one of two halves begins or ends.

    Pieces are made by `lax.split` and put together by concatenation, each the other's transpose. A slice's
    would be a pad, and XLA does not vectorise the loops that it fuses a pad into.
    """

    def __init__(self, source: Half, moved: Half, dim: int):
        slices = [s for half in (source, moved) for s in (half.circular, half.linear)]
        cuts = sorted(
            {0, dim, *(end for s in slices if s.stop > s.start for end in (s.start, s.stop))}
        )
        self.sizes = [stop - start for start, stop in itertools.pairwise(cuts)]
        self.source_circular, self.source_linear, self.moved_circular, self.moved_linear = (
            [i for i, start in enumerate(cuts[:-1]) if s.start <= start < s.stop] for s in slices
        )

    def split(self, x: Array) -> list[Array]:
        return list(jax.lax.split(x, self.sizes))

    def features(self, pieces: list[Array]) -> Array:
        """What a network sees: (cos, sin) of angles, linear variables; a constant where there is neither."""
        angles = [pieces[i] for i in self.source_circular]
        linear = [pieces[i] for i in self.source_linear]
        if not angles and not linear:
            return jnp.ones_like(pieces[0][:1])
        return jnp.concatenate([*map(jnp.cos, angles), *map(jnp.sin, angles), *linear])


def _sum_row_by_row(x: Array, n: int) -> Array:
    """x.sum(0) for n rows, row by row: into a reduction XLA fuses the whole transformer, without vectors."""
    del n
    return functools.reduce(jnp.add, x)


_sum_rows = jax.custom_vjp(_sum_row_by_row, nondiff_argnums=(1,))
_sum_rows.defvjp(
    lambda x, n: (_sum_rows(x, n), None),
    lambda n, _, g: (jnp.broadcast_to(g, (n, *g.shape)),),
)


class _Moving(NamedTuple):
    """A piece of the moved half: its place among the pieces, what moves it, and how many numbers that takes."""

    piece: int
    transformer: Transformer
    size: int


class _Layer(NamedTuple):
    """Where things are in one coupling."""

    rows: _Rows
    moving: list[_Moving]
    dim: int

    def params_of(self, raw: Array) -> list[Array]:
        """The network's output as the parameters of each moving piece ``(n_params, n, *batch)``."""
        parts = jax.lax.split(raw, [m.size for m in self.moving])
        return [
            part.reshape((m.transformer.n_params, -1, *raw.shape[1:]))
            for part, m in zip(parts, self.moving, strict=True)
        ]


def coupling(
    source: Half,
    moved: Half,
    *,
    dim: int,
    conditioner: ConditionerConfig,
    circular: Transformer | None,
    linear: Transformer | None,
    order: Array | None = None,
) -> Bijector:
    """Transform ``moved`` with parameters that a network computes from ``source``.

    log-det = sum of the elementwise log-slopes (Durkan et al. 2019, Eq. 3).

    Args:
        source: rows that the network sees.
        moved: rows that change, as many numbers for each as its transformer takes.
        dim: of the event.
        conditioner: makes the network.
        circular: moves circular variables; None where there are none.
        linear: moves linear variables; None where there are none.
        order: ``(dim,)``, the variable in each row, which the conditioner is told; variable i in row i by default.

    Raises:
        ConfigError: ``moved`` has variables of a kind without transformer.
    """
    rows = _Rows(source, moved, dim)
    moving = [
        *_moving("circular", rows.moved_circular, circular, moved.n_circular),
        *_moving("linear", rows.moved_linear, linear, moved.n_linear),
    ]
    order = jnp.arange(dim) if order is None else order
    net = conditioner.make(source, moved, sum(m.size for m in moving), order)
    layer = _Layer(rows, moving, dim)
    keyed = None
    if net.random:
        keyed = lambda key: _bijector(layer, net.init, functools.partial(net.apply, key=key))
    return _bijector(layer, net.init, net.apply, keyed)


def _moving(kind: str, pieces: list[int], transformer: Transformer | None, n: int) -> list[_Moving]:
    """The piece of the moved half with its n variables of one kind; none where it has no such variables."""
    if not pieces:
        return []
    if transformer is None:
        raise ConfigError(
            f"coupling: {n} {kind} variables are moved, expected a transformer for them: pass {kind}"
        )
    return [_Moving(piece, transformer, n * transformer.n_params) for piece in pieces]


def _bijector(
    layer: _Layer,
    init: Callable[[Key], Params],
    apply: Callable[[Params, Array], Array],
    keyed: Callable[[Key], Bijector] | None = None,
) -> Bijector:
    rows, moving = layer.rows, layer.moving

    def run(direction: str):
        def go(params, x):
            pieces = rows.split(x)
            raw = apply(params, rows.features(pieces))
            log_det = jnp.zeros(x.shape[1:], x.dtype)
            for p, (piece, transformer, _) in zip(layer.params_of(raw), moving, strict=True):
                pieces[piece], slopes = getattr(transformer, direction)(p, pieces[piece])
                log_det = log_det + _sum_rows(slopes, len(slopes))
            return jnp.concatenate(pieces), log_det

        return go

    forward = run("forward")

    def forward_score(params, z, score):
        x, log_det = forward(params, z)
        fixed, z, y, score = jax.lax.stop_gradient((params, z, x, score))
        # written as in `forward`, of z, whose source is that of x: the compiler evaluates the network once
        raw, pull_net = jax.vjp(lambda z: apply(fixed, rows.features(rows.split(z))), z)
        by_raw, y, score = [], rows.split(y), rows.split(score)
        for p, (piece, transformer, _) in zip(layer.params_of(raw), moving, strict=True):
            _, pull = jax.vjp(transformer.inverse, p, y[piece])
            by_p, score[piece] = pull((score[piece], jnp.ones_like(score[piece])))
            by_raw.append(by_p.reshape((-1, *raw.shape[1:])))
        return x, log_det, jnp.concatenate(score) + pull_net(jnp.concatenate(by_raw))[0]

    return Bijector(
        dim_in=layer.dim,
        dim_out=layer.dim,
        init=init,
        forward=forward,
        inverse=run("inverse"),
        forward_score=forward_score,
        keyed=keyed,
    )
