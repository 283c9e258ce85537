"""What every target must satisfy: energies of any batch, and a gradient that is theirs."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jbg.interfaces import ConfigError, Target


def check_target(
    target: Target, x: Array, *, step: float = 1e-3, rtol: float = 0.05, gradient: bool = True
) -> None:
    """Checks shapes, batches, and the gradient against central differences along random directions.

    Args:
        target: to check.
        x: ``(dim, n)`` configurations of finite energy.
        step: of the differences, in the unit of x.
        rtol: allowed relative difference of the slopes.
        gradient: whether the target has forces.

    Raises:
        AssertionError: names the property and the numbers.
    """
    x = jnp.asarray(x)
    n = x.shape[1]
    u = jax.jit(target.reduced_energy)(x)
    if u.shape != (n,):
        raise AssertionError(f"reduced_energy of {x.shape} must have shape ({n},), got {u.shape}")
    if not np.isfinite(u).all():
        raise AssertionError("reduced_energy of the given configurations is not finite")
    one = target.reduced_energy(x[:, 0])
    if one.shape != () or not np.isclose(one, u[0], rtol=1e-3, atol=1e-3):
        raise AssertionError(f"one configuration has energy {one}, in a batch {u[0]}")
    if x.shape[0] != n:
        _require_refused(target, x.T)
    if gradient:
        _check_gradient(target, x, step, rtol)


def _require_refused(target: Target, rows: Array) -> None:
    try:
        target.reduced_energy(rows)
    except (ConfigError, ValueError):
        return
    raise AssertionError("configurations batch first (n, dim) are taken without an error")


def _check_gradient(target: Target, x: Array, step: float, rtol: float) -> None:
    """du/ds along a random unit direction of each configuration."""
    gradient = jax.jit(jax.grad(lambda x: target.reduced_energy(x).sum()))(x)
    direction = np.random.default_rng(0).normal(size=x.shape)
    direction = jnp.asarray(direction / np.linalg.norm(direction, axis=0), x.dtype)
    energy = jax.jit(target.reduced_energy)
    slope = np.asarray(energy(x + step * direction) - energy(x - step * direction)) / (2 * step)
    found = np.asarray((gradient * direction).sum(0))
    scale = np.maximum(np.abs(slope), 1.0)
    worst = int(np.argmax(np.abs(found - slope) / scale))
    if not abs(found[worst] - slope[worst]) <= rtol * scale[worst]:
        raise AssertionError(
            f"the gradient along a direction is {found[worst]:.4g}, central differences give {slope[worst]:.4g}"
        )
