"""Generalised Born models in closed form: the integrals of the Born radii, the radii, the surface term.

    I_i = sum over j of H(r_ij; o_i, s_j) + neck(r_ij)
    1/B_i = 1/o_i - T_i / R_i,   T = tanh(alpha psi - beta psi^2 + gamma psi^3),   psi = I o     (OBC, GBn)
    1/B_i = 1/o_i - I_i                                                                          (HCT)
    E = -K/2 sum over i, j of q_i q_j / f_ij + sum of S (R_i + 0.14 nm)^2 (R_i / B_i)^6
    f^2 = r^2 + B_i B_j exp(-r^2 / (4 B_i B_j))

o = R - offset is the reduced radius, s the scaled one, K the Coulomb constant times (1/eps_in - 1/eps_out). The
terms i = j of the pair sum are the self energies. Hawkins, Cramer & Truhlar, Chem. Phys. Lett. 246, 122 (1995);
Onufriev, Bashford & Case, Proteins 55, 383 (2004); Mongan et al., JCTC 3, 156 (2007); Nguyen, Roe & Simmerling,
JCTC 9, 2020 (2013). As OpenMM 8 writes them.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

PROBE = 0.14  # nm, of the surface term
NECK_HEIGHT, NECK_SHARPNESS = 100.0, 0.3e6  # 1/nm^2, 1/nm^6
# kJ/mol for each atom without a positive Born radius: HCT of overlapping atoms, where OpenMM gives NaN or nonsense
NO_RADIUS = 1e10


class Neck(NamedTuple):
    """The neck correction of GBn and GBn2, tables resolved to pairs."""

    distance: np.ndarray  # (N, N) nm, of the maximum
    height: np.ndarray  # (N, N) 1/nm, at the maximum, the scale factor included
    reach: np.ndarray  # (N, N) nm, zero beyond


class BornModel(NamedTuple):
    """Parameters of one model, by atom ``(N,)`` where not said otherwise."""

    charge: np.ndarray  # e
    radius: np.ndarray  # nm, R
    reduced: np.ndarray  # nm, o
    scaled: np.ndarray  # nm, s
    tanh: np.ndarray | None  # (3, N): alpha, beta, gamma; None: HCT
    neck: Neck | None
    coulomb: float  # kJ/mol nm / e^2, K
    surface: float  # kJ/mol/nm^2, S
    engulfed: bool  # whether an atom inside another's sphere gets the further term of GBSAOBCForce


def descreening(
    r: Array, reduced: Array, scaled: Array, *, engulfed: bool
) -> tuple[Array, Array, Array]:
    """H(r; o_i, s_j) in 1/nm, dH/dr in 1/nm^2 and 1/r, of arrays that broadcast.

    Args:
        r: distances, nm, positive.
        reduced: o_i, nm.
        scaled: s_j, nm.
        engulfed: whether an atom inside another's sphere gets the further term, as in `BornModel`.
    """
    upper, apart = r + scaled, r - scaled
    lower = jnp.maximum(reduced, jnp.abs(apart))
    # three reciprocals by one division
    product = lower * r
    whole = 1 / (upper * product)
    u = whole * product
    upward = whole * upper
    l, inverse = upward * r, upward * lower  # noqa: E741
    log = 0.5 * jnp.log(lower * u) * inverse
    squares = 0.25 * (u * u - l * l)
    ratio = scaled * inverse
    value = 0.5 * (l - u + (r - scaled * ratio) * squares + log)
    slope = 0.5 * ((1 + ratio * ratio) * squares - log * inverse)
    # the derivatives with respect to both limits vanish, but for that of the lower one inside the other's sphere
    inside = reduced < -apart
    if engulfed:
        value += jnp.where(inside, 1 / reduced - l, 0)
    else:
        slope += jnp.where(inside, l * l, 0)
    seen = upper >= reduced
    return jnp.where(seen, value, 0), jnp.where(seen, slope, 0), inverse


def neck_integral(r: Array, distance: Array, height: Array, reach: Array) -> tuple[Array, Array]:
    """The neck's part of I_i in 1/nm and its derivative by r in 1/nm^2, of arrays that broadcast.

    Args:
        r: distances, nm.
        distance, height, reach: of each pair, as in `Neck`; a height of 0 is no neck.
    """
    x = r - distance
    x2 = x * x
    x4 = x2 * x2
    value = jnp.where(r <= reach, height / (1 + NECK_HEIGHT * x2 + NECK_SHARPNESS * x2 * x4), 0)
    # height = 0 where two radii have no neck
    per_height = value / jnp.where(height == 0, 1, height)
    return value, -value * per_height * x * (2 * NECK_HEIGHT + 6 * NECK_SHARPNESS * x4)


def born_radii(model: BornModel, integral: Array) -> tuple[Array, Array, Array]:
    """B in nm, dB/dI, and NO_RADIUS where there is none, of the integrals ``(N, *batch)``."""
    reduced, radius = (_along(a, integral) for a in (model.reduced, model.radius))
    if model.tanh is None:
        inverse, slope = 1 / reduced - integral, 1.0
    else:
        alpha, beta, gamma = (_along(a, integral) for a in model.tanh)
        psi = integral * reduced
        t = jnp.tanh(psi * (alpha - psi * (beta - psi * gamma)))
        inverse = 1 / reduced - t / radius
        slope = (1 - t * t) * (alpha - psi * (2 * beta - 3 * gamma * psi)) * reduced / radius
    none = inverse <= 0
    born = 1 / jnp.where(none, 1, inverse)
    return born, jnp.where(none, 0, slope * born * born), jnp.where(none, NO_RADIUS, 0)


def surface_energy(model: BornModel, born: Array) -> tuple[Array, Array]:
    """Surface energy of each atom ``(N, *batch)`` in kJ/mol and its derivative by B."""
    radius = _along(model.radius, born)
    ratio = radius / born
    cube = ratio * ratio * ratio
    energy = model.surface * (radius + PROBE) ** 2 * cube * cube
    return energy, -6 * energy / born


def _along(values: np.ndarray, like: Array) -> Array:
    """``values`` (N,) in the type of ``like`` (N, *batch), ready to broadcast."""
    return jnp.asarray(values, like.dtype).reshape(-1, *[1] * (like.ndim - 1))
