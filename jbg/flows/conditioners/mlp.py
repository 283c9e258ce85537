"""Multilayer perceptrons that turn one half of the variables into parameters for the other half.

Arrays are features first, so a layer multiplies its kernel from the left and the batch stays on the minor axis.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jbg.flows.conditioners.base import Conditioner, remember_products
from jbg.flows.halves import Half

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "silu": jax.nn.silu,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MLP:
    """One perceptron for all variables that a coupling moves.

    Attributes:
        hidden: widths of the hidden layers.
    """

    hidden: tuple[int, ...] = (128, 128)

    def make(self, source: Half, moved: Half, n_params: int, order: Array) -> Conditioner:
        del moved, order
        return mlp(source.n_features, n_params, hidden=self.hidden)


class FeaturesFirstDense(nn.Module):
    """y = W h + b with h ``(n_in, *batch)``."""

    features: int
    zero_init: bool = False

    @nn.compact
    def __call__(self, h: Array) -> Array:
        # kernels are (out, in): fan-in is the last axis
        init = nn.initializers.lecun_normal(in_axis=-1, out_axis=-2)
        kernel = self.param(
            "kernel", nn.initializers.zeros if self.zero_init else init, (self.features, h.shape[0])
        )
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return jnp.tensordot(kernel, h, 1) + bias.reshape((-1,) + (1,) * (h.ndim - 1))


class Perceptron(nn.Module):
    hidden: Sequence[int]
    n_out: int
    activation: str
    zero_last: bool

    @nn.compact
    def __call__(self, h: Array) -> Array:
        for width in self.hidden:
            h = ACTIVATIONS[self.activation](FeaturesFirstDense(width)(h))
        return FeaturesFirstDense(self.n_out, zero_init=self.zero_last)(h)


def mlp(
    n_in: int,
    n_out: int,
    *,
    hidden: Sequence[int],
    activation: str = "silu",
    zero_last: bool = True,
) -> Conditioner:
    """One perceptron, ``(n_in, *batch)`` -> ``(n_out, *batch)``.

    Args:
        n_in: number of features.
        n_out: number of outputs.
        hidden: widths of the hidden layers.
        activation: "relu", "tanh" or "silu", after each hidden layer.
        zero_last: whether the last layer starts at zero; if not, its weights are drawn like the others.

    Raises:
        ValueError: for an unknown activation.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(
            f"mlp: activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}"
        )
    net = Perceptron(tuple(hidden), n_out, activation, zero_last)

    @remember_products
    def apply(params, h, *, key=None):
        del key
        return cast(Array, net.apply({"params": params}, h))

    return Conditioner(init=lambda key: net.init(key, jnp.zeros((n_in,)))["params"], apply=apply)
