"""Sums and means of losses."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import Array

from jbg.interfaces import Loss


def weighted_sum(terms: Sequence[tuple[float, Loss]]) -> Loss:
    """sum_k w_k loss_k, each with a key of its own; terms of weight zero are left out.

    Raises:
        ValueError: when nothing is left.
    """
    active = [(w, f) for w, f in terms if w]
    if not active:
        raise ValueError("weighted_sum: every weight is zero, so there is nothing to train on")

    def loss(params, batch, key):
        total: Any = 0.0
        aux: dict[str, Array] = {}
        for k, (w, f) in zip(jax.random.split(key, len(active)), active, strict=True):
            value, extra = f(params, batch, k)
            total = total + w * value
            aux |= extra
        return total, aux | {"loss": total}

    return loss


def mean_over(values: Array, make: Callable[[Array], Loss]) -> Loss:
    """The mean of ``make(v)`` over ``values (n,)``, each with a key of its own, and of what they log.

    One loss is compiled, whatever their number, and run for one value after the other.
    """

    def loss(params, batch, key):
        def one(args):
            value, key = args
            return make(value)(params, batch, key)

        found = jax.lax.map(one, (values, jax.random.split(key, len(values))))
        return jax.tree.map(lambda x: x.mean(0), found)

    return loss
