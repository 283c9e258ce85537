"""The Mueller-Brown potential, the two-dimensional surface with three basins, in kT.

U(x, y) = scale sum_j A_j exp(a_j (x-x_j)^2 + b_j (x-x_j)(y-y_j) + c_j (y-y_j)^2), Mueller and Brown 1979
(doi:10.1007/BF00547608), scaled by 0.1 as in Noé et al. 2019. The supplement of the latter prints c_3 = +6.5, with
which the energy is unbounded below; its figures belong to the textbook's -6.5, used here.
"""

import functools
import math

import jax
import numpy as np
from jax import Array
from scipy.optimize import root

from jbg.interfaces import CollectiveVariable, ConfigError, State, System

AMPLITUDE = np.array([-200.0, -100.0, -170.0, 15.0])
XX = np.array([-1.0, -1.0, -6.5, 0.7])
XY = np.array([0.0, 0.0, 11.0, 0.6])
YY = np.array([-10.0, -10.0, -6.5, 0.7])
CENTRE = np.array([[1.0, 0.0], [0.0, 0.5], [-0.5, 1.5], [-1.0, 1.0]])

# where Newton's method starts from, and in this order what it finds
_GUESSES = {
    "A": (-0.56, 1.44),
    "I": (-0.05, 0.47),
    "B": (0.62, 0.03),
    "A-I": (-0.82, 0.62),
    "I-B": (0.21, 0.29),
}


def _energy(position: Array, scale: float) -> Array:
    xp = position.__array_namespace__()
    total = xp.zeros_like(position[0])
    for amplitude, xx, xy, yy, (x0, y0) in zip(AMPLITUDE, XX, XY, YY, CENTRE, strict=True):
        x, y = position[0] - float(x0), position[1] - float(y0)
        exponent = float(xx) * x * x + float(xy) * x * y + float(yy) * y * y
        total = total + scale * float(amplitude) * xp.exp(exponent)
    return total


@functools.cache
def stationary_points() -> dict[str, np.ndarray]:
    """Minima A (top left), I (middle) and B (right), and the saddles between them: (x, y) by name."""
    with jax.enable_x64():
        gradient = jax.jit(jax.grad(lambda x: _energy(x, 1.0)))
        hessian = jax.jit(jax.hessian(lambda x: _energy(x, 1.0)))
        return {
            name: root(
                lambda x: np.asarray(gradient(jax.numpy.asarray(x))),
                guess,
                jac=lambda x: np.asarray(hessian(jax.numpy.asarray(x))),
                tol=1e-12,
            ).x
            for name, guess in _GUESSES.items()
        }


def mueller_brown(*, scale: float = 0.1) -> System:
    """Three basins in the plane; dimensionless lengths, energies in kT.

    The basins are divided along s = x - y, the direction (1, -1) that Noé et al. 2019 project on, at the values
    of the two saddle points. Differences are reported of B against A, with the middle basin I left out of both,
    and of everything that is not A against A.

    Args:
        scale: factor on the textbook's energies, > 0.

    Returns:
        System of dim 2, with ``start`` the minima A, I and B. The potential takes numpy and JAX arrays
        ``(2, *batch)``.

    Raises:
        ConfigError: scale <= 0.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise ConfigError(f"mueller-brown: scale must be > 0, got {scale}")
    points = stationary_points()
    first, second = (float(points[name][0] - points[name][1]) for name in ("A-I", "I-B"))
    a = State(
        name="A",
        contains=lambda x: x[0] - x[1] < first,
        definition=f"x - y < {first:.5f}, the saddle between A and I",
    )
    b = State(
        name="B",
        contains=lambda x: x[0] - x[1] >= second,
        definition=f"x - y >= {second:.5f}, the saddle between I and B",
    )
    rest = State(
        name="I+B",
        contains=lambda x: x[0] - x[1] >= first,
        definition=f"x - y >= {first:.5f}, the saddle between A and I",
    )
    return System(
        name="mueller-brown",
        dim=2,
        potential=lambda x: _energy(x, scale),
        energy_unit="kT",
        start=np.stack([points[name] for name in ("A", "I", "B")]),
        states=(a, b, a, rest),
        collective_variable=CollectiveVariable(name="y", of=lambda x: x[1], bounds=(-0.1, 1.7)),
    )
