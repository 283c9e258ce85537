"""The loss of flow annealed importance sampling bootstrap, on configurations drawn from its buffer.

A configuration whose weight under the target p^2/q_old was w stays in the buffer while the generator goes on from
q_old to q, so that its weight is by now w q_old/q. Rows are drawn in proportion to w, and the rest counts here:
-E[min(q_old/q, cap) ln q], whose gradient is that of the alpha-2 divergence of the target from the generator
(Midgley et al. 2023, arXiv:2208.01893, Eqs. 4 and 9).
"""

import dataclasses

import jax
import jax.numpy as jnp

from jbg.generator import Generator
from jbg.interfaces import ConfigError, Loss
from jbg.losses.terms import LossContext, check_weights


@dataclasses.dataclass(frozen=True)
class AlphaDivergence:
    """The alpha-2 divergence, on the rows of a `training.Bootstrap` buffer; see `make_alpha_divergence_loss`.

    Attributes:
        weight: of the term in the sum.
        largest: cap of the weight q_old/q by which a configuration counts.

    Raises:
        ConfigError: a number out of range.
    """

    weight: float = 1.0
    _: dataclasses.KW_ONLY
    largest: float = 10.0

    def __post_init__(self):
        check_weights(self)
        if not self.largest > 0:
            raise ConfigError(f"AlphaDivergence: largest must be > 0, got {self.largest}")

    @property
    def averages(self) -> bool:
        return True

    def build(self, context: LossContext) -> Loss:
        if context.columns != ("log_q",):
            raise ConfigError(
                "AlphaDivergence: needs rows with ln q, which a buffer=Bootstrap(...) of the stage makes, "
                f"got columns {', '.join(context.columns) or 'none'}"
            )
        return make_alpha_divergence_loss(context.generator, largest=self.largest)

    def energies(self, batch: int) -> int:
        del batch
        return 0


def make_alpha_divergence_loss(generator: Generator, *, largest: float = 10.0) -> Loss:
    """The loss for batches ``(dim + 1, n)``, whose last row is ln q_old; ``largest`` caps q_old/q."""

    def loss(params, batch, key):
        del key
        x, log_q_old = batch[:-1], batch[-1]
        log_q = generator.log_prob(params, x)
        ratio = jnp.exp(jnp.minimum(log_q_old - jax.lax.stop_gradient(log_q), jnp.log(largest)))
        value = -jnp.mean(ratio * log_q)
        return value, {"nll": -jnp.mean(log_q), "correction": jnp.mean(ratio)}

    return loss
