"""Learnable bijectors z <-> y and the base distributions of z."""

from jbg.flows.base import at_temperature, normal, product, uniform, von_mises, wrapped
from jbg.flows.compose import chain, permute, repeat
from jbg.flows.conditioners import MLP, PerVariable
from jbg.flows.models import (
    SplineFlowConfig,
    coupling_blocks,
    realnvp,
    spline_flow,
)
from jbg.flows.score import base_score, push_score
from jbg.flows.symmetrise import augment, symmetrised

__all__ = [
    "MLP",
    "PerVariable",
    "SplineFlowConfig",
    "at_temperature",
    "augment",
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
    "symmetrised",
    "uniform",
    "von_mises",
    "wrapped",
]
