"""Split coupling: one half of the variables conditions the other, and nothing is computed to be masked away.

Variables are ordered [circular | linear]. A layer sees circular variables as (cos, sin) and linear ones as they
are, so a network output is continuous across the cut of an angle.
"""

import dataclasses
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

    def features(self, x: Array) -> Array:
        """What a network sees: (cos, sin) of angles, linear variables; a constant where there is neither."""
        if not self.n_circular + self.n_linear:
            return jnp.ones_like(x[:1])
        angles = x[self.circular]
        return jnp.concatenate([jnp.cos(angles), jnp.sin(angles), x[self.linear]])


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

    def run(direction: str):
        def go(params, x):
            out = net.apply(params, source.features(x))
            log_det = jnp.zeros(x.shape[1:], x.dtype)
            for n, rows, transformer, raw in (
                (n_c, moved.circular, circular, out[:size_c]),
                (n_l, moved.linear, linear, out[size_c:]),
            ):
                if n:
                    p = raw.reshape((transformer.n_params, n, *x.shape[1:]))
                    new, slopes = getattr(transformer, direction)(p, x[rows])
                    x = jax.lax.dynamic_update_slice_in_dim(x, new, rows.start, 0)
                    log_det = log_det + slopes.sum(0)
            return x, log_det

        return go

    forward = run("forward")

    def forward_score(params, z, score):
        x, log_det = forward(params, z)
        fixed, z, y, score = jax.lax.stop_gradient((params, z, x, score))
        # written as in `forward`, of z, whose source is that of x: the compiler evaluates the network once
        raw, pull_net = jax.vjp(lambda z: net.apply(fixed, source.features(z)), z)
        slopes = []
        for n, rows, transformer, raw_part in (
            (n_c, moved.circular, circular, raw[:size_c]),
            (n_l, moved.linear, linear, raw[size_c:]),
        ):
            if n:
                p = raw_part.reshape((transformer.n_params, n, *y.shape[1:]))
                _, pull = jax.vjp(transformer.inverse, p, y[rows])
                by_p, by_x = pull((score[rows], jnp.ones_like(score[rows])))
                score = jax.lax.dynamic_update_slice_in_dim(score, by_x, rows.start, 0)
                slopes.append(by_p.reshape(raw_part.shape))
        return x, log_det, score + pull_net(jnp.concatenate(slopes))[0]

    return Bijector(
        dim_in=dim,
        dim_out=dim,
        init=net.init,
        forward=forward,
        inverse=run("inverse"),
        forward_score=forward_score,
    )
