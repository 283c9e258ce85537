"""The two-dimensional double well U(x, y) = a4 x^4 - a2 x^2 + a1 x + k y^2 / 2, in kT.

The default coefficients are those of the published code of Noé et al. 2019 (Science 365, eaaw1147),
which differ from the ones printed in its supplement; every figure of the paper belongs to the
code's form.
"""

import math

import numpy as np
from jax import Array

from jbg.interfaces import CollectiveVariable, ConfigError, State, System


def minima_and_barrier(*, a4: float, a2: float, a1: float) -> tuple[float, float, float]:
    """Left minimum, barrier top and right minimum of a4 x^4 - a2 x^2 + a1 x.

    They are the roots of 4 a4 x^3 - 2 a2 x + a1, which are three and real when
    a2 > 0 and a1^2 < 8 a2^3 / (27 a4).

    Raises:
        ConfigError: if the curve has not two minima.
    """
    if not all(math.isfinite(c) for c in (a4, a2, a1)):
        raise ConfigError(f"double well: a4, a2, a1 must be finite, got {a4}, {a2}, {a1}")
    if a4 <= 0:
        raise ConfigError(f"double well: a4 must be > 0 to confine x, got {a4}; raise a4")
    if a2 <= 0:
        raise ConfigError(f"double well: a2 must be > 0 for two minima, got {a2}; raise a2")
    a1_limit = math.sqrt(8 * a2**3 / (27 * a4))
    if abs(a1) >= a1_limit:
        raise ConfigError(
            f"double well: |a1| must be < {a1_limit:.6g} for two minima, got {a1}"
            f" at a4={a4}, a2={a2}; lower |a1| or raise a2"
        )
    left, barrier, right = np.sort(np.roots([4 * a4, 0.0, -2 * a2, a1]).real)
    return float(left), float(barrier), float(right)


def double_well(*, a4: float = 1.0, a2: float = 6.0, a1: float = 1.0, k: float = 1.0) -> System:
    """Two wells along x, a harmonic spring along y; dimensionless lengths, energies in kT.

    Args:
        a4: quartic coefficient, > 0.
        a2: quadratic coefficient, > 0; the depth of the wells.
        a1: tilt; positive favours the left well.
        k: spring constant along y, > 0.

    Returns:
        System of dim 2, with ``start`` the two minima and states ``left`` and ``right`` divided at
        the barrier top. The potential takes numpy and JAX arrays ``(2, *batch)``.

    Raises:
        ConfigError: for coefficients without two minima, or k <= 0.
    """
    left, barrier, right = minima_and_barrier(a4=a4, a2=a2, a1=a1)
    if not (math.isfinite(k) and k > 0):
        raise ConfigError(f"double well: k must be > 0 to confine y, got {k}; raise k")

    def potential(position: Array) -> Array:
        x, y = position[0], position[1]
        return a4 * x**4 - a2 * x**2 + a1 * x + 0.5 * k * y**2

    divide = f"{barrier:.5f}, the barrier top of U(x, 0)"
    return System(
        name="double-well",
        dim=2,
        potential=potential,
        energy_unit="kT",
        start=np.array([[left, 0.0], [right, 0.0]]),
        states=(
            State(name="left", contains=lambda x: x[0] < barrier, definition=f"x < {divide}"),
            State(name="right", contains=lambda x: x[0] >= barrier, definition=f"x >= {divide}"),
        ),
        collective_variable=CollectiveVariable(
            name="x", of=lambda x: x[0], bounds=(left - 0.8, right + 0.8)
        ),
    )
