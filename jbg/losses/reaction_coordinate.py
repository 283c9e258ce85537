"""Negative entropy of one or two collective variables of generated samples: spreads them along these.

Minimised by a flat distribution of r between its bounds, so that a flow trained with it also fills barriers. What
it generates is then not Boltzmann distributed; reweighted averages are. All functions take r of *generated*
samples, through which gradients reach the network. Samples outside the bounds take no part (but in
`plane_kernels`): they are neither drawn in nor pushed out, and the caller should watch their share.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jbg.interfaces import CollectivePlane, CollectiveVariable, ConfigError, Loss
from jbg.losses.entropies import (
    check_bounds,
    check_plane,
    entropy_integral,
    kernel_entropy,
    plane_integral,
    plane_kernels,
    within,
    within_plane,
)
from jbg.losses.terms import LossContext, check_weights, samples_per_tau
from jbg.targets import check_taus

RC_FORMS = {"integral": entropy_integral, "kernels": kernel_entropy}
PLANE_FORMS = {"integral": plane_integral, "kernels": plane_kernels}


@dataclasses.dataclass(frozen=True)
class ReactionCoordinate:
    """Entropy along the system's collective variable, or over its plane of two, within bounds (see the module).

    Beside a reverse KL, ``ReverseKL(1.0, along=ReactionCoordinate(5.0))`` takes both from the same samples.

    Attributes:
        weight: of the term in the sum, or relative to the reverse KL that it stands in.
        form: "integral" (`entropy_integral`, `plane_integral`) or "kernels" (`kernel_entropy`, `plane_kernels`).
        taus: relative temperatures, which share the samples equally.

    Raises:
        ConfigError: a number out of range, or an unknown form.
    """

    weight: float = 1.0
    _: dataclasses.KW_ONLY
    form: str = "integral"
    taus: tuple[float, ...] = (1.0,)

    def __post_init__(self):
        check_weights(self)
        check_taus(self.taus)
        if self.form not in RC_FORMS:
            raise ConfigError(
                f"ReactionCoordinate: form must be one of {', '.join(RC_FORMS)}, got {self.form!r}"
            )

    def build(self, context: LossContext) -> Loss:
        spread, whole = self.spread_of(context.collective_variable), context.whole
        n = samples_per_tau("ReactionCoordinate", context.n_samples, self.taus)

        def loss(params, batch, key):
            del batch
            tau = jnp.repeat(jnp.asarray(self.taus), n)
            z = whole.base.sample(key, context.n_samples, tau)
            return spread(whole.bijector.forward(params, z)[0], len(self.taus))

        return context.of_flow(loss)

    def energies(self, batch: int) -> int:
        del batch
        return 0

    def spread_of(
        self, variable: CollectiveVariable | CollectivePlane | None
    ) -> Callable[[Array, int], tuple[Array, dict[str, Array]]]:
        """(x ``(dim, n_taus * n)``, n_taus) -> negative entropy, averaged over temperatures, and what is logged.

        Raises:
            ConfigError: no variable, or one without usable bounds.
        """
        if variable is None:
            raise ConfigError(
                "ReactionCoordinate: this system has no collective variable to train along"
            )
        if isinstance(variable, CollectivePlane):
            plane = check_plane(variable.bounds)
            of_tau = lambda r: PLANE_FORMS[self.form](r, plane)
            inside = lambda r: within_plane(r, plane)
        else:
            bounds = check_bounds(variable.bounds)
            of_tau = lambda r: RC_FORMS[self.form](r, bounds)
            inside = lambda r: within(r, bounds)

        def spread(x: Array, n_taus: int) -> tuple[Array, dict[str, Array]]:
            r = variable.of(x)
            r = r.reshape(*r.shape[:-1], n_taus, -1)
            value = jnp.mean(jax.vmap(of_tau, in_axes=r.ndim - 2)(r))
            return value, {"rc": value, "rc_outside": jnp.mean(~inside(r))}

        return spread


def trains_along(terms: Sequence[Any]) -> bool:
    """Whether one of the terms of a stage takes the entropy along the collective variable."""
    parts = [part for term in terms for part in (term, getattr(term, "along", None))]
    return any(isinstance(part, ReactionCoordinate) and part.weight for part in parts)
