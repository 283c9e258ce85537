"""Training by energy: the reverse Kullback-Leibler divergence at one or several temperatures."""

from collections.abc import Sequence

import jax.numpy as jnp

from jbg.generator import Generator
from jbg.interfaces import ConfigError, Loss, Target


def make_kl_loss(
    generator: Generator, target: Target, *, n_samples: int, taus: Sequence[float] = (1.0,)
) -> Loss:
    """J_KL = mean over tau of E_z[u(F(z))/tau - ln|det dF/dz|], Noe et al. 2019 Eq. 1 and methods.

    z has variance tau. Bounded below by H(base) - ln Z_tau. Gradients go through the energy, so the target
    must give forces; give it a softened one. The ``n_samples`` are shared out among the temperatures.

    Raises:
        ConfigError: when n_samples is not a multiple of the number of temperatures.
    """
    taus = tuple(taus)
    if n_samples % len(taus):
        raise ConfigError(
            f"make_kl_loss: n_samples must be a multiple of {len(taus)} temperatures, got {n_samples}"
        )
    n = n_samples // len(taus)

    def loss(params, batch, key):
        del batch
        # one temperature per sample, so that the whole batch is one pass and one energy call
        tau = jnp.repeat(jnp.asarray(taus), n)
        z = generator.base.sample(key, n_samples, tau)
        x, log_det = generator.bijector.forward(params, z)
        u = target.reduced_energy(x)
        per_sample = u / tau - log_det
        # a sample outside the coordinates' domain has no energy and, being cut off, no gradient
        inside = jnp.isfinite(per_sample)
        value = jnp.mean(jnp.where(inside, per_sample, 0.0))
        # nothing inside teaches nothing: a step that is not finite is skipped, counted, and in the end stops
        value = jnp.where(jnp.any(inside), value, jnp.nan)
        return value, {"kl": value, "outside": jnp.mean(~inside)}

    return loss
