"""What every loss must satisfy: a scalar with a gradient, logs that are scalars, and no randomness but the key."""

from typing import Any

import jax
import numpy as np

from jbg.interfaces import Key, Loss, Params


def check_loss(loss: Loss, params: Params, batch: Any, key: Key) -> None:
    """Checks what training asks of ``loss(params, batch, key) -> (scalar, aux)``.

    Args:
        loss: to check, such as ``term.build(context)``.
        params: of the generator.
        batch: of data ``(dim + columns, n)``, features first.
        key: typed PRNG key.

    Raises:
        AssertionError: names the property.
    """
    both = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, aux), gradient = both(params, batch, key)
    if np.shape(value) != () or not np.isfinite(value):
        raise AssertionError(f"the loss must be a finite scalar, got {value}")
    if not isinstance(aux, dict) or any(np.shape(entry) != () for entry in aux.values()):
        raise AssertionError("the second output must be a flat dict of scalars to log")
    if jax.tree.structure(gradient) != jax.tree.structure(params):
        raise AssertionError("the gradient has another structure than the parameters")
    leaves = jax.tree.leaves(gradient)
    if not all(np.isfinite(leaf).all() for leaf in leaves):
        raise AssertionError("the gradient is not finite")
    if not any(np.any(leaf != 0) for leaf in leaves):
        raise AssertionError("the gradient is zero everywhere: the parameters have no effect")
    (again, _), _ = both(params, batch, key)
    if again != value:
        raise AssertionError(f"the same key gives {value} and {again}: use no other randomness")
