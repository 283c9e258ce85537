"""Networks that condition couplings; the only package that imports Flax."""

from jbg.flows.conditioners.base import Conditioner, ConditionerConfig, remember_products
from jbg.flows.conditioners.gated_attention import GatedAttention, Tokens, check_tokens
from jbg.flows.conditioners.mlp import MLP, mlp
from jbg.flows.conditioners.per_variable import PerVariable, per_variable_mlp
from jbg.flows.conditioners.scale_and_shift import ScaleAndShift

ConditionerSettings = MLP | PerVariable
"""What a run's configuration can name, each by its ``kind``."""

__all__ = [
    "MLP",
    "Conditioner",
    "ConditionerConfig",
    "ConditionerSettings",
    "GatedAttention",
    "PerVariable",
    "ScaleAndShift",
    "Tokens",
    "check_tokens",
    "mlp",
    "per_variable_mlp",
    "remember_products",
]
