"""What every bijector must satisfy: an inverse, the log-determinants of both directions, any batch."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jbg.interfaces import Bijector, Params


def check_bijector(bijector: Bijector, params: Params, z: Array, *, atol: float = 1e-4) -> None:
    """Checks forward and inverse against each other and against automatic differentiation.

    With x = F(z): F^-1(x) = z; ln|det dx/dz| is that of the Jacobian by autodiff (where dim_in = dim_out), and
    that of the inverse its negative; a batch gives what its events give one by one, whatever its axes.

    Args:
        bijector: to check.
        params: of it, such as ``bijector.init(key)`` with noise: an identity hides errors.
        z: ``(dim_in, n)`` inside its domain; circular variables away from their cut.
        atol: allowed difference; 1e-4 suits float32, 1e-9 float64.

    Raises:
        AssertionError: names the property and the difference.
    """
    z = jnp.asarray(z)
    n = z.shape[1]
    x, log_det = jax.jit(bijector.forward)(params, z)
    _shape("forward's x", x, (bijector.dim_out, n))
    _shape("forward's log-determinant", log_det, (n,))
    back, inverse_log_det = jax.jit(bijector.inverse)(params, x)
    _shape("inverse's z", back, (bijector.dim_in, n))
    _shape("inverse's log-determinant", inverse_log_det, (n,))
    _close("inverse(forward(z)) is z", back, z, atol)
    _close("the log-determinants are each other's negative", inverse_log_det, -log_det, atol)
    if bijector.dim_in == bijector.dim_out:
        of_event = lambda event: bijector.forward(params, event)[0]
        jacobian = jax.jit(jax.vmap(jax.jacrev(of_event), in_axes=1))(z)
        expected = np.linalg.slogdet(np.asarray(jacobian, np.float64))[1]
        _close("the log-determinant is that of the Jacobian", log_det, expected, atol)
    one_x, one_log_det = bijector.forward(params, z[:, 0])
    _shape("the log-determinant of one event", one_log_det, ())
    _close("one event is as in a batch", one_x, x[:, 0], atol)
    folded_x, folded_log_det = bijector.forward(params, z.reshape(z.shape[0], 1, n))
    _shape("the log-determinant of a batch of two axes", folded_log_det, (1, n))
    _close("a batch of two axes is as of one", folded_x[:, 0], x, atol)


def _shape(what: str, value: Array, expected: tuple[int, ...]) -> None:
    if tuple(np.shape(value)) != expected:
        raise AssertionError(f"{what} must have shape {expected}, got {np.shape(value)}")


def _close(what: str, found: Array, expected: Array | np.ndarray, atol: float) -> None:
    apart = float(np.max(np.abs(np.asarray(found, float) - np.asarray(expected, float))))
    if not apart <= atol:
        raise AssertionError(f"{what}: differs by {apart:.3g}, allowed {atol:.3g}")
