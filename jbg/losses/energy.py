"""Training by energy: the reverse Kullback-Leibler divergence at one or several temperatures, and entropy along a
reaction coordinate of the same samples."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

from jbg.flows import base_score, push_score
from jbg.generator import Generator
from jbg.interfaces import CollectiveVariable, ConfigError, Loss, Target
from jbg.losses.reaction_coordinate import RC_FORMS, check_bounds, share_outside


def make_kl_loss(
    generator: Generator,
    target: Target,
    *,
    n_samples: int,
    taus: Sequence[float] = (1.0,),
    w_kl: float = 1.0,
    w_rc: float = 0.0,
    collective_variable: CollectiveVariable | None = None,
    rc_form: str = "integral",
    path_gradient: bool = False,
) -> Loss:
    """w_kl J_KL + w_rc J_RC of generated samples, averaged over temperatures; Noe et al. 2019, Eq. 1 and methods.

    J_KL = E_z[u(F(z))/tau - ln|det dF/dz|], and J_RC the negative entropy of a collective variable within its
    bounds (`losses.reaction_coordinate`, form "integral" or "kernels"), of each device's share of the samples.

    z has variance tau. Bounded below by H(base) - ln Z_tau. Gradients go through the energy, so the target
    must give forces; give it a softened one. The ``n_samples`` are shared out among the temperatures.

    ``path_gradient``: the gradient of J_KL is taken through the samples alone ("sticking the landing", Roeder et
    al. 2017, arXiv:1703.09194; Vaitl et al. 2022, arXiv:2206.09016),

        E_z[(d/dx [u(x)/tau + ln q_tau(x)]) dF(z)/dtheta],

    that is without -E_q[d ln q/dtheta], which is zero in the mean but not in a batch. The same on average, and
    exactly zero for every sample once q_tau is the target. J_KL itself is the same number.

    Raises:
        ConfigError: when n_samples is not a multiple of the number of temperatures, or w_rc has no collective
            variable, bounds or form to act on.
    """
    taus = tuple(taus)
    if n_samples % len(taus):
        raise ConfigError(
            f"make_kl_loss: n_samples must be a multiple of {len(taus)} temperatures, got {n_samples}"
        )
    n = n_samples // len(taus)
    if w_rc and collective_variable is None:
        raise ConfigError("w_rc: this system has no collective variable to train along")
    if w_rc:
        check_bounds(collective_variable.bounds)
    if rc_form not in RC_FORMS:
        raise ConfigError(f"rc_form must be one of {', '.join(RC_FORMS)}, got {rc_form!r}")

    def spread(x: Array) -> tuple[Array, dict[str, Array]]:
        bounds = check_bounds(collective_variable.bounds)
        r = collective_variable.of(x).reshape(len(taus), n)
        value = jnp.mean(jax.vmap(lambda r: RC_FORMS[rc_form](r, bounds))(r))
        return value, {"rc": value, "rc_outside": share_outside(r, bounds)}

    def loss(params, batch, key):
        del batch
        # one temperature per sample, so that the whole batch is one pass and one energy call
        tau = jnp.repeat(jnp.asarray(taus), n)
        z = generator.base.sample(key, n_samples, tau)
        if path_gradient:
            score = base_score(generator.base, z, tau)
            x, log_det, score = push_score(generator.bijector, params, z, score)
        else:
            x, log_det = generator.bijector.forward(params, z)
        u = target.reduced_energy(x)
        per_sample = u / tau - log_det
        if path_gradient:
            per_sample = _through_samples(per_sample, u / tau, x, score)
        # a sample outside the coordinates' domain has no energy and, being cut off, no gradient
        inside = jnp.isfinite(per_sample)
        value = jnp.mean(jnp.where(inside, per_sample, 0.0))
        # nothing inside teaches nothing: a step that is not finite is skipped, counted, and in the end stops
        value = jnp.where(jnp.any(inside), value, jnp.nan)
        aux = {"kl": value, "outside": jnp.mean(~inside)}
        total = w_kl * value
        if w_rc:
            rc, extra = spread(x)
            total, aux = total + w_rc * rc, aux | extra
        return total, aux

    return loss


def _through_samples(value: Array, u: Array, x: Array, score: Array) -> Array:
    """``value``, with the gradient of u(x) + ln q(x) by x alone; ``score`` is d ln q/dx."""
    # a score that is not finite belongs to a sample that counts for nothing, and 0 * inf is NaN
    usable = jnp.isfinite(score).all(0)
    path = u + jnp.sum(jnp.where(usable[None], score, 0.0) * x, 0)
    fixed = jax.lax.stop_gradient(jnp.where(usable, value, jnp.inf))
    return fixed + (path - jax.lax.stop_gradient(path))
