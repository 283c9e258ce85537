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

The gradient of each sample is bounded by itself (`calmness`). A flow may wind itself up where no data hold it: in
some narrow place a coupling depends so sharply on its other half that the gradient of ln q is ten thousand times
that of a usual sample. A bound on the whole gradient then follows these few, which makes the place narrower.
"""

import jax
import jax.numpy as jnp
from jax import Array

from jbg.generator import Generator
from jbg.interfaces import Key, Loss, Params, Target
from jbg.losses.proposals import make_proposal
from jbg.losses.robust import huber as huber_loss

ROUND_TRIP = 0.05  # nats that ln q of a sample may change when it is inverted
FULL_BASELINE = 0.2  # ESS fraction from which on c = 1
DESERT = 8.0  # kT above the median potential of mean force, where exploration has nothing to teach
CALM = 10.0  # times the typical sensitivity of ln q, from which on a sample counts for less
NUDGE = 1e-3  # of every parameter, relative, to measure that sensitivity
LEAST_ESS = 0.1  # ESS fraction of a batch below which the target is tempered


def _mean(x: Array, axis_name: str | None) -> Array:
    value = jnp.mean(x)
    return value if axis_name is None else jax.lax.pmean(value, axis_name)


def _max(x: Array, axis_name: str | None) -> Array:
    """The largest, or 0 where all are -inf."""
    value = jnp.max(x)
    value = value if axis_name is None else jax.lax.pmax(value, axis_name)
    return jnp.where(jnp.isneginf(value), 0.0, value)


def _ratio(x: Array, y: Array) -> Array:
    """x / y, and 0 where y = 0: a batch without a usable sample counts for nothing."""
    return jnp.where(y > 0, x / jnp.where(y > 0, y, 1.0), 0.0)


def truncated_weights(log_w: Array, n: int, axis_name: str | None = None) -> Array:
    """Importance weights of mean 1, truncated at sqrt(n) times the mean (``(n_local,)``).

    Args:
        log_w: ``(n_local,)`` log-weights; -inf for samples that count for nothing.
        n: number of samples over all devices. axis_name: mesh axis they are spread over.
    """
    w = jnp.exp(log_w - _max(log_w, axis_name))
    w = jnp.minimum(_ratio(w, _mean(w, axis_name)), jnp.sqrt(float(n)))
    return _ratio(w, _mean(w, axis_name))


def ess_of_generator(log_w: Array, log_bias: Array, axis_name: str | None = None) -> Array:
    """Kish fraction of the generator's weights exp(log_w), from points drawn with a bias s = exp(log_bias).

    E_q[w]^2 / E_q[w^2], with E_q[f] = E[f/s] / E[1/s].
    """
    w = jnp.exp(log_w - _max(log_w, axis_name))
    per_bias = jnp.exp(-_max(-log_bias, axis_name) - log_bias)
    mean, square, one = (_mean(per_bias * f, axis_name) for f in (w, w * w, jnp.ones_like(w)))
    return _ratio(mean * mean, square * one)


def trusted_power(log_w: Array, log_bias: Array, axis_name: str | None = None) -> Array:
    """The largest gamma in (0, 1] at which weights exp(gamma log_w) keep an ESS fraction of LEAST_ESS."""

    def enough(gamma):
        return ess_of_generator(gamma * log_w, log_bias, axis_name) >= LEAST_ESS

    def halve(_, bracket):
        low, high = bracket
        middle = 0.5 * (low + high)
        good = enough(middle)
        return jnp.where(good, middle, low), jnp.where(good, high, middle)

    one = jnp.ones((), log_w.dtype)
    low, _ = jax.lax.fori_loop(0, 16, halve, (0 * one, one))
    return jnp.where(enough(one), one, jnp.maximum(low, 1e-4))


def calmness(
    generator: Generator, params: Params, x: Array, log_q: Array, usable: Array, key: Key
) -> Array:
    """What the gradient of each sample is multiplied with, ``(n,)``: min(1, CALM median(s) / s), constant.

    s is how much its ln q changes when each parameter is changed by about a thousandth of itself, in one
    direction at random: of a sample whose gradient, times the parameters, is much larger than that of others it is
    large too, but for chance. This is clipping sample by sample for the price of one more inversion. The median is
    over the samples of this device.
    """
    params, log_q = jax.lax.stop_gradient((params, log_q))
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(key, max(1, len(leaves)))
    nudge = lambda key, p: p * (1 + NUDGE * jax.random.normal(key, p.shape, p.dtype))
    nudged = tree.unflatten([nudge(key, p) for key, p in zip(keys, leaves, strict=False)])
    change = jnp.abs(generator.log_prob(nudged, jnp.where(usable, x, 0.0)) - log_q)
    known = usable & jnp.isfinite(change)
    typical = jnp.nan_to_num(jnp.nanmedian(jnp.where(known, change, jnp.nan)))
    # a flow that is still the identity does not change at all
    least = 0.1 * NUDGE
    calm = CALM * (typical + least) / (jnp.where(known, change, 0.0) + least)
    return jnp.where(known, jnp.minimum(1.0, calm), 0.0)


def make_own_samples_loss(
    generator: Generator,
    target: Target,
    *,
    n_samples: int,
    w_forward_kl: float = 1.0,
    w_log_variance: float = 0.3,
    huber: float = 1.0,
    flatten: float = 0.0,
    explore: float = 0.0,
    axis_name: str | None = None,
) -> Loss:
    """w_forward_kl * weighted forward KL + w_log_variance * Huber log-variance; see the module's text.

    Args:
        n_samples: drawn per call on this device.
        huber: where the log-variance turns from square to linear, in kT.
        flatten: strength in [0, 1] by which the first link of the flow is flattened when samples are drawn
            (`jbg.losses.proposals`); 0 draws from the generator as it is.
        explore: share of these samples whose soft variables come from the base instead.
        axis_name: mesh axis over which batch means are taken; None on a single device. The centre of the
            log-variance is then the mean of the devices' medians.
    """
    draw = make_proposal(generator, n_samples, flatten, explore)

    def loss(params, batch, key):
        del batch
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
        log_w = jnp.where(valid, -u - log_q_drawn, -jnp.inf)
        n_total = n_samples * (1 if axis_name is None else jax.lax.axis_size(axis_name))
        ess = ess_of_generator(log_w, log_bias, axis_name)
        gamma = trusted_power(log_w, log_bias, axis_name)
        w = truncated_weights(gamma * log_w - log_bias, n_total, axis_name)
        unit = jnp.where(usable, jnp.exp(-log_bias), 0.0)  # what q itself weighs under the proposal
        unit = _ratio(unit, _mean(unit, axis_name))
        baseline = jnp.minimum(1.0, ess / FULL_BASELINE) * jnp.mean(unit * log_q)
        forward_kl = -jnp.mean(w * log_q) + baseline - jax.lax.stop_gradient(baseline)
        residual = jnp.where(valid, log_q + u, 0.0)
        share = _mean(valid.astype(x.dtype), axis_name)
        # the median: a few clashes must not move the centre that the bulk is drawn to
        central = valid & (own > 0.5)
        mean_force = u + log_q_drawn - log_soft  # kT, against the base
        centre, usual = (
            _centre(jnp.where(central, jax.lax.stop_gradient(f), jnp.nan), axis_name)
            for f in (residual, mean_force)
        )
        excess = gamma * (residual - centre)
        known = jnp.where(valid, jnp.where(mean_force < usual + DESERT, 1.0, own), 0.0)
        spread = _ratio(jnp.mean(known * huber_loss(excess, huber)), _mean(known, axis_name))
        value = w_forward_kl * forward_kl + w_log_variance * spread
        aux = {"forward_kl": forward_kl, "log_variance": spread, "ess": ess, "power": gamma}
        return value, aux | {"usable": share, "bounded": jnp.mean(usable & (calm < 1.0))}

    return loss


def _centre(residual: Array, axis_name: str | None) -> Array:
    """The median, or the mean of the devices' medians, of what is not NaN; 0 where nothing is."""
    median = jnp.nanmedian(residual)
    known = jnp.isfinite(median)
    total, count = jnp.where(known, median, 0.0), known.astype(median.dtype)
    if axis_name is not None:
        total, count = jax.lax.psum((total, count), axis_name)
    return _ratio(total, count)
