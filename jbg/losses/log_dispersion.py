"""Training by example with the energies of the examples: the spread of ln q(x) + u(x) over the data.

Off-policy log-dispersion regularisation, Schopmans et al. 2026, arXiv:2602.03729, which generalises the
log-variance of Richter et al. 2020, arXiv:2010.10436, and takes it under the data: ln q + u is constant where q is
the target, so whatever spread it has is an error, and the simulation has computed all the energies it needs. The
likelihood says that q should be high at every example; the spread says how high at one relative to another, which
keeps a flow from learning a small set by heart. The examples need no weights: the spread is zero for q = p
whatever density they have.

The spread taken here is the least mean of a Huber loss about any centre; half the variance for a wide ``delta``. A
plain variance is fragile: while the flow is far from its target, ln q + u of a few strained examples lies tens of
kT away, and their squares are the batch. The centre stands for the unknown ln Z. It is the minimiser itself, so
that the mean gradient by ln q is zero: the loss neither raises nor lowers ln q of the data as a whole, which the
likelihood does. About a median it would.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jbg.generator import Generator
from jbg.interfaces import ConfigError, Loss
from jbg.losses.columns import split_columns
from jbg.losses.robust import huber, huber_centre
from jbg.losses.terms import LossContext, check_weights


@dataclasses.dataclass(frozen=True)
class LogDispersion:
    """The spread of ln q(x) + u(x) over data whose energies are known; see the module's text.

    Beside a likelihood of the same data, ``NLL(1.0, dispersion=LogDispersion(10.0))`` computes ln q once for both.

    Attributes:
        weight: of the term in the sum, or relative to the likelihood that it stands in.
        delta: where the Huber loss turns from square to linear, in kT.

    Raises:
        ConfigError: a number out of range.
    """

    weight: float = 1.0
    _: dataclasses.KW_ONLY
    delta: float = 1.0

    def __post_init__(self):
        check_weights(self)
        if not self.delta > 0:
            raise ConfigError(f"LogDispersion: delta must be > 0, got {self.delta}")

    def build(self, context: LossContext) -> Loss:
        return make_log_dispersion_loss(
            context.generator,
            columns=context.columns,
            delta=self.delta,
        )

    def beside_likelihood(self, context: LossContext) -> Loss:
        """-E_data[ln q(x)] + weight times the spread."""
        return make_log_dispersion_loss(
            context.generator,
            columns=context.columns,
            w_nll=1.0,
            w_log_dispersion=self.weight,
            delta=self.delta,
        )

    def energies(self, batch: int) -> int:
        del batch
        return 0


def make_log_dispersion_loss(
    generator: Generator,
    *,
    columns: tuple[str, ...] = ("u",),
    w_nll: float = 0.0,
    w_log_dispersion: float = 1.0,
    delta: float = 1.0,
) -> Loss:
    """w_log_dispersion min_c E_data[huber(ln q(x) + u(x) - c)] - w_nll E_data[ln q(x)]; see the module's text.

    The likelihood is there as well because both ask for the same ln q, which then is computed once.

    Args:
        generator: the flow.
        columns: what stands below the coordinates of a batch (`losses.columns`), the reduced energy "u" among it.
        w_nll: weight of the negative log-likelihood.
        w_log_dispersion: weight of the dispersion.
        delta: where the Huber loss turns from square to linear, in kT.

    Raises:
        ConfigError: data without energies, or at several temperatures, each of which has a constant of its own.
    """
    if "u" not in columns or "tau" in columns:
        raise ConfigError(
            "LogDispersion: needs data of one temperature with their energies, "
            f"got columns {', '.join(columns) or 'none'}"
        )

    def loss(params, batch, key):
        del key
        x, known = split_columns(batch, columns)
        log_q = generator.log_prob(params, x)
        residual = log_q + known["u"]
        centre = huber_centre(jax.lax.stop_gradient(residual), delta)
        spread, nll = jnp.mean(huber(residual - centre, delta)), -jnp.mean(log_q)
        return w_log_dispersion * spread + w_nll * nll, {"nll": nll, "log_dispersion": spread}

    return loss
