"""What a coupling asks of its network: the network as pure functions, and settings that make one.

Flax stays behind `Conditioner`. A new kind of network is one file here with a frozen dataclass that has ``make``,
and its name in ``__init__``.
"""

import dataclasses
from typing import Protocol

import jax
from jax import Array

from jbg.flows.halves import Half
from jbg.interfaces import Key, Params


class Apply(Protocol):
    def __call__(self, params: Params, h: Array, *, key: Key | None = None) -> Array: ...


class Init(Protocol):
    def __call__(self, key: Key) -> Params: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conditioner:
    """init(key) -> params;  apply(params, h ``(n_in, *batch)``, *, key=None) -> ``(n_params, *batch)``.

    ``random``: with a key, apply draws from it (dropout); the same key gives the same function, so that a coupling
    stays invertible. Training then gives each step a key of its own; without a key there is no randomness.
    """

    init: Init
    apply: Apply
    random: bool = False


class ConditionerConfig(Protocol):
    """Settings of a kind of network, `SplineFlowConfig.conditioner`."""

    def make(self, source: Half, moved: Half, n_params: int, order: Array) -> Conditioner:
        """The network of one coupling.

        Args:
            source: rows that the network reads. Its ``source.n_features`` features are the cosines of the circular
                variables, their sines, the linear variables; a single constant where there are neither.
            moved: rows that the coupling changes.
            n_params: number of outputs, ordered as the coupling reads them: for the circular variables of
                ``moved`` the first number of each, then the second, and so on; then the same for the linear ones.
            order: ``(dim,)`` int, the variable in each row of the event: row i of ``source`` or ``moved`` holds
                variable ``order[i]``. It differs from block to block and is traced: index with it, do not branch
                on it. Parameters must have the same shapes whatever it is.
        """
        ...


def remember_products(apply: Apply) -> Apply:
    """The same network, which keeps for its gradient the products of matrices alone.

    Activations are computed again: that takes less time than to store and to read them.
    """
    return jax.checkpoint(apply, policy=jax.checkpoint_policies.dots_saveable)
