"""One small perceptron for each transformed variable, all evaluated at once.

In a shared perceptron every output reads the same hidden units. Where a variable depends on a few others, and
each on different ones (a particle on its neighbours), networks of their own learn it in fewer steps, with
fewer parameters.
"""

import dataclasses
from collections.abc import Sequence
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jbg.flows.conditioners.base import Conditioner, remember_products
from jbg.flows.halves import Half


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerVariable:
    """A perceptron for each variable that a coupling moves.

    Attributes:
        hidden: widths of the hidden layers of each.
    """

    hidden: tuple[int, ...] = (32, 32)

    def make(self, source: Half, moved: Half, n_params: int, order: Array) -> Conditioner:
        del order
        n_variables = moved.n_circular + moved.n_linear
        return per_variable_mlp(
            source.n_features, n_params, n_variables=n_variables, hidden=self.hidden
        )


class Perceptrons(nn.Module):
    """``(n_in, *batch)`` -> ``(n_params, n_variables, *batch)``; silu, the last layer zero at first."""

    n_variables: int
    n_params: int
    hidden: Sequence[int]

    @nn.compact
    def __call__(self, h: Array) -> Array:
        fan_in = nn.initializers.lecun_normal(in_axis=-1, out_axis=-2, batch_axis=0)
        one = (1,) * (h.ndim - 1)
        n_in, widths = h.shape[0], (*self.hidden, self.n_params)
        for i, width in enumerate(widths):
            last = i == len(widths) - 1
            init = nn.initializers.zeros if last else fan_in
            kernel = self.param(f"kernel_{i}", init, (self.n_variables, width, n_in))
            bias = self.param(f"bias_{i}", nn.initializers.zeros, (self.n_variables, width))
            # the first layer of all networks reads one input: a single product of matrices
            h = jnp.tensordot(kernel, h, 1) if i == 0 else jnp.einsum("voi,vi...->vo...", kernel, h)
            h = h + bias.reshape((self.n_variables, width, *one))
            h, n_in = h if last else jax.nn.silu(h), width
        return jnp.swapaxes(h, 0, 1)


def per_variable_mlp(
    n_in: int, n_out: int, *, n_variables: int, hidden: Sequence[int]
) -> Conditioner:
    """A perceptron for each of several variables, ``(n_in, *batch)`` -> ``(n_out, *batch)``.

    Outputs are ordered as a coupling reads them: the first number of every variable, then the second.

    Args:
        n_in: number of features, which all perceptrons read.
        n_out: number of outputs, ``n_out / n_variables`` of each perceptron.
        n_variables: number of perceptrons.
        hidden: widths of the hidden layers of each.

    Raises:
        ValueError: where n_out is no multiple of n_variables.
    """
    if n_variables < 1 or n_out % n_variables:
        raise ValueError(
            f"per_variable_mlp: {n_out} outputs cannot be shared equally by {n_variables} variables"
        )
    net = Perceptrons(n_variables, n_out // n_variables, tuple(hidden))

    @remember_products
    def apply(params, h, *, key=None):
        del key
        found = cast(Array, net.apply({"params": params}, h))
        return found.reshape((n_out, *h.shape[1:]))

    return Conditioner(init=lambda key: net.init(key, jnp.zeros((n_in,)))["params"], apply=apply)
