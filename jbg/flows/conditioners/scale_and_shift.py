"""The pair of perceptrons of RealNVP: one for the scales, one for the shifts."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from jbg.flows.conditioners.base import Conditioner
from jbg.flows.conditioners.mlp import mlp
from jbg.flows.halves import Half


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScaleAndShift:
    """S (tanh, zero at the start) and T (ReLU) of Noe et al. 2019, Eqs. 5-8 and the supplement.

    Attributes:
        hidden: widths of the hidden layers of each.
    """

    hidden: tuple[int, ...] = (100, 100)

    def make(self, source: Half, moved: Half, n_params: int, order: Array) -> Conditioner:
        del moved, order
        n_in, half = source.n_features, n_params // 2
        s = mlp(n_in, half, hidden=self.hidden, activation="tanh")
        t = mlp(n_in, half, hidden=self.hidden, activation="relu", zero_last=False)

        def init(key):
            key_s, key_t = jax.random.split(key)
            return {"s": s.init(key_s), "t": t.init(key_t)}

        def apply(params, h, *, key=None):
            del key
            return jnp.concatenate([s.apply(params["s"], h), t.apply(params["t"], h)])

        return Conditioner(init=init, apply=apply)
