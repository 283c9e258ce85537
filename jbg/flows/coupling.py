"""Split coupling: one half of the variables conditions the other, and nothing is computed to be masked away.

Variables are ordered [circular | linear]. A layer sees circular variables as (cos, sin) and linear ones as they
are, so a network output is continuous across the cut of an angle.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from jbg.flows.conditioners import Conditioner
from jbg.flows.transformers import Transformer
from jbg.interfaces import Bijector


@dataclasses.dataclass(frozen=True, kw_only=True)
class Half:
    """Rows of the event that move together: slices of its circular and of its linear variables."""

    circular: slice
    linear: slice

    @property
    def n_circular(self) -> int:
        return self.circular.stop - self.circular.start

    @property
    def n_linear(self) -> int:
        return self.linear.stop - self.linear.start

    @property
    def n_features(self) -> int:
        return max(2 * self.n_circular + self.n_linear, 1)


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
        return jax.lax.split(x, self.sizes)

    def features(self, pieces: list[Array]) -> Array:
        """What a network sees: (cos, sin) of angles, linear variables; a constant where there is neither."""
        angles = [pieces[i] for i in self.source_circular]
        linear = [pieces[i] for i in self.source_linear]
        if not angles and not linear:
            return jnp.ones_like(pieces[0][:1])
        return jnp.concatenate([*map(jnp.cos, angles), *map(jnp.sin, angles), *linear])


def _split(start: int, n: int) -> tuple[slice, slice]:
    middle = start + (n + 1) // 2
    return slice(start, middle), slice(middle, start + n)


def circular_halves(n_circular: int) -> tuple[Half, Half]:
    """Two halves of the circular variables; linear ones take no part."""
    none = slice(n_circular, n_circular)
    first, second = _split(0, n_circular)
    return Half(circular=first, linear=none), Half(circular=second, linear=none)


def linear_halves(n_circular: int, n_linear: int) -> tuple[Half, Half]:
    """Two halves of the linear variables."""
    first, second = _split(n_circular, n_linear)
    return Half(circular=slice(0, 0), linear=first), Half(circular=slice(0, 0), linear=second)


def with_all_circular(half: Half, n_circular: int) -> Half:
    """``half`` and every circular variable: what stiff variables are conditioned on."""
    return dataclasses.replace(half, circular=slice(0, n_circular))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _sum_rows(x: Array, n: int) -> Array:
    """x.sum(0) for n rows, row by row: into a reduction XLA fuses the whole transformer, without vectors."""
    del n
    return functools.reduce(jnp.add, x)


_sum_rows.defvjp(
    lambda x, n: (_sum_rows(x, n), None),
    lambda n, _, g: (jnp.broadcast_to(g, (n, *g.shape)),),
)


def coupling(
    source: Half,
    moved: Half,
    *,
    dim: int,
    make_conditioner: Callable[[int, int], Conditioner],
    circular: Transformer | None,
    linear: Transformer | None,
) -> Bijector:
    """Transform ``moved`` with parameters that a network computes from ``source``.

    log-det = sum of the elementwise log-slopes (Durkan et al. 2019, Eq. 3).
    """
    n_c, n_l = moved.n_circular, moved.n_linear
    size_c = n_c * circular.n_params if n_c else 0
    size_l = n_l * linear.n_params if n_l else 0
    net = make_conditioner(source.n_features, size_c + size_l)
    rows = _Rows(source, moved, dim)
    # a moved half is one piece for each kind of variable, or none where it has no variables of that kind
    moving = [
        (piece, transformer, size)
        for pieces, transformer, size in (
            (rows.moved_circular, circular, size_c),
            (rows.moved_linear, linear, size_l),
        )
        for piece in pieces
    ]

    def transformer_params(raw):
        """The network's output as the parameters of each moving piece ``(n_params, n, *batch)``."""
        parts = jax.lax.split(raw, [size for _, _, size in moving])
        return [
            part.reshape((transformer.n_params, -1, *raw.shape[1:]))
            for part, (_, transformer, _) in zip(parts, moving, strict=True)
        ]

    def run(direction: str):
        def go(params, x):
            pieces = rows.split(x)
            raw = net.apply(params, rows.features(pieces))
            log_det = jnp.zeros(x.shape[1:], x.dtype)
            for p, (piece, transformer, _) in zip(transformer_params(raw), moving, strict=True):
                pieces[piece], slopes = getattr(transformer, direction)(p, pieces[piece])
                log_det = log_det + _sum_rows(slopes, len(slopes))
            return jnp.concatenate(pieces), log_det

        return go

    forward = run("forward")

    def forward_score(params, z, score):
        x, log_det = forward(params, z)
        fixed, z, y, score = jax.lax.stop_gradient((params, z, x, score))
        # written as in `forward`, of z, whose source is that of x: the compiler evaluates the network once
        raw, pull_net = jax.vjp(lambda z: net.apply(fixed, rows.features(rows.split(z))), z)
        by_raw, y, score = [], rows.split(y), rows.split(score)
        for p, (piece, transformer, _) in zip(transformer_params(raw), moving, strict=True):
            _, pull = jax.vjp(transformer.inverse, p, y[piece])
            by_p, score[piece] = pull((score[piece], jnp.ones_like(score[piece])))
            by_raw.append(by_p.reshape((-1, *raw.shape[1:])))
        return x, log_det, jnp.concatenate(score) + pull_net(jnp.concatenate(by_raw))[0]

    return Bijector(
        dim_in=dim,
        dim_out=dim,
        init=net.init,
        forward=forward,
        inverse=run("inverse"),
        forward_score=forward_score,
    )
