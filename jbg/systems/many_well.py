"""Many-well: independent double wells in pairs of dimensions, 2^(dim/2) modes and a known normaliser.

U(x) = sum over pairs of x1^4 - 6 x1^2 - x1/2 + x2^2/2, in kT (Midgley et al. 2023, arXiv:2208.01893, App. H; the
wells are those of Wu et al. 2020, arXiv:2002.06707).
"""

import math

import numpy as np
from jax import Array
from scipy.integrate import quad

from jbg.interfaces import ConfigError, State, System
from jbg.systems.double_well import minima_and_barrier

COEFFICIENTS = {"a4": 1.0, "a2": 6.0, "a1": -0.5}


def many_well(*, dim: int = 32) -> System:
    """dim/2 double wells side by side; dimensionless lengths, energies in kT.

    Args:
        dim: even, at least 2; 32 as published. Even coordinates (0, 2, ...) hold the wells, odd ones the springs.

    Returns:
        System with ``start`` the two minima in which all wells agree, and states ``left`` and ``right`` of the
        first well. ``log_z`` is dim/2 times that of one pair, by quadrature.

    Raises:
        ConfigError: dim odd or below 2.
    """
    if dim < 2 or dim % 2:
        raise ConfigError(f"many-well: dim must be even and at least 2, got {dim}")
    left, barrier, right = minima_and_barrier(**COEFFICIENTS)
    a4, a2, a1 = (COEFFICIENTS[name] for name in ("a4", "a2", "a1"))

    def log_z(tau: float = 1.0) -> float:
        lowest = min(a4 * x**4 - a2 * x**2 + a1 * x for x in (left, right))
        height = lambda x: math.exp(-(a4 * x**4 - a2 * x**2 + a1 * x - lowest) / tau)
        reach = 4.0 * (1.0 + tau**0.25)
        area = quad(height, -reach, reach, points=[left, barrier, right], epsabs=0, limit=200)[0]
        return dim / 2 * (math.log(area) - lowest / tau + 0.5 * math.log(2 * math.pi * tau))

    def potential(x: Array) -> Array:
        well, spring = x[0::2], x[1::2]
        return (a4 * well**4 - a2 * well**2 + a1 * well).sum(0) + 0.5 * (spring**2).sum(0)

    divide = f"{barrier:.5f}, the barrier top of the first well"
    return System(
        name="many-well",
        dim=dim,
        potential=potential,
        energy_unit="kT",
        start=np.stack([np.tile([x, 0.0], dim // 2) for x in (left, right)]),
        states=(
            State(name="left", contains=lambda x: x[0] < barrier, definition=f"x0 < {divide}"),
            State(name="right", contains=lambda x: x[0] >= barrier, definition=f"x0 >= {divide}"),
        ),
        log_z=log_z,
    )
