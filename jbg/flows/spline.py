"""Monotone rational-quadratic splines with a hand-written gradient, batch on the minor axis.

The spline of Durkan et al. (2019, arXiv:1906.04032, Eqs. 4-8), on an interval with K bins, for variables on the
line (identity outside the interval) and on the circle (Rezende et al. 2020, arXiv:2002.02428: one shared
slope where the ends meet). Bin selection is a running `where` over the K bins, so nothing is gathered or
scattered and XLA turns the whole spline into a few vector loops; the gradient with respect to the
unnormalised parameters is written out, reusing the softmax of the forward pass. Inversion solves a
quadratic, and differentiates by the implicit function theorem.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

MIN_BIN = 1e-3  # smallest share of the interval that a bin may take
MIN_SLOPE = 1e-3


class _Bin(NamedTuple):
    """The bin that a point lies in: left corner (x, y), extent (w, h), slopes at its ends."""

    x: Array
    w: Array
    y: Array
    h: Array
    d0: Array
    d1: Array


class _Residuals(NamedTuple):
    x: Array
    bin: _Bin
    index: Array
    p_w: Array
    p_h: Array
    slopes: Array
    inside: Array


def n_spline_params(n_bins: int, *, circular: bool) -> int:
    """Rows of the parameter array: K widths, K heights, and K - 1 (line) or K (circle) slopes."""
    return 3 * n_bins if circular else 3 * n_bins - 1


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def rational_quadratic_spline(
    params: Array,
    x: Array,
    n_bins: int,
    bound: float,
    circular: bool,
    inverse: bool,
) -> tuple[Array, Array]:
    """Spline on [-bound, bound], elementwise; all-zero parameters give the identity.

    Args:
        params: unnormalised ``(n_spline_params, *x.shape)``: width logits, height logits, slopes.
        x: any shape. On the line, values outside the interval are left as they are.
        n_bins: K.
        bound: half the interval; pi for angles.
        circular: the two ends of the interval are one point; x must lie between them.
        inverse: solve y = spline(x) for x.

    Returns:
        (value, ln|d value / d x|), both of x's shape.
    """
    value, log_slope, _ = _evaluate(params, x, n_bins, bound, circular, inverse)
    return value, log_slope


def _softmax(logits: Array) -> Array:
    """Softmax over the leading axis, unrolled: K is small and the minor axes carry the vectors."""
    e = jnp.exp(logits - jnp.max(logits, axis=0, keepdims=True))
    return e / jnp.sum(e, axis=0, keepdims=True)


_SLOPE_SHIFT = math.log(math.expm1(1.0 - MIN_SLOPE))  # softplus(shift) + MIN_SLOPE = 1


def _slope(raw: Array) -> Array:
    return MIN_SLOPE + jax.nn.softplus(raw + _SLOPE_SHIFT)


def _split(params: Array, n_bins: int) -> tuple[Array, Array, Array]:
    return params[:n_bins], params[n_bins : 2 * n_bins], params[2 * n_bins :]


def _select(at: Array, p_w: Array, p_h: Array, slopes: Array, bound: float, by_height: bool):
    """The bin that ``at`` falls in, found on the x axis or, for the inverse, on the y axis."""
    n_bins = p_w.shape[0]
    scale, floor = 2 * bound * (1 - n_bins * MIN_BIN), 2 * bound * MIN_BIN
    end = slopes[n_bins - 1] if slopes.shape[0] == n_bins else jnp.ones_like(at)
    left_x = left_y = jnp.full_like(at, -bound)
    chosen, index = None, jnp.zeros(at.shape, jnp.int32)
    for k in range(n_bins):
        w, h = floor + scale * p_w[k], floor + scale * p_h[k]
        here = _Bin(
            x=left_x,
            w=w,
            y=left_y,
            h=h,
            d0=slopes[k - 1] if k else end,
            d1=slopes[k] if k < n_bins - 1 else end,
        )
        if chosen is None:
            chosen = here
        else:
            reached = at >= (left_y if by_height else left_x)
            chosen = _Bin(
                *(jnp.where(reached, new, old) for new, old in zip(here, chosen, strict=True))
            )
            index = index + reached
        left_x, left_y = left_x + w, left_y + h
    return chosen, index


def _forward_in_bin(x: Array, bin: _Bin) -> tuple[Array, Array]:
    """(y, ln dy/dx) inside one bin; Durkan et al. Eqs. 4 and 5."""
    s = bin.h / bin.w
    t = (x - bin.x) / bin.w
    t1 = t * (1 - t)
    den = s + (bin.d0 + bin.d1 - 2 * s) * t1
    y = bin.y + bin.h * (s * t * t + bin.d0 * t1) / den
    slope = bin.d1 * t * t + 2 * s * t1 + bin.d0 * (1 - t) ** 2
    return y, 2 * jnp.log(s) + jnp.log(slope) - 2 * jnp.log(den)


def _inverse_in_bin(y: Array, bin: _Bin) -> Array:
    """x with spline(x) = y inside one bin; the stable root of the quadratic (Eqs. 6-8)."""
    s = bin.h / bin.w
    dy = y - bin.y
    bend = dy * (bin.d0 + bin.d1 - 2 * s)
    a = bin.h * (s - bin.d0) + bend
    b = bin.h * bin.d0 - bend
    c = -s * dy
    root = jnp.sqrt(jnp.maximum(b * b - 4 * a * c, 0))
    t = 2 * c / (-b - root)
    return bin.x + bin.w * jnp.clip(t, 0, 1)


def _evaluate(params, x, n_bins, bound, circular, inverse):
    w, h, d = _split(params, n_bins)
    p_w, p_h, slopes = _softmax(w), _softmax(h), _slope(d)
    # an angle that rounding puts beyond an end is at that end: nothing lies outside a circle
    inside = jnp.full(x.shape, True) if circular else (x >= -bound) & (x <= bound)
    at = jnp.clip(x, -bound, bound)
    bin, index = _select(at, p_w, p_h, slopes, bound, inverse)
    if inverse:
        source = _inverse_in_bin(at, bin)
        _, log_slope = _forward_in_bin(source, bin)
        value, log_slope = source, -log_slope
    else:
        source = at
        value, log_slope = _forward_in_bin(at, bin)
    residuals = _Residuals(source, bin, index, p_w, p_h, slopes, inside)
    return jnp.where(inside, value, x), jnp.where(inside, log_slope, 0), residuals


def _fwd(params, x, n_bins, bound, circular, inverse):
    value, log_slope, residuals = _evaluate(params, x, n_bins, bound, circular, inverse)
    return (value, log_slope), residuals


def _bwd(n_bins, bound, circular, inverse, res: _Residuals, cotangents):
    del circular
    value_bar, log_slope_bar = cotangents
    _, vjp = jax.vjp(_forward_in_bin, res.x, res.bin)
    v = jnp.where(res.inside, value_bar, 0)
    g = jnp.where(res.inside, log_slope_bar, 0)
    if inverse:
        # x = f^-1(y), l = -ln f'(x): pull everything back onto x, then through dx = (dy - df)/f'.
        slope = jnp.exp(_forward_in_bin(res.x, res.bin)[1])
        curvature, _ = vjp((jnp.zeros_like(v), jnp.ones_like(g)))
        x_bar = (v - g * curvature) / slope
        _, bin_bar = vjp((-x_bar, -g))
    else:
        x_bar, bin_bar = vjp((v, g))
    params_bar = _bin_to_params(bin_bar, res, n_bins, bound)
    return params_bar, jnp.where(res.inside, x_bar, value_bar)


def _bin_to_params(bar: _Bin, res: _Residuals, n_bins: int, bound: float) -> Array:
    """Gradient of the selected bin's six numbers, spread onto widths, heights and slopes."""
    scale = 2 * bound * (1 - n_bins * MIN_BIN)

    def logits(p, corner_bar, extent_bar):
        rows = [
            jnp.where(res.index > k, corner_bar, jnp.where(res.index == k, extent_bar, 0))
            for k in range(n_bins)
        ]
        mean = sum(p[k] * rows[k] for k in range(n_bins))
        return [scale * p[k] * (rows[k] - mean) for k in range(n_bins)]

    slopes = res.slopes
    n_slopes = slopes.shape[0]
    slope_rows = []
    for k in range(n_slopes):
        left = res.index == (k + 1) % n_bins
        g = jnp.where(left, bar.d0, 0) + jnp.where(res.index == k, bar.d1, 0)
        # d softplus(r) = sigmoid(r) = 1 - exp(-softplus(r))
        slope_rows.append(-g * jnp.expm1(MIN_SLOPE - slopes[k]))
    return jnp.stack([*logits(res.p_w, bar.x, bar.w), *logits(res.p_h, bar.y, bar.h), *slope_rows])


rational_quadratic_spline.defvjp(_fwd, _bwd)
