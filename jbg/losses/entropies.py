"""Negative entropies of samples between bounds, of one variable or of two: least for a flat distribution.

By a kernel density, in units of the entropy, or by the shares of a few kernels, the loss of the published code.
Samples outside the bounds take no part, but for those of `plane_kernels`, which count at the edge.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from jbg.interfaces import ConfigError

Bounds = tuple[float, float]
PlaneBounds = tuple[Bounds, Bounds]


def check_bounds(bounds: Bounds) -> Bounds:
    """The bounds as they are.

    Raises:
        ConfigError: not two finite numbers in ascending order.
    """
    low, high = bounds
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(
            f"reaction coordinate: bounds must be finite and ascending, got {low} and {high}"
        )
    return low, high


def check_plane(bounds: PlaneBounds) -> PlaneBounds:
    """The bounds of both variables as they are.

    Raises:
        ConfigError: not twice two finite numbers in ascending order.
    """
    if np.shape(bounds) != (2, 2):
        raise ConfigError(
            f"reaction coordinate: a plane needs the bounds of two variables, got {bounds}"
        )
    return check_bounds(bounds[0]), check_bounds(bounds[1])


def check_covered(bounds: Bounds | PlaneBounds, r: ArrayLike) -> None:
    """Refuses bounds that no value r of the data lies in: the loss would have nothing to act on.

    Args:
        bounds: low and high; of a plane, those of both variables.
        r: ``(n,)``, of a plane ``(2, n)``.

    Raises:
        ConfigError: such bounds, or none.
    """
    limits = [check_bounds((low, high)) for low, high in np.atleast_2d(bounds).tolist()]
    values = np.atleast_2d(r)
    inside = [(r >= low) & (r <= high) for r, (low, high) in zip(values, limits, strict=True)]
    if not np.all(inside, axis=0).any():
        between = " and ".join(f"between {low:.4g} and {high:.4g}" for low, high in limits)
        reach = " and ".join(f"from {r.min():.4g} to {r.max():.4g}" for r in values)
        raise ConfigError(
            f"reaction coordinate: none of the data lie {between}, they reach {reach}; move the bounds"
        )


def entropy_integral(r: Array, bounds: Bounds, *, bandwidth: float = 0.03, n: int = 64) -> Array:
    """The integral of p ln p over the bounds, p a kernel density of the samples between them.

    Noé et al. 2019, supplement, Eq. 11: L_RC. p is normalised between the bounds and mirrored at them, so that
    uniform samples give -ln(high - low), the least value there is.

    Args:
        r: ``(n_samples,)``. bounds: low, high. bandwidth: of the Gaussian kernel, in units of high - low.
        n: midpoints of the integral; their spacing must not exceed the bandwidth.

    Raises:
        ConfigError: bounds that are none, or too few midpoints.
    """
    low, high = check_bounds(bounds)
    _check_resolved(n, bandwidth)
    t = (r - low) / (high - low)
    inside = (t >= 0) & (t <= 1)
    t = jnp.where(inside, t, 0.5)
    grid = (jnp.arange(n, dtype=r.dtype) + 0.5) / n
    images = jnp.concatenate([t, -t, 2 - t])
    counted = jnp.tile(inside, 3)
    p = jnp.exp(-0.5 * ((grid[:, None] - images[None]) / bandwidth) ** 2) @ counted.astype(r.dtype)
    return _mean_p_ln_p(p) - math.log(high - low)


def plane_integral(r: Array, bounds: PlaneBounds, *, bandwidth: float = 0.03, n: int = 64) -> Array:
    """The integral of p ln p over the rectangle of the bounds, p a kernel density of the samples in it.

    `entropy_integral` in two dimensions: product kernels, mirrored at the four sides, so that uniform samples give
    minus the ln of the area, the least value there is.

    Args:
        r: ``(2, n_samples)``.
        bounds: low and high of both variables.
        bandwidth: of the Gaussian kernel, in units of high - low.
        n: midpoints of the integral along each side.

    Raises:
        ConfigError: bounds that are none, or too few midpoints.
    """
    bounds = check_plane(bounds)
    _check_resolved(n, bandwidth)
    inside, grid = within_plane(r, bounds), (jnp.arange(n, dtype=r.dtype) + 0.5) / n
    kernels = []
    for values, (low, high) in zip(r, bounds, strict=True):
        t = jnp.where(inside, (values - low) / (high - low), 0.5)
        images = jnp.stack([t, -t, 2 - t])
        distance = (grid[:, None, None] - images[None]) / bandwidth
        kernels.append(jnp.exp(-0.5 * distance**2).sum(1))
    p = _product(kernels[0] * inside.astype(r.dtype)[None], kernels[1])
    return _mean_p_ln_p(p) - sum(math.log(high - low) for low, high in bounds)


def _check_resolved(n: int, bandwidth: float) -> None:
    if not n * bandwidth >= 1:
        raise ConfigError(
            f"reaction coordinate: {n} points cannot resolve a bandwidth of {bandwidth}; "
            f"use at least {math.ceil(1 / bandwidth)}"
        )


def _mean_p_ln_p(p: Array) -> Array:
    """Mean over a grid of p ln p, p first divided by its mean."""
    p = p / jnp.maximum(jnp.mean(p), jnp.finfo(p.dtype).tiny)
    # p ln p is 0 where p is, and its gradient must not be infinite there
    seen = p > jnp.finfo(p.dtype).tiny
    return jnp.mean(p * jnp.log(jnp.where(seen, p, 1.0)))


def kernel_entropy(r: Array, bounds: Bounds, *, n: int = 11) -> Array:
    """-sum_b ln h_b, h_b the mean share that n Gaussian kernels between the bounds have in each sample.

    The loss of the published code, which the stored runs belong to (it differs from the text's integral). Centres
    linspace(low, high, n), width (high - low)/n; each sample's kernel values get 1e-6 added and are normalised
    to one. At least n ln n, for equal shares.

    Args:
        r: ``(n_samples,)``. bounds: low, high.
    """
    inside = within(r, check_bounds(bounds))
    h = _shares(r, inside, bounds, n) @ inside.astype(r.dtype) / jnp.maximum(inside.sum(), 1)
    return -jnp.sum(jnp.log(jnp.where(jnp.any(inside), h, 1.0 / n)))


def plane_kernels(r: Array, bounds: PlaneBounds, *, n: int = 11) -> Array:
    """-sum_ab ln h_ab, h_ab the mean over samples of the product of their shares in kernel a along the first
    variable and kernel b along the second.

    The soft grid of 11 by 11 that Noé et al. 2019 spread BPTI on, over its first two time-lagged independent
    components; the text gives no more than that, and the kernels are those of `kernel_entropy`. At least
    n^2 ln n^2, for equal shares: 580.3 for 121 kernels. Where the samples are independent along the two
    variables it is n times the sum of `kernel_entropy` of each.

    A sample outside counts as in the published code, in the kernels at the edge, and from three widths beyond it
    as if it were there. Left out it would leave for good: kernels at the edge have half a neighbourhood, and
    their want of samples draws these across.

    Args:
        r: ``(2, n_samples)``.
        bounds: low and high of both variables.
        n: kernels along each side.

    Raises:
        ConfigError: bounds that are none.
    """
    bounds, known = check_plane(bounds), ~jnp.any(jnp.isnan(r), axis=0)
    first, second = (
        _shares(_near(values, limits, n), known, limits, n)
        for values, limits in zip(r, bounds, strict=True)
    )
    h = _product(first * known.astype(r.dtype)[None], second) / jnp.maximum(known.sum(), 1)
    return -jnp.sum(jnp.log(jnp.where(jnp.any(known), h, 1.0 / n**2)))


def _near(r: Array, bounds: Bounds, n: int) -> Array:
    """r, at most three widths of a kernel beyond the bounds."""
    low, high = bounds
    reach = 3 * (high - low) / n
    return jnp.clip(r, low - reach, high + reach)


def _shares(r: Array, inside: Array, bounds: Bounds, n: int) -> Array:
    """The share of each of n kernels in each sample ``(n, n_samples)``; those not ``inside`` are put at the low
    end."""
    low, high = bounds
    centres = jnp.linspace(low, high, n, dtype=r.dtype)
    width = (high - low) / n
    kernels = (
        jnp.exp(-0.5 * ((jnp.where(inside, r, low)[None] - centres[:, None]) / width) ** 2) + 1e-6
    )
    return kernels / kernels.sum(0, keepdims=True)


def _product(a: Array, b: Array) -> Array:
    """a b^T, never in reduced precision."""
    return jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)


def within(r: Array, bounds: Bounds) -> Array:
    """Which samples lie between the bounds, bool of the shape of r; NaN does not."""
    low, high = bounds
    return (r >= low) & (r <= high)


def within_plane(r: Array, bounds: PlaneBounds) -> Array:
    """Which samples ``(2, *batch)`` lie in the rectangle of the bounds ``(*batch,)``."""
    return within(r[0], bounds[0]) & within(r[1], bounds[1])
