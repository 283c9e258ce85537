"""Training by example: the negative log-likelihood of data."""

import jax.numpy as jnp

from jbg.generator import Generator
from jbg.interfaces import Loss


def make_nll_loss(generator: Generator, *, with_tau: bool = False) -> Loss:
    """J_ML = -E_data[ln q(x)], Noe et al. 2019 Eq. 2 with its constant kept; batch is x ``(dim, n)``.

    ``with_tau``: a further row holds the relative temperature that each configuration was simulated at, and ln q
    is that of the base at this temperature.
    """

    def loss(params, batch, key):
        del key
        x, tau = (batch[:-1], batch[-1]) if with_tau else (batch, 1.0)
        value = -jnp.mean(generator.log_prob(params, x, tau))
        return value, {"nll": value}

    return loss
