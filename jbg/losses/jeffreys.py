"""The symmetric divergence between flow and target, both directions from one pass over the same own samples.

Jeffreys' divergence (Jeffreys 1946) is the sum of the two Kullback-Leibler divergences,

    J(q, p) = KL(q||p) + KL(p||q) = E_q[(w - 1) ln w],   w = p(x) / q(x),

which is the covariance of w and ln w under q, so that no normaliser enters. KL(q||p) alone seeks modes and gives
up the others, KL(p||q) alone covers them and spreads beyond.

With data from p, J up to a constant is what `NLL` and `ReverseKL` of equal weights descend. The loss here needs no
data. KL(p||q) is taken by importance weights on own samples, and so knows only the modes that the flow visits.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jbg.flows import base_score, push_score
from jbg.generator import Generator
from jbg.interfaces import Loss, Target
from jbg.losses.terms import LossContext, check_weights, samples_per_tau
from jbg.losses.weights import FULL_BASELINE, ess_of_generator, truncated_weights
from jbg.targets import check_taus


@dataclasses.dataclass(frozen=True)
class Jeffreys:
    """Both Kullback-Leibler divergences on the same own samples, with forces (`make_jeffreys_loss`).

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

    def build(self, context: LossContext) -> Loss:
        loss = make_jeffreys_loss(
            context.whole,
            context.target_for(self),
            n_samples=context.n_samples,
            taus=self.taus,
        )
        return context.of_flow(loss)

    def energies(self, batch: int) -> int:
        return batch


def make_jeffreys_loss(
    generator: Generator,
    target: Target,
    *,
    n_samples: int,
    taus: Sequence[float] = (1.0,),
) -> Loss:
    """Jeffreys' divergence of generated samples, averaged over temperatures; see the module's text.

    With s = d ln q_tau/dx, held fixed as the weights w are, the gradient is that of the batch mean of

        [u(x)/tau + s.x]  +  (w - c) [ln|det dx/dz| + s.x],   x = F(z),

    the first bracket the path gradient of KL(q||p) (`make_kl_loss`), the second -ln q at the point x, which needs
    no inverse pass. w are self-normalised at each temperature and truncated at sqrt(n) times their mean; c is
    their control variate, 1 where the effective sample size is above a fifth of the batch, less in proportion
    below. Both gradients vanish sample by sample once q_tau is the target.

    Logs ``jeffreys``, with the truncated weights, and ``jeffreys_ess``.

    Args:
        generator: of x.
        target: density of x, softened. It must have a gradient: that of the loss goes through the energy.
        n_samples: number of samples per call, shared equally among the temperatures.
        taus: relative temperatures.

    Raises:
        ConfigError: when n_samples is not a multiple of the number of temperatures.
    """
    taus = tuple(taus)
    n = samples_per_tau("Jeffreys", n_samples, taus)

    def weigh(log_w):
        ess = ess_of_generator(log_w, jnp.zeros_like(log_w))
        control = jnp.broadcast_to(jnp.minimum(1.0, ess / FULL_BASELINE), (n,))
        return truncated_weights(log_w), control, ess

    def loss(params, batch, key):
        del batch
        tau = jnp.repeat(jnp.asarray(taus), n)
        z = generator.base.sample(key, n_samples, tau)
        score = base_score(generator.base, z, tau)
        x, log_det, score = push_score(generator.bijector, params, z, score)
        u = target.reduced_energy(x) / tau
        log_w = jax.lax.stop_gradient(log_det - u - generator.base.log_prob(z, tau))
        inside = jnp.isfinite(log_w) & jnp.isfinite(score).all(0)
        log_w = jnp.where(inside, log_w, -jnp.inf)
        w, control, ess = jax.vmap(weigh)(log_w.reshape(len(taus), n))
        w, control = w.ravel(), control.ravel()

        along = jnp.sum(jnp.where(inside[None], score, 0.0) * x, 0)
        steered = jnp.where(inside, u + along + (w - control) * (log_det + along), 0.0)
        divergence = jnp.mean(jnp.where(inside, (w - 1.0) * log_w, 0.0))
        steered = jnp.mean(steered)
        value = divergence + steered - jax.lax.stop_gradient(steered)
        # not finite, so that the step is skipped and counted, where no sample is usable
        value = jnp.where(inside.any(), value, jnp.nan)
        return value, {"jeffreys": value, "jeffreys_ess": jnp.mean(ess)}

    return loss
