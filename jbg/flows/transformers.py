"""Elementwise maps with parameters from a conditioner; what a coupling layer does to each variable."""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from jbg.flows.spline import FLOOR, n_spline_params, rational_quadratic_spline


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transformer:
    """Elementwise bijection; zero parameters give the identity.

    forward(params ``(n_params, *shape)``, z ``shape``) -> (x, ln dx/dz), both of z's shape; inverse likewise.
    """

    n_params: int
    forward: Callable[[Array, Array], tuple[Array, Array]]
    inverse: Callable[[Array, Array], tuple[Array, Array]]


def affine() -> Transformer:
    """z = x exp(s) + t, so x = (z - t) exp(-s): RealNVP (Noe et al. 2019, Eqs. 5-8). Parameters (s, t)."""
    return Transformer(
        n_params=2,
        forward=lambda p, z: ((z - p[1]) * jnp.exp(-p[0]), -p[0]),
        inverse=lambda p, x: (x * jnp.exp(p[0]) + p[1], p[0]),
    )


def spline(*, n_bins: int = 8, bound: float = 5.0, floor: float = FLOOR) -> Transformer:
    """Rational-quadratic spline on [-bound, bound], the identity outside."""
    settings = (n_bins, bound, False)
    return Transformer(
        n_params=n_spline_params(n_bins, circular=False),
        forward=lambda p, z: rational_quadratic_spline(p, z, *settings, False, floor),
        inverse=lambda p, x: rational_quadratic_spline(p, x, *settings, True, floor),
    )


def wrap(angle: Array) -> Array:
    """The same angle in [-pi, pi)."""
    return angle - 2 * math.pi * jnp.floor((angle + math.pi) / (2 * math.pi))


def circular_spline(*, n_bins: int = 8, floor: float = FLOOR) -> Transformer:
    """Spline on the circle followed by a rotation: a diffeomorphism of [-pi, pi) with its ends joined."""
    settings = (n_bins, math.pi, True)
    n = n_spline_params(n_bins, circular=True)

    def forward(p, z):
        knots, turn = jax.lax.split(p, (n, 1))
        x, log_slope = rational_quadratic_spline(knots, wrap(z), *settings, False, floor)
        return wrap(x + turn[0]), log_slope

    def inverse(p, x):
        knots, turn = jax.lax.split(p, (n, 1))
        return rational_quadratic_spline(knots, wrap(x - turn[0]), *settings, True, floor)

    return Transformer(n_params=n + 1, forward=forward, inverse=inverse)
