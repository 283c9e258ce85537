"""Negative entropy of a collective variable of generated samples: spreads them along it.

Minimised by a flat distribution of r between two bounds, so that a flow trained with it also fills barriers. What
it generates is then not Boltzmann distributed; reweighted averages are. Both functions take r of *generated*
samples, through which gradients reach the network. Samples outside the bounds take no part: they are neither drawn
in nor pushed out, and the caller should watch their share.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from jbg.interfaces import CollectiveVariable, ConfigError, Loss
from jbg.losses.terms import LossContext, check_weights, samples_per_tau
from jbg.targets import check_taus

Bounds = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class ReactionCoordinate:
    """Entropy along the system's collective variable within its bounds; see the module's text.

    Beside a reverse KL, ``ReverseKL(1.0, along=ReactionCoordinate(5.0))`` takes both from the same samples.

    Attributes:
        weight: of the term in the sum, or relative to the reverse KL that it stands in.
        form: "integral" (`entropy_integral`) or "kernels" (`kernel_entropy`).
        taus: relative temperatures, which share the samples equally.

    Raises:
        ConfigError: a number out of range, or an unknown form.
    """

    weight: float = 1.0
    _: dataclasses.KW_ONLY
    form: str = "integral"
    taus: tuple[float, ...] = (1.0,)

    def __post_init__(self):
        check_weights(self)
        check_taus(self.taus)
        if self.form not in RC_FORMS:
            raise ConfigError(
                f"ReactionCoordinate: form must be one of {', '.join(RC_FORMS)}, got {self.form!r}"
            )

    def build(self, context: LossContext) -> Loss:
        spread, whole = self.spread_of(context.collective_variable), context.whole
        n = samples_per_tau("ReactionCoordinate", context.n_samples, self.taus)

        def loss(params, batch, key):
            del batch
            tau = jnp.repeat(jnp.asarray(self.taus), n)
            z = whole.base.sample(key, context.n_samples, tau)
            return spread(whole.bijector.forward(params, z)[0], len(self.taus))

        return context.of_flow(loss)

    def energies(self, batch: int) -> int:
        del batch
        return 0

    def spread_of(
        self, variable: CollectiveVariable | None
    ) -> Callable[[Array, int], tuple[Array, dict[str, Array]]]:
        """(x ``(dim, n_taus * n)``, n_taus) -> negative entropy, averaged over temperatures, and what is logged.

        Raises:
            ConfigError: no variable, or one without usable bounds.
        """
        if variable is None:
            raise ConfigError(
                "ReactionCoordinate: this system has no collective variable to train along"
            )
        bounds = check_bounds(variable.bounds)

        def spread(x: Array, n_taus: int) -> tuple[Array, dict[str, Array]]:
            r = variable.of(x).reshape(n_taus, -1)
            value = jnp.mean(jax.vmap(lambda r: RC_FORMS[self.form](r, bounds))(r))
            return value, {"rc": value, "rc_outside": share_outside(r, bounds)}

        return spread


def trains_along(terms: Sequence[Any]) -> bool:
    """Whether one of the terms of a stage takes the entropy along the collective variable."""
    parts = [part for term in terms for part in (term, getattr(term, "along", None))]
    return any(isinstance(part, ReactionCoordinate) and part.weight for part in parts)


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


def check_covered(bounds: Bounds, r: ArrayLike) -> None:
    """Refuses bounds that no value r of the data lies in: the loss would have nothing to act on.

    Raises:
        ConfigError: such bounds, or none.
    """
    low, high = check_bounds(bounds)
    r = np.asarray(r)
    if not ((r >= low) & (r <= high)).any():
        raise ConfigError(
            f"reaction coordinate: none of the data lie between {low:.4g} and {high:.4g}, they reach from"
            f" {r.min():.4g} to {r.max():.4g}; move the bounds"
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
    if not n * bandwidth >= 1:
        raise ConfigError(
            f"reaction coordinate: {n} points cannot resolve a bandwidth of {bandwidth}; "
            f"use at least {math.ceil(1 / bandwidth)}"
        )
    t = (r - low) / (high - low)
    inside = (t >= 0) & (t <= 1)
    t = jnp.where(inside, t, 0.5)
    grid = (jnp.arange(n, dtype=r.dtype) + 0.5) / n
    images = jnp.concatenate([t, -t, 2 - t])
    counted = jnp.tile(inside, 3)
    p = jnp.exp(-0.5 * ((grid[:, None] - images[None]) / bandwidth) ** 2) @ counted.astype(r.dtype)
    p = p / jnp.maximum(jnp.mean(p), jnp.finfo(r.dtype).tiny)  # of t: mean 1 on the grid
    # p ln p is 0 where p is, and its gradient must not be infinite there
    seen = p > jnp.finfo(r.dtype).tiny
    return jnp.mean(p * jnp.log(jnp.where(seen, p, 1.0))) - math.log(high - low)


def kernel_entropy(r: Array, bounds: Bounds, *, n: int = 11) -> Array:
    """-sum_b ln h_b, h_b the mean share that n Gaussian kernels between the bounds have in each sample.

    The loss of the published code, which the stored runs belong to (it differs from the text's integral). Centres
    linspace(low, high, n), width (high - low)/n; each sample's kernel values get 1e-6 added and are normalised
    to one. At least n ln n, for equal shares.

    Args:
        r: ``(n_samples,)``. bounds: low, high.
    """
    low, high = check_bounds(bounds)
    inside = (r >= low) & (r <= high)
    centres = jnp.linspace(low, high, n, dtype=r.dtype)
    width = (high - low) / n
    kernels = (
        jnp.exp(-0.5 * ((jnp.where(inside, r, low)[None] - centres[:, None]) / width) ** 2) + 1e-6
    )
    shares = kernels / kernels.sum(0, keepdims=True)
    h = shares @ inside.astype(r.dtype) / jnp.maximum(inside.sum(), 1)
    return -jnp.sum(jnp.log(jnp.where(jnp.any(inside), h, 1.0 / n)))


def share_outside(r: Array, bounds: Bounds) -> Array:
    """The share of samples that lie outside the bounds, which these losses do not see."""
    low, high = bounds
    return jnp.mean((r < low) | (r > high))


RC_FORMS = {"integral": entropy_integral, "kernels": kernel_entropy}
