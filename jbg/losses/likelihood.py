"""Training by example: the negative log-likelihood of data."""

import jax.numpy as jnp

from jbg.generator import Generator
from jbg.interfaces import Loss
from jbg.losses.columns import split_columns


def make_nll_loss(generator: Generator, *, columns: tuple[str, ...] = ()) -> Loss:
    """J_ML = -E_data[ln q(x)], Noe et al. 2019 Eq. 2 with its constant kept; batch is x ``(dim, n)``.

    ``columns``: what else stands in the batch (`losses.columns`); with "tau" among it, ln q of each configuration
    is that of the base at the temperature it was simulated at.
    """

    def loss(params, batch, key):
        del key
        x, known = split_columns(batch, columns)
        value = -jnp.mean(generator.log_prob(params, x, known.get("tau", 1.0)))
        return value, {"nll": value}

    return loss
