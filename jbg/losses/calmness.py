"""A bound on the gradient of each own sample by itself.

A flow may become ill-conditioned where no data hold it: in some narrow place a coupling depends so sharply on its
other half that the gradient of ln q is ten thousand times that of a usual sample. A bound on the whole gradient
then follows these few, which makes the place narrower.
"""

import jax
import jax.numpy as jnp
from jax import Array

from jbg.generator import Generator
from jbg.interfaces import Key, Params

CALM = 10.0  # times the typical sensitivity of ln q, from which on a sample counts for less
NUDGE = 1e-3  # of every parameter, relative, to measure that sensitivity


def calmness(
    generator: Generator, params: Params, x: Array, log_q: Array, usable: Array, key: Key
) -> Array:
    """The factor that multiplies the gradient of each sample, ``(n,)``: min(1, CALM median(s) / s), constant.

    s is how much its ln q changes when each parameter is changed by about a thousandth of itself, in one
    direction at random: of a sample whose gradient, times the parameters, is much larger than that of others it is
    large too, but for chance. This is clipping sample by sample for the price of one more inversion.

    Args:
        generator: the flow.
        params: of ``generator``.
        x: own samples, ``(dim, n)``.
        log_q: their ln q, ``(n,)``.
        usable: samples to include in the median, ``(n,)`` bool; the factor of the others is 0.
        key: of the random direction.
    """
    params, log_q = jax.lax.stop_gradient((params, log_q))
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(key, max(1, len(leaves)))
    nudge = lambda key, p: p * (1 + NUDGE * jax.random.normal(key, p.shape, p.dtype))
    nudged = tree.unflatten([nudge(key, p) for key, p in zip(keys, leaves, strict=False)])
    change = jnp.abs(generator.log_prob(nudged, jnp.where(usable, x, 0.0)) - log_q)
    known = usable & jnp.isfinite(change)
    typical = jnp.nan_to_num(jnp.nanmedian(jnp.where(known, change, jnp.nan)))
    # a flow that is still the identity does not change at all
    least = 0.1 * NUDGE
    calm = CALM * (typical + least) / (jnp.where(known, change, 0.0) + least)
    return jnp.where(known, jnp.minimum(1.0, calm), 0.0)
