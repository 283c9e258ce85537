"""The score of a flow, d ln q(x)/dx, carried along with the sample it belongs to.

With x = F(z), ln q(x) = ln p(F^-1(x)) + ln|det dF^-1/dx|, so the score of x is the pullback of (d ln p/dz, 1)
through the inverse, layer by layer (Vaitl et al. 2022, arXiv:2206.09016; 2024, arXiv:2403.15881). Each layer is
taken at the point that sampling has just reached: nothing is inverted from the far end, so errors do not add up,
and a coupling evaluates its network once for both. Parameters are constants to the score, and it to them: it is
the derivative by x alone, and no gradient flows through it.
"""

import jax
import jax.numpy as jnp
from jax import Array

from jbg.interfaces import BaseDistribution, Bijector, Params


def push_score(
    bijector: Bijector, params: Params, z: Array, score: Array
) -> tuple[Array, Array, Array]:
    """(x, ln|det dx/dz|, d ln q/dx) of the samples z of a density p, q the density of x.

    x and the log-determinant are those of ``bijector.forward``, with their gradients; the score ``(dim_out,
    *batch)`` has none. A map without a ``forward_score`` pays for one inverse pass and its gradient by x. Where x
    has more rows than z, the score is one of the many with the same product with every dx/dz.

    Args:
        bijector: z -> x.
        params: of ``bijector``.
        z: ``(dim_in, *batch)``.
        score: d ln p/dz, of z's shape; `base_score` where p is the base.
    """
    if bijector.forward_score is not None:
        return bijector.forward_score(params, z, score)
    x, log_det = bijector.forward(params, z)
    fixed = jax.lax.stop_gradient(params)
    _, pull = jax.vjp(lambda x: bijector.inverse(fixed, x), jax.lax.stop_gradient(x))
    (pulled,) = pull((jax.lax.stop_gradient(score), jnp.ones_like(log_det)))
    return x, log_det, jax.lax.stop_gradient(pulled)


def base_score(base: BaseDistribution, z: Array, tau: Array | float = 1.0) -> Array:
    """d ln p_tau/dz of the base, with z's shape: where a score starts."""
    return jax.grad(lambda z: base.log_prob(z, tau).sum())(z)
