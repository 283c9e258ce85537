"""Networks that condition couplings; the only package that imports Flax."""

from jbg.flows.conditioners.mlp import Conditioner, mlp
from jbg.flows.conditioners.per_variable import per_variable_mlp

__all__ = ["Conditioner", "mlp", "per_variable_mlp"]
