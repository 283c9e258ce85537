"""Losses: each builder closes over a generator and gives loss(params, batch, key) -> (scalar, aux)."""

from jbg.losses.bootstrap import make_bootstrap_loss
from jbg.losses.combine import mean_over, weighted_sum
from jbg.losses.energy import make_kl_loss
from jbg.losses.jeffreys import make_jeffreys_loss
from jbg.losses.likelihood import make_nll_loss
from jbg.losses.log_dispersion import make_log_dispersion_loss
from jbg.losses.own_samples import make_own_samples_loss, truncated_weights
from jbg.losses.proposals import make_proposal

__all__ = [
    "make_bootstrap_loss",
    "make_jeffreys_loss",
    "make_kl_loss",
    "make_log_dispersion_loss",
    "make_nll_loss",
    "make_own_samples_loss",
    "make_proposal",
    "mean_over",
    "truncated_weights",
    "weighted_sum",
]
