"""Training by example: the negative log-likelihood of data."""

import dataclasses

import jax.numpy as jnp

from jbg.generator import Generator
from jbg.interfaces import Loss
from jbg.losses.columns import split_columns
from jbg.losses.log_dispersion import LogDispersion
from jbg.losses.terms import LossContext, check_weights


@dataclasses.dataclass(frozen=True)
class NLL:
    """Training by example, -E_data[ln q(x)] (`make_nll_loss`).

    Attributes:
        weight: of the term in the sum.
        dispersion: the spread of ln q + u over the same examples, from the same ln q; its weight is relative to
            that of the likelihood. None: the likelihood alone.
    """

    weight: float = 1.0
    _: dataclasses.KW_ONLY
    dispersion: LogDispersion | None = None

    def __post_init__(self):
        check_weights(self)

    @property
    def averages(self) -> bool:
        return self.dispersion is None or not self.dispersion.weight

    def build(self, context: LossContext) -> Loss:
        if self.dispersion is not None and self.dispersion.weight:
            return self.dispersion.beside_likelihood(context)
        return make_nll_loss(context.generator, columns=context.columns)

    def energies(self, batch: int) -> int:
        del batch
        return 0


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
