"""Learnable bijectors z <-> y and the base distributions of z."""

from jbg.flows.base import at_temperature, normal, product, uniform, von_mises, wrapped
from jbg.flows.compose import chain, permute, repeat
from jbg.flows.conditioners import MLP, GatedAttention, PerVariable, Tokens
from jbg.flows.models import (
    RealNVPConfig,
    SplineFlowConfig,
    coupling_blocks,
    realnvp,
    spline_flow,
)
from jbg.flows.score import base_score, push_score
from jbg.flows.split import SplitFlowConfig, baseline, count_parameters, split_base, split_flow
from jbg.flows.symmetrise import augment, symmetrised
from jbg.flows.windows import windows

__all__ = [
    "MLP",
    "GatedAttention",
    "PerVariable",
    "RealNVPConfig",
    "SplineFlowConfig",
    "SplitFlowConfig",
    "Tokens",
    "at_temperature",
    "augment",
    "base_score",
    "baseline",
    "chain",
    "count_parameters",
    "coupling_blocks",
    "normal",
    "permute",
    "product",
    "push_score",
    "realnvp",
    "repeat",
    "spline_flow",
    "split_base",
    "split_flow",
    "symmetrised",
    "uniform",
    "von_mises",
    "windows",
    "wrapped",
]
