"""Learnable bijectors z <-> y and the base distributions of z."""

from jbg.flows.base import normal, product, uniform, von_mises
from jbg.flows.compose import chain, permute, repeat
from jbg.flows.models import SplineFlowConfig, coupling_blocks, realnvp, spline_flow
from jbg.flows.score import base_score, push_score

__all__ = [
    "SplineFlowConfig",
    "base_score",
    "chain",
    "coupling_blocks",
    "normal",
    "permute",
    "product",
    "push_score",
    "realnvp",
    "repeat",
    "spline_flow",
    "uniform",
    "von_mises",
]
