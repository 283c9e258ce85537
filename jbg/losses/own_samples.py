"""Training on the flow's own samples with their energies: no forces, and rare states are kept.

Samples are drawn without gradient, their energies evaluated once, and ln q of these fixed points is
differentiated. Two objectives share the samples:

- importance-weighted forward KL, -sum_i w_i ln q(x_i) with self-normalised weights w ~ exp(-u)/q, truncated at
  sqrt(n) times their mean (Ionides 2008) so that one sample cannot own a step: mode covering;
- log-variance divergence (Richter et al. 2020, arXiv:2010.10436), the spread of ln q(x) + u(x), with a Huber
  loss in place of the square: flattens the weights where samples are plentiful.
"""

import jax
import jax.numpy as jnp
from jax import Array

from jbg.generator import Generator
from jbg.interfaces import Loss, Target


def _mean(x: Array, axis_name: str | None) -> Array:
    value = jnp.mean(x)
    return value if axis_name is None else jax.lax.pmean(value, axis_name)


def _max(x: Array, axis_name: str | None) -> Array:
    value = jnp.max(x)
    return value if axis_name is None else jax.lax.pmax(value, axis_name)


def truncated_weights(log_w: Array, n: int, axis_name: str | None = None) -> tuple[Array, Array]:
    """Importance weights of mean 1, truncated at sqrt(n) times the mean; and the Kish fraction before that.

    Args:
        log_w: ``(n_local,)`` log-weights; -inf for samples that count for nothing.
        n: number of samples over all devices. axis_name: mesh axis they are spread over.
    """
    w = jnp.exp(log_w - _max(log_w, axis_name))
    w = w / _mean(w, axis_name)
    ess = 1.0 / _mean(w * w, axis_name)
    w = jnp.minimum(w, jnp.sqrt(float(n)))
    return w / _mean(w, axis_name), ess


def make_own_samples_loss(
    generator: Generator,
    target: Target,
    *,
    n_samples: int,
    w_forward_kl: float = 1.0,
    w_log_variance: float = 0.3,
    huber: float = 1.0,
    axis_name: str | None = None,
) -> Loss:
    """w_forward_kl * weighted forward KL + w_log_variance * Huber log-variance; see the module's text.

    Args:
        n_samples: drawn per call on this device.
        huber: where the log-variance turns from square to linear, in kT.
        axis_name: mesh axis over which batch means are taken; None on a single device. The centre of the
            log-variance is then the mean of the devices' medians.
    """

    def loss(params, batch, key):
        del batch
        drawn = generator.sample(jax.lax.stop_gradient(params), key, n_samples)
        x, log_q_drawn = jax.lax.stop_gradient((drawn.x, drawn.log_prob))
        u = jax.lax.stop_gradient(target.reduced_energy(x))
        valid = jnp.isfinite(u) & jnp.isfinite(log_q_drawn)
        log_w = jnp.where(valid, -u - log_q_drawn, -jnp.inf)
        n_total = n_samples * (1 if axis_name is None else jax.lax.axis_size(axis_name))
        w, ess = truncated_weights(log_w, n_total, axis_name)

        log_q = generator.log_prob(params, jnp.where(valid, x, 0.0))
        forward_kl = -jnp.mean(jnp.where(valid, w * log_q, 0.0))
        residual = jnp.where(valid, log_q + u, 0.0)
        share = _mean(valid.astype(x.dtype), axis_name)
        # the median: a few clashes must not move the centre that the bulk is drawn to
        centre = jnp.nanmedian(jnp.where(valid, jax.lax.stop_gradient(residual), jnp.nan))
        centre = centre if axis_name is None else jax.lax.pmean(centre, axis_name)
        spread = jnp.mean(jnp.where(valid, _huber(residual - centre, huber), 0.0)) / share
        value = w_forward_kl * forward_kl + w_log_variance * spread
        return value, {"forward_kl": forward_kl, "log_variance": spread, "ess": ess}

    return loss


def _huber(r: Array, delta: float) -> Array:
    a = jnp.abs(r)
    return jnp.where(a <= delta, 0.5 * r * r, delta * (a - 0.5 * delta))
