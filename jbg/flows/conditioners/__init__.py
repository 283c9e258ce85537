"""Networks that condition couplings; the only package that imports Flax."""

from jbg.flows.conditioners.mlp import Conditioner, mlp

__all__ = ["Conditioner", "mlp"]
