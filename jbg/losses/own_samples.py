"""Training on the flow's own samples with their energies: no forces, and rare states are kept.

Samples are drawn without gradient, their energies evaluated once, and ln q of these fixed points is
differentiated. Two objectives share the samples:

- importance-weighted forward KL, -sum_i w_i ln q(x_i) with self-normalised weights w ~ exp(-u)/q, truncated at
  sqrt(n) times their mean (Ionides 2008) so that one sample cannot own a step: mode covering. Because
  E_q[grad ln q] = 0, the gradient is taken with w - c in place of w: the same on average where no sample is
  bounded (below), and at c = 1 without noise or bias where w = 1. c falls to zero with the effective sample
  size, where it has nothing to give;
- log-variance divergence (Richter et al. 2020, arXiv:2010.10436), the spread of ln q(x) + u(x), with a Huber
  loss in place of the square: flattens the weights wherever samples are drawn. It may be taken under any
  density, and that of the proposal is the one taken, but for what exploration alone reached where the potential
  of mean force of the soft variables y is more than DESERT above its median: there the flow would learn to have
  ever less of what weighs nothing. It is estimated by u + ln q(x | y), which in the mean is too high by how far
  the flow's stiff variables are from theirs there, so that a basin that the flow hardly knows is left to the
  weighted forward KL at first.

Both aim at the target itself where the weights carry a batch: where its effective sample size is below LEAST_ESS,
they aim at q^(1-gamma) p^gamma instead, as far towards the target as that size allows (an intermediate target with
a trust region, as in von Klitzing et al. 2025, arXiv:2510.18460). A flow far from its target is then led there in
steps; raw weights would teach it the one sample that happens to dominate.

Where samples are drawn is a choice of its own, `jbg.losses.proposals`; for a density q s the weights above are
those divided by s. A sample that the flow does not find back (its ln q forward and inverse differ) has a gradient
that means nothing, and counts for nothing.

The gradient of each sample is bounded by itself (`losses.calmness`).
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jbg.flows import at_temperature
from jbg.generator import Generator, pull_back
from jbg.interfaces import ConfigError, Key, Loss, Params, Target
from jbg.losses.calmness import calmness
from jbg.losses.combine import mean_over
from jbg.losses.proposals import make_proposal
from jbg.losses.robust import huber as huber_loss
from jbg.losses.terms import LossContext, check_weights, samples_per_tau
from jbg.losses.weights import (
    FULL_BASELINE,
    ess_of_generator,
    ratio,
    truncated_weights,
    trusted_power,
)
from jbg.targets import check_taus, heated

ROUND_TRIP = 0.05  # nats that ln q of a sample may change when it is inverted
DESERT = 8.0  # kT above the median potential of mean force, where exploration has nothing to teach


@dataclasses.dataclass(frozen=True)
class OwnSamples:
    """Weighted forward KL and log-variance of the same own samples, with energies, without forces; see above.

    Attributes:
        weight: of the term in the sum.
        forward_kl: weight of the importance-weighted forward KL, relative to that of the term.
        log_variance: weight of the log-variance, likewise.
        huber: where the log-variance turns from square to linear, in kT.
        flatten: strength in [0, 1] by which the first link of the flow is flattened when samples are drawn
            (`jbg.losses.proposals`); 0 draws from the generator as it is.
        explore: share in [0, 1) of these samples whose soft variables come from the base instead.
        taus: relative temperatures, which share the samples equally.

    Raises:
        ConfigError: a number out of range.
    """

    weight: float = 1.0
    _: dataclasses.KW_ONLY
    forward_kl: float = 1.0
    log_variance: float = 0.3
    huber: float = 1.0
    flatten: float = 0.0
    explore: float = 0.0
    taus: tuple[float, ...] = (1.0,)

    def __post_init__(self):
        check_weights(self, "forward_kl", "log_variance")
        check_taus(self.taus)
        if not self.huber > 0:
            raise ConfigError(f"OwnSamples: huber must be > 0, got {self.huber}")
        if not 0 <= self.flatten <= 1:
            raise ConfigError(f"OwnSamples: flatten must lie between 0 and 1, got {self.flatten}")
        if not 0 <= self.explore < 1:
            raise ConfigError(f"OwnSamples: explore must lie in [0, 1), got {self.explore}")

    def build(self, context: LossContext) -> Loss:
        target, coords = context.target_for(self), context.coords
        n = samples_per_tau("OwnSamples", context.n_samples, self.taus)

        def at(tau: float | Array) -> Loss:
            # both as they are at tau, seen as if at 1: u/tau is divided before the coordinates come in
            own, density = context.generator, target
            if self.taus != (1.0,):
                own = dataclasses.replace(own, base=at_temperature(own.base, tau))
                density = heated(target, tau)
            density = density if coords is None else pull_back(density, coords)
            return make_own_samples_loss(own, density, self, n_samples=n)

        if self.taus == (1.0,):
            return _or_nan(at(1.0))
        return _or_nan(mean_over(jnp.asarray(self.taus), at))

    def energies(self, batch: int) -> int:
        return batch


def _or_nan(loss: Loss) -> Loss:
    """NaN, so that the step is skipped and counted, where no own sample at any temperature is usable."""

    def checked(params, batch, key):
        value, aux = loss(params, batch, key)
        return jnp.where(aux["usable"] > 0, value, jnp.nan), aux

    return checked


class _Points(NamedTuple):
    """Own samples and what is known of them ``(n,)``, all constant but ``log_q``.

    ``valid`` ones have an energy as well as a density that the flow finds again (``usable``).
    """

    log_q: Array
    log_q_drawn: Array
    u: Array
    usable: Array
    valid: Array
    calm: Array
    log_bias: Array
    own: Array
    log_soft: Array


def make_own_samples_loss(
    generator: Generator,
    target: Target,
    settings: OwnSamples | None = None,
    *,
    n_samples: int,
) -> Loss:
    """forward_kl * weighted forward KL + log_variance * Huber log-variance, at tau = 1; see the module's text.

    Args:
        generator: draws the samples. target: density of the same variables.
        settings: `OwnSamples`, of which ``weight`` and ``taus`` are not read here.
        n_samples: drawn per call.
    """
    settings = settings or OwnSamples()
    draw = make_proposal(generator, n_samples, settings.flatten, settings.explore)

    def points(params: Params, key: Key) -> _Points:
        key_draw, key_calm = jax.random.split(key)
        proposed = draw(jax.lax.stop_gradient(params), key_draw)
        x, log_q_drawn, log_bias, own, log_soft = jax.lax.stop_gradient(proposed)
        u = jax.lax.stop_gradient(target.reduced_energy(x))
        finite = jnp.isfinite(log_q_drawn) & jnp.isfinite(x).all(0)
        log_q = generator.log_prob(params, jnp.where(finite, x, 0.0))
        usable = finite & (jnp.abs(jax.lax.stop_gradient(log_q) - log_q_drawn) < ROUND_TRIP)
        log_q = jnp.where(usable, log_q, 0.0)
        calm = calmness(generator, params, x, log_q, usable, key_calm)
        log_q = calm * log_q + jax.lax.stop_gradient((1 - calm) * log_q)
        valid = jnp.isfinite(u) & usable
        return _Points(log_q, log_q_drawn, u, usable, valid, calm, log_bias, own, log_soft)

    def loss(params, batch, key):
        del batch
        p = points(params, key)
        log_w = jnp.where(p.valid, -p.u - p.log_q_drawn, -jnp.inf)
        ess = ess_of_generator(log_w, p.log_bias)
        gamma = trusted_power(log_w, p.log_bias)
        w = truncated_weights(gamma * log_w - p.log_bias)
        forward_kl = _forward_kl(p, w, ess)
        spread = _log_variance(p, gamma, settings.huber)
        value = settings.forward_kl * forward_kl + settings.log_variance * spread
        aux = {"forward_kl": forward_kl, "log_variance": spread, "ess": ess, "power": gamma}
        share = jnp.mean(p.valid.astype(p.u.dtype))
        return value, aux | {"usable": share, "bounded": jnp.mean(p.usable & (p.calm < 1.0))}

    return loss


def _forward_kl(p: _Points, w: Array, ess: Array) -> Array:
    """-E[w ln q], with a gradient of (w - c) in place of w."""
    unit = jnp.where(p.usable, jnp.exp(-p.log_bias), 0.0)  # what q itself weighs under the proposal
    unit = ratio(unit, jnp.mean(unit))
    baseline = jnp.minimum(1.0, ess / FULL_BASELINE) * jnp.mean(unit * p.log_q)
    return -jnp.mean(w * p.log_q) + baseline - jax.lax.stop_gradient(baseline)


def _log_variance(p: _Points, gamma: Array, huber: float) -> Array:
    """The Huber spread of gamma (ln q + u) about its centre, of points that are no desert."""
    residual = jnp.where(p.valid, p.log_q + p.u, 0.0)
    # the median: a few clashes must not move the centre that the bulk is drawn to
    central = p.valid & (p.own > 0.5)
    mean_force = p.u + p.log_q_drawn - p.log_soft  # kT, against the base
    centre, usual = (
        _centre(jnp.where(central, jax.lax.stop_gradient(f), jnp.nan))
        for f in (residual, mean_force)
    )
    excess = gamma * (residual - centre)
    known = jnp.where(p.valid, jnp.where(mean_force < usual + DESERT, 1.0, p.own), 0.0)
    return ratio(jnp.mean(known * huber_loss(excess, huber)), jnp.mean(known))


def _centre(residual: Array) -> Array:
    """The median of what is not NaN; 0 where nothing is."""
    median = jnp.nanmedian(residual)
    return jnp.where(jnp.isfinite(median), median, 0.0)
