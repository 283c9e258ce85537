"""Keeps angles that a flow generates on the line within one turn."""

import dataclasses

import jax.numpy as jnp
from jax import Array

from jbg.interfaces import ConfigError, Loss
from jbg.losses.terms import LossContext, check_weights, samples_per_tau
from jbg.targets import check_taus


@dataclasses.dataclass(frozen=True)
class TorsionRange:
    """Squares of how far the angles of own samples lie beyond [-pi, pi], summed over angles (Noe et al. 2019,
    supplement): for flows that make angles on the line (`flows.windows`).

    Attributes:
        weight: of the term in the sum.
        taus: relative temperatures, which share the samples equally.

    Raises:
        ConfigError: a number out of range.
    """

    weight: float = 1.0
    _: dataclasses.KW_ONLY
    taus: tuple[float, ...] = (1.0,)

    def __post_init__(self):
        check_weights(self)
        check_taus(self.taus)

    @property
    def averages(self) -> bool:
        return True

    def build(self, context: LossContext) -> Loss:
        """The loss of samples of ``context.generator``, whose first ``context.n_circular`` variables are angles; 0
        where none are.

        Raises:
            ConfigError: nothing says how many there are.
        """
        generator, count = context.generator, context.n_circular
        if count is None:
            raise ConfigError(
                "TorsionRange: expected n_circular, how many of the first variables are angles"
            )
        n = samples_per_tau("TorsionRange", context.n_samples, self.taus)

        def loss(params, batch, key):
            del batch
            tau = jnp.repeat(jnp.asarray(self.taus), n)
            z = generator.base.sample(key, context.n_samples, tau)
            angles = generator.bijector.forward(params, z)[0][:count]
            value = jnp.mean(beyond(angles))
            outside = jnp.any(jnp.abs(angles) > jnp.pi, axis=0)
            return value, {"torsion_range": value, "torsions_outside": jnp.mean(outside)}

        return loss

    def energies(self, batch: int) -> int:
        del batch
        return 0


def beyond(angles: Array) -> Array:
    """sum_i max(|v_i| - pi, 0)^2 of angles ``(n, *batch)``: ``(*batch,)``, square radians."""
    return jnp.sum(jnp.square(jnp.maximum(jnp.abs(angles) - jnp.pi, 0.0)), axis=0)
