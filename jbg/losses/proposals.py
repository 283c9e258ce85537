"""Where own samples are drawn: as the generator does, or with its soft variables flattened.

A molecule's rare states are rare among its own samples too, and a training batch holds a handful of them. Where
the flow is a chain whose first link makes the soft variables (`flows.spline_flow`: the torsions that rotate), that
link alone is cheap to sample: draw a pool from it, pick from the pool with a bias towards low density, and let the
remaining links fill in the stiff variables of what was picked. The bias is known, so weights remain exact. What
the flow has given up altogether is in no pool: a share of the soft variables can be drawn from the base itself,
which on the circle is uniform.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jbg.generator import Generator
from jbg.interfaces import Key, Params

POOL = 8  # configurations of the first link drawn for each one picked


class Proposed(NamedTuple):
    """x ``(dim, n)``, ln q(x) ``(n,)``, and ln s(x) ``(n,)``: the points have density q(x) s(x) / E_q[s].

    ``own (n,)`` is the share of that density that is not exploration: almost zero where only exploration gets to.
    ``log_soft (n,)`` is ln q(y) - ln b(y) of the soft variables y, b the base; 0 where the flow is a single link.
    """

    x: Array
    log_q: Array
    log_bias: Array
    own: Array
    log_soft: Array


Proposal = Callable[[Params, Key], Proposed]


def make_proposal(
    generator: Generator, n: int, flatten: float = 0.0, explore: float = 0.0
) -> Proposal:
    """n samples, half as generated and half with the first link y(z) of the generator's chain flattened.

    s = 1/2 + f / (2 E_q[f]) with f = |det dy/dz|^flatten. On a uniform base |det dy/dz| is the inverse density of
    y, so the flattened half follows q(y)^(1 - flatten); the other half bounds the weights (a defensive mixture,
    Hesterberg 1995). By sampling-importance-resampling (Rubin 1988) out of a pool of ``POOL`` n, systematic, so
    that a point is picked as often as its share of n asks for, up to rounding. A flow of a single link is drawn as
    it is.

    With exploration s = (1 - explore) (1/2 + f / (2 E_q[f])) + explore b(y) / q(y), b the density of the base.

    Args:
        generator: the flow.
        n: number of samples of a draw.
        flatten: exponent of the bias; 0 is the generator's own density, 1 is flat.
        explore: share of the samples, in [0, 1), whose y is drawn from b in place of the flow's density; if not 0,
            rounded to whole samples and at least one.
    """
    links, base = generator.bijector.links, generator.base
    if not (flatten or explore) or len(links) < 2:
        return _as_generated(generator, n)
    first, rest = links[0], links[1:]
    n_new = max(1, round(explore * n)) if explore else 0

    def draw(params: Params, key: Key) -> Proposed:
        key_pool, key_pick, key_new = jax.random.split(key, 3)
        z = base.sample(key_pool, n * POOL)
        y, log_det = first.forward(params[0], z)
        usable = jnp.isfinite(log_det)
        log_mean = jax.nn.logsumexp(jnp.where(usable, flatten * log_det, -jnp.inf)) - jnp.log(
            n * POOL
        )

        def flattened(log_det: Array) -> Array:
            return 0.5 + 0.5 * jnp.exp(flatten * log_det - log_mean)

        bias = jnp.where(usable, flattened(log_det), 0.0)
        picked = systematic(key_pick, bias, n - n_new)
        x, log_det, log_base = y[:, picked], log_det[picked], base.log_prob(z[:, picked])
        if n_new:
            new = base.sample(key_new, n_new)
            z_new, turned = first.inverse(params[0], new)
            x = jnp.concatenate([x, new], axis=1)
            log_det = jnp.concatenate([log_det, -turned])
            log_base = jnp.concatenate([log_base, base.log_prob(z_new)])
        log_q = log_base - log_det
        share = n_new / n
        log_own = jnp.log((1 - share) * flattened(log_det))
        log_even = (
            jnp.log(share) + base.log_prob(x) - log_q
        )  # of a flow that is almost nowhere, huge
        log_bias = jnp.logaddexp(log_own, log_even)
        own = jnp.exp(log_own - log_bias)
        log_soft = log_q - base.log_prob(x)
        # a point that cannot be inverted has no density, and weighs nothing later on
        known = jnp.isfinite(log_bias)
        log_bias, own = jnp.where(known, log_bias, 0.0), jnp.where(known, own, 0.0)
        for link, p in zip(rest, params[1:], strict=True):
            x, log_det = link.forward(p, x)
            log_q = log_q - log_det
        return Proposed(x, log_q, log_bias, own, log_soft)

    return draw


def _as_generated(generator: Generator, n: int) -> Proposal:
    def draw(params: Params, key: Key) -> Proposed:
        drawn = generator.sample(key, params, n)
        zero = jnp.zeros_like(drawn.log_prob)
        return Proposed(drawn.x, drawn.log_prob, zero, 1 + zero, zero)

    return draw


def systematic(key: Key, weights: Array, n: int) -> Array:
    """n indices, each in proportion to its weight: evenly spaced points on the cumulated weights."""
    edges = jnp.cumsum(weights)
    at = (jnp.arange(n) + jax.random.uniform(key)) / n * edges[-1]
    return jnp.clip(jnp.searchsorted(edges, at, side="right"), 0, len(weights) - 1)
