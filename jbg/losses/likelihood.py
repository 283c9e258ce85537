"""Training by example: the negative log-likelihood of data."""

import jax.numpy as jnp

from jbg.generator import Generator
from jbg.interfaces import Loss


def make_nll_loss(generator: Generator) -> Loss:
    """J_ML = -E_data[ln q(x)], Noe et al. 2019 Eq. 2 with its constant kept; batch is x ``(dim, n)``."""

    def loss(params, batch, key):
        del key
        value = -jnp.mean(generator.log_prob(params, batch))
        return value, {"nll": value}

    return loss
