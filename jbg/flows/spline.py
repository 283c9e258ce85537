"""Monotone rational-quadratic splines with a hand-written gradient, batch on the minor axis.

The spline of Durkan et al. (2019, arXiv:1906.04032, Eqs. 4-8), on an interval with K bins, for variables on the
line (identity outside the interval) and on the circle (Rezende et al. 2020, arXiv:2002.02428: one shared
slope where the ends meet). Inversion solves a quadratic, and differentiates by the implicit function theorem.

Bins are selected by running `where`s over the K bins, so nothing is gathered or scattered, and the gradient is
written out, from the exponentials and the bin of the forward pass: the whole spline is a few vector loops.
What is used more than once ends in an `exp` or a division on purpose: XLA repeats cheaper expressions in every
loop that reads them, and once for each bin where they are spread over bins.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

FLOOR = 1e-3  # smallest share of the interval that a bin may take, and smallest slope at a knot
MAX_PARAM = 80.0  # parameters saturate here: exp overflows in single precision at 88


class _Bin(NamedTuple):
    """The bin that a point lies in: left corner (x, y), extent (w, h), slopes at its ends."""

    x: Array
    w: Array
    y: Array
    h: Array
    d0: Array
    d1: Array


class _Shares(NamedTuple):
    """Softmax over K bins as numerators ``(K, *shape)`` and denominator ``(*shape,)``."""

    e: Array
    total: Array


class _Residuals(NamedTuple):
    """What the gradient keeps: t is the place in the bin from 0 to 1, the slopes are floor + ln(1 + e)."""

    t: Array
    bin: _Bin
    index: Array
    widths: _Shares
    heights: _Shares
    e0: Array
    e1: Array
    inside: Array


def n_spline_params(n_bins: int, *, circular: bool) -> int:
    """Rows of the parameter array: K widths, K heights, and K - 1 (line) or K (circle) slopes."""
    return 3 * n_bins if circular else 3 * n_bins - 1


def rational_quadratic_spline(
    params: Array,
    x: Array,
    n_bins: int,
    bound: float,
    circular: bool,
    inverse: bool,
    floor: float = FLOOR,
) -> tuple[Array, Array]:
    """Spline on [-bound, bound], elementwise; all-zero parameters give the identity.

    Args:
        params: unnormalised ``(n_spline_params, *x.shape)``: width logits, height logits, slopes.
        x: any shape. On the line, values outside the interval are left as they are.
        n_bins: K.
        bound: half the interval; pi for angles.
        circular: the two ends of the interval are one point; x must lie between them.
        inverse: solve y = spline(x) for x.
        floor: smallest share of the interval that a bin may take, and smallest slope at a knot; below 1/K.

    Returns:
        (value, ln|d value / d x|), both of x's shape.
    """
    return _spline(params, x, n_bins, bound, circular, inverse, floor)


def _least_and_scale(n_bins: int, bound: float, floor: float) -> tuple[float, float]:
    """The extent of a bin is least + scale * share."""
    return 2 * bound * floor, 2 * bound * (1 - n_bins * floor)


def _shares(e: Array) -> _Shares:
    return _Shares(e, functools.reduce(jnp.add, e))


def _sums_before(e: Array) -> list[Array]:
    """For each row the sum of those before it."""
    sums = [jnp.zeros_like(e[0])]
    for row in e[:-1]:
        sums.append(sums[-1] + row)
    return sums


def _pick(rows: Sequence[Array] | Array, index: Array) -> Array:
    """rows[index], elementwise."""
    chosen = rows[0]
    for k in range(1, len(rows)):
        chosen = jnp.where(index >= k, rows[k], chosen)
    return chosen


def _find(at: Array, shares: _Shares, bound: float, floor: float) -> Array:
    """Number of the bin that ``at`` lies in."""
    least, scale = _least_and_scale(len(shares.e), bound, floor)
    unit = scale / shares.total
    reached = (at + bound) / unit
    edges = [k * least / unit + before for k, before in enumerate(_sums_before(shares.e))]
    number: Any = sum((reached >= edge).astype(jnp.int32) for edge in edges[1:])
    return number


def _interval(shares: _Shares, index: Array, bound: float, floor: float) -> tuple[Array, Array]:
    """Left edge and extent of bin ``index``."""
    least, scale = _least_and_scale(len(shares.e), bound, floor)
    unit = scale / shares.total
    before = index.astype(unit.dtype) * least + unit * _pick(_sums_before(shares.e), index)
    return before - bound, least + unit * _pick(shares.e, index)


def _slopes(e: Array, index: Array, circular: bool, floor: float) -> tuple[Array, Array]:
    """exp(parameter) at the two ends of bin ``index``, times what makes the slope 1 for a parameter of 0."""
    unit = math.expm1(1.0 - floor)  # floor + ln(1 + unit) = 1
    end = e[-1] if circular else jnp.ones_like(e[0])
    inner = list(e[:-1] if circular else e)
    return unit * _pick([end, *inner], index), unit * _pick([*inner, end], index)


def _forward_in_bin(t: Array, bin: _Bin) -> tuple[Array, Array]:
    """(y, ln dy/dx) at x = bin.x + bin.w t; Durkan et al. Eqs. 4 and 5."""
    s = bin.h / bin.w
    tt = t * (1 - t)
    den = s + (bin.d0 + bin.d1 - 2 * s) * tt
    y = bin.y + bin.h * (s * t * t + bin.d0 * tt) / den
    top = bin.d1 * t * t + 2 * s * tt + bin.d0 * (1 - t) ** 2
    return y, jnp.log(top * (s / den) ** 2)


def _inverse_in_bin(y: Array, bin: _Bin) -> Array:
    """t with spline(bin.x + bin.w t) = y; the stable root of the quadratic (Eqs. 6-8 divided by bin.h)."""
    s = bin.h / bin.w
    part = (y - bin.y) / bin.h
    bend = part * (bin.d0 + bin.d1 - 2 * s)
    a = s - bin.d0 + bend
    b = bin.d0 - bend
    c = -s * part
    root = jnp.sqrt(jnp.maximum(b * b - 4 * a * c, 0))
    return jnp.clip(2 * c / (-b - root), 0, 1)


def _evaluate(params, x, n_bins, bound, circular, inverse, floor):
    e = jnp.exp(jnp.clip(params, -MAX_PARAM, MAX_PARAM))
    widths, heights = _shares(e[:n_bins]), _shares(e[n_bins : 2 * n_bins])
    # an angle that rounding puts beyond an end is at that end: nothing lies outside a circle
    inside = jnp.full(x.shape, True) if circular else (x >= -bound) & (x <= bound)
    at = jnp.clip(x, -bound, bound)
    index = _find(at, heights if inverse else widths, bound, floor)
    e0, e1 = _slopes(e[2 * n_bins :], index, circular, floor)
    bin = _Bin(
        *_interval(widths, index, bound, floor),
        *_interval(heights, index, bound, floor),
        d0=floor + jnp.log1p(e0),
        d1=floor + jnp.log1p(e1),
    )
    # clipped: by rounding a point at an edge may lie outside of the bin that was found for it
    t = _inverse_in_bin(at, bin) if inverse else jnp.clip((at - bin.x) / bin.w, 0, 1)
    value, log_slope = _forward_in_bin(t, bin)
    if inverse:
        value, log_slope = bin.x + bin.w * t, -log_slope
    residuals = _Residuals(t, bin, index, widths, heights, e0, e1, inside)
    return jnp.where(inside, value, x), jnp.where(inside, log_slope, 0), residuals


def _value_and_log_slope(
    params: Array, x: Array, n_bins: int, bound: float, circular: bool, inverse: bool, floor: float
) -> tuple[Array, Array]:
    return _evaluate(params, x, n_bins, bound, circular, inverse, floor)[:2]


def _fwd(params, x, *settings):
    value, log_slope, residuals = _evaluate(params, x, *settings)
    return (value, log_slope), residuals


def _bwd(n_bins, bound, circular, inverse, floor, res: _Residuals, cotangents):
    value_bar, log_slope_bar = cotangents
    v, g = (jnp.where(res.inside, bar, 0) for bar in (value_bar, log_slope_bar))
    bin_bar, x_bar = _pull_back(res, v, g, inverse)
    params_bar = _bin_to_params(bin_bar, res, bound, circular, floor)
    return params_bar, jnp.where(res.inside, x_bar, value_bar)


def _pull_back(res: _Residuals, v: Array, g: Array, inverse: bool) -> tuple[_Bin, Array]:
    """Gradient of v f(x) + g ln f'(x) by the bin and by x.

    For the inverse: of v f^-1(y) - g ln f'(f^-1(y)) by the bin and by y. Slopes stand for ln of their e.
    """
    _, w, _, h, d0, d1 = res.bin
    t, s = res.t, h / w
    t1 = 1 - t
    tt = t * t1
    bend = d0 + d1 - 2 * s
    den = s + bend * tt
    top = d1 * t * t + 2 * s * tt + d0 * t1 * t1
    part = (s * t * t + d0 * tt) / den  # (y - bin.y) / h
    slope_w = s * h * top / (den * den)  # f'(x) w
    curve_w = 2 * ((d1 * t - d0 * t1 + s * (t1 - t)) * den - bend * (t1 - t) * top) / (top * den)
    if inverse:
        # dx = (dy - df)/f': the gradients of f, with what x passes on to it
        x_bar = (v * w - g * curve_w) / slope_w
        x_corner, v, g = v, -x_bar, -g
    else:
        x_bar = (v * slope_w + g * curve_w) / w
        x_corner = -x_bar
    lift = v * h * part + 2 * g
    s_bar = ((v * h * t * t + 2 * tt * lift - lift) * top + 2 * g * tt * den) / (
        top * den
    ) + 2 * g / s
    bar = _Bin(
        x=x_corner,
        w=(x_corner * t * w - s_bar * s) / w,
        y=v,
        h=(v * part * w + s_bar) / w,
        # d slope = e/(1 + e) d ln e
        d0=(tt * (v * h - lift) * top + g * t1 * t1 * den) / (top * den) * (res.e0 / (1 + res.e0)),
        d1=(g * t * t * den - tt * lift * top) / (top * den) * (res.e1 / (1 + res.e1)),
    )
    return bar, x_bar


def _bin_to_params(bar: _Bin, res: _Residuals, bound: float, circular: bool, floor: float) -> Array:
    """Gradient of the selected bin's six numbers, spread onto widths, heights and slopes."""
    bin, index, n_bins = res.bin, res.index, len(res.widths.e)
    least, scale = _least_and_scale(n_bins, bound, floor)

    def logits(shares, edge, extent, edge_bar, extent_bar):
        before = edge + bound - least * index.astype(edge.dtype)
        mean = edge_bar * before + extent_bar * (extent - least)
        left, here = (
            (scale * edge_bar - mean) / shares.total,
            (scale * extent_bar - mean) / shares.total,
        )
        right = -mean / shares.total
        return [
            shares.e[k] * jnp.where(index > k, left, jnp.where(index == k, here, right))
            for k in range(n_bins)
        ]

    slopes = [
        jnp.where(index == (k + 1) % n_bins, bar.d0, 0) + jnp.where(index == k, bar.d1, 0)
        for k in range(n_bins if circular else n_bins - 1)
    ]
    widths = logits(res.widths, bin.x, bin.w, bar.x, bar.w)
    heights = logits(res.heights, bin.y, bin.h, bar.y, bar.h)
    return jnp.stack([*widths, *heights, *slopes])


_spline = jax.custom_vjp(_value_and_log_slope, nondiff_argnums=(2, 3, 4, 5, 6))
_spline.defvjp(_fwd, _bwd)
