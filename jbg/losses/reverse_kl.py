"""Training by energy: the reverse Kullback-Leibler divergence at one or several temperatures, and entropy along a
reaction coordinate of the same samples."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import cast

import jax
import jax.numpy as jnp
from jax import Array

from jbg.flows import base_score, push_score
from jbg.generator import Generator
from jbg.interfaces import (
    CollectivePlane,
    CollectiveVariable,
    ConfigError,
    Loss,
    Params,
    Target,
)
from jbg.losses.reaction_coordinate import ReactionCoordinate
from jbg.losses.terms import LossContext, check_weights, samples_per_tau
from jbg.targets import check_taus


@dataclasses.dataclass(frozen=True)
class ReverseKL:
    """Training by energy with forces, KL(q||p) of own samples (`make_kl_loss`).

    Attributes:
        weight: of the term in the sum.
        path_gradient: take the gradient through the samples alone.
        bound: of the gradient by x of each sample, in medians of the batch, for `path_gradient`; 0 for none. Among
            many stiff variables a sample with overlapping atoms may have 1e6 times the gradient of the others, and
            a bound on the whole gradient then follows that one alone.
        taus: relative temperatures, which share the samples equally.
        along: entropy along the collective variable of the same samples; its weight is relative to that of the
            divergence, its temperatures are those of the divergence.

    Raises:
        ConfigError: a number out of range, or temperatures of ``along`` that differ.
    """

    weight: float = 1.0
    _: dataclasses.KW_ONLY
    path_gradient: bool = False
    bound: float = 0.0
    taus: tuple[float, ...] = (1.0,)
    along: ReactionCoordinate | None = None

    def __post_init__(self):
        check_weights(self, "bound")
        check_taus(self.taus)
        if self.bound and not self.path_gradient:
            raise ConfigError(
                "ReverseKL: bound needs path_gradient, whose gradient goes through x alone"
            )
        if self.along is not None and self.along.taus not in ((1.0,), self.taus):
            raise ConfigError(
                f"ReverseKL: along has the taus of the divergence, {self.taus}, got {self.along.taus}; "
                "leave them out"
            )

    @property
    def averages(self) -> bool:
        return not self.bound and (self.along is None or not self.along.weight)

    def build(self, context: LossContext) -> Loss:
        loss = make_kl_loss(
            context.whole,
            context.target_for(self),
            n_samples=context.n_samples,
            taus=self.taus,
            path_gradient=self.path_gradient,
            bound=self.bound,
            along=self.along,
            collective_variable=context.collective_variable,
        )
        return context.of_flow(loss)

    def energies(self, batch: int) -> int:
        return batch


def make_kl_loss(
    generator: Generator,
    target: Target,
    *,
    n_samples: int,
    taus: Sequence[float] = (1.0,),
    path_gradient: bool = False,
    bound: float = 0.0,
    along: ReactionCoordinate | None = None,
    collective_variable: CollectiveVariable | CollectivePlane | None = None,
) -> Loss:
    """J_KL = E_z[u(F(z))/tau - ln|det dF/dz|] of generated samples; Noe et al. 2019, Eq. 1.

    Averaged over temperatures; z has variance tau. Bounded below by H(base) - ln Z_tau. Gradients go through the
    energy, so the target must give forces; give it a softened one. The ``n_samples`` are shared out among the
    temperatures.

    ``path_gradient``: the gradient of J_KL is taken through the samples alone ("sticking the landing", Roeder et
    al. 2017, arXiv:1703.09194; Vaitl et al. 2022, arXiv:2206.09016),

        E_z[(d/dx [u(x)/tau + ln q_tau(x)]) dF(z)/dtheta],

    that is without -E_q[d ln q/dtheta], which is zero in the mean but not in a batch. The same on average, and
    exactly zero for every sample once q_tau is the target. J_KL itself is the same number.

    Args:
        generator: of x. target: density of x.
        n_samples: drawn per call.
        taus: relative temperatures.
        path_gradient: see above.
        bound: of each sample's gradient by x, in medians of the batch; 0 for none.
        along: adds its weight times the negative entropy along ``collective_variable`` of the same samples.
        collective_variable: of x, one or a pair, for ``along``.

    Raises:
        ConfigError: when n_samples is not a multiple of the number of temperatures, or ``along`` has no collective
            variable or bounds to act on.
    """
    taus = tuple(taus)
    n = samples_per_tau("ReverseKL", n_samples, taus)
    spread = along.spread_of(collective_variable) if along is not None and along.weight else None

    def loss(params, batch, key):
        del batch
        # one temperature per sample, so that the whole batch is one pass and one energy call
        tau = jnp.repeat(jnp.asarray(taus), n)
        z = generator.base.sample(key, n_samples, tau)
        of = functools.partial(_by_path, bound) if path_gradient else _as_it_is
        x, per_sample = of(generator, target, params, z, tau)
        # a sample outside the coordinates' domain has no energy and, being cut off, no gradient
        inside = jnp.isfinite(per_sample)
        value = jnp.mean(jnp.where(inside, per_sample, 0.0))
        # nothing inside teaches nothing: a step that is not finite is skipped, counted, and in the end stops
        value = jnp.where(jnp.any(inside), value, jnp.nan)
        aux = {"kl": value, "outside": jnp.mean(~inside)}
        total = value
        if along is not None and spread is not None:
            rc, extra = spread(x, len(taus))
            total, aux = total + along.weight * rc, aux | extra
        return total, aux

    return loss


def _as_it_is(
    generator: Generator, target: Target, params: Params, z: Array, tau: Array
) -> tuple[Array, Array]:
    """x, and u(x)/tau - ln|det dx/dz| of each sample."""
    x, log_det = generator.bijector.forward(params, z)
    return x, target.reduced_energy(x) / tau - log_det


def _by_path(
    bound: float, generator: Generator, target: Target, params: Params, z: Array, tau: Array
) -> tuple[Array, Array]:
    """The same numbers, with the gradient through the samples alone."""
    score = base_score(generator.base, z, tau)
    x, log_det, score = push_score(generator.bijector, params, z, score)
    x = cast(Array, bounded(x, bound)) if bound else x
    u = target.reduced_energy(x) / tau
    return x, _through_samples(u - log_det, u, x, score)


def _through_samples(value: Array, u: Array, x: Array, score: Array) -> Array:
    """``value``, with the gradient of u(x) + ln q(x) by x alone; ``score`` is d ln q/dx."""
    # a score that is not finite belongs to a sample that counts for nothing, and 0 * inf is NaN
    usable = jnp.isfinite(score).all(0)
    path = u + jnp.sum(jnp.where(usable[None], score, 0.0) * x, 0)
    fixed = jax.lax.stop_gradient(jnp.where(usable, value, jnp.inf))
    return fixed + (path - jax.lax.stop_gradient(path))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def bounded(x: Array, bound: float) -> Array:
    """x ``(dim, n)``; on the way back the gradient of each sample is at most ``bound`` times as long as the median
    of those that have one, and 0 where it is not finite."""
    del bound
    return x


def _bounded_forward(x: Array, bound: float) -> tuple[Array, None]:
    del bound
    return x, None


def _bounded_backward(bound: float, _: None, gradient: Array) -> tuple[Array]:
    length = jnp.linalg.norm(gradient, axis=0)
    usable = jnp.isfinite(length) & (length > 0)
    typical = jnp.nanmedian(jnp.where(usable, length, jnp.nan))
    factor = jnp.minimum(1.0, bound * typical / jnp.where(usable, length, 1.0))
    shortened = gradient * jnp.where(usable, factor, 0.0)[None]
    return (jnp.where(usable[None], shortened, 0.0),)


bounded.defvjp(_bounded_forward, _bounded_backward)
