"""Losses: terms that a stage of training sums, one in each file, and the builders behind them.

A builder closes over a generator and gives loss(params, batch, key) -> (scalar, aux).
"""

from jbg.losses.alpha_divergence import AlphaDivergence, make_alpha_divergence_loss
from jbg.losses.combine import mean_over, weighted_sum
from jbg.losses.jeffreys import Jeffreys, make_jeffreys_loss
from jbg.losses.likelihood import NLL, make_nll_loss
from jbg.losses.log_dispersion import LogDispersion, make_log_dispersion_loss
from jbg.losses.own_samples import OwnSamples, make_own_samples_loss
from jbg.losses.proposals import make_proposal
from jbg.losses.reaction_coordinate import ReactionCoordinate
from jbg.losses.reverse_kl import ReverseKL, make_kl_loss
from jbg.losses.terms import LossContext, LossTerm, total_loss
from jbg.losses.torsion_range import TorsionRange
from jbg.losses.wasserstein import (
    Wasserstein,
    make_wasserstein_loss,
    pair_distances,
    squared_wasserstein,
)
from jbg.losses.weights import truncated_weights

Term = (
    NLL
    | LogDispersion
    | ReverseKL
    | Jeffreys
    | OwnSamples
    | ReactionCoordinate
    | AlphaDivergence
    | Wasserstein
    | TorsionRange
)
"""The terms of jbg, which a run's configuration can name."""

__all__ = [
    "NLL",
    "AlphaDivergence",
    "Jeffreys",
    "LogDispersion",
    "LossContext",
    "LossTerm",
    "OwnSamples",
    "ReactionCoordinate",
    "ReverseKL",
    "Term",
    "TorsionRange",
    "Wasserstein",
    "make_alpha_divergence_loss",
    "make_jeffreys_loss",
    "make_kl_loss",
    "make_log_dispersion_loss",
    "make_nll_loss",
    "make_own_samples_loss",
    "make_proposal",
    "make_wasserstein_loss",
    "mean_over",
    "pair_distances",
    "squared_wasserstein",
    "total_loss",
    "truncated_weights",
    "weighted_sum",
]
