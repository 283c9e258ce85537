"""Symmetric rotors in variables that labels do not enter: values at fixed directions about the bond.

The circle of a rotor with three exchangeable atoms (CH3, NH3+) ends where the atoms change their
labels (`torsions`): on both sides of the cut they lie in the same places, but the bond that was the
first atom's is now the second's. In the variables of labelled atoms a density therefore jumps at
the cut, which no flow that is periodic in the angle can follow, and the gradient of the reverse KL
misses what crosses the jump. Bonds, angles and offsets, b_k of the atom at the torsion m + e_k with
e = (-120, 0, 120) degrees, become values at the directions e_j instead, by trigonometric
interpolation:

    b'_j = B_0 + B_c cos(e_j - m) + B_s sin(e_j - m),
    B_0 = sum_k b_k / 3,  B_c = 2/3 sum_k b_k cos e_k,  B_s = 2/3 sum_k b_k sin e_k.

Relabelling changes m by 120 degrees and shifts b, which leaves b' as it is: the density in b'
closes on the circle. The map from b to b' is the rotation by m about (1, 1, 1), of determinant 1.
There is none for two atoms, and carboxylates stay as they are.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array

from jbg.coords.torsions import Rotors, TorsionCells, along, rotor_torsions
from jbg.coords.zmatrix import ZMatrix
from jbg.interfaces import Bijector

DIRECTIONS = (-120, 0, 120)  # degrees
_E = np.radians(DIRECTIONS)
_WAVES = np.stack([np.ones(3), np.cos(_E), np.sin(_E)])  # rows 1, cos e, sin e
_COMPONENTS = _WAVES * np.array([[1], [2], [2]]) / 3  # B_0, B_c, B_s


def interpolated_rotors(zmatrix: ZMatrix, rotors: Rotors) -> np.ndarray:
    """Torsion indices ``(R, 3)`` of the rotors that have values at directions: those of three atoms."""
    members = [m for m in rotor_torsions(zmatrix, rotors) if len(m) == len(DIRECTIONS)]
    return np.array(members, np.int32).reshape(-1, len(DIRECTIONS))


def rotor_slots(members: np.ndarray, n_atoms: int) -> np.ndarray:
    """Places ``(3, R, 3)`` of the bonds, angles and torsions of the rotors' atoms."""
    return np.stack([members + 2, members + n_atoms, members + 2 * n_atoms - 3])


def rotor_directions(zmatrix: ZMatrix, rotors: Rotors, cells: TorsionCells) -> Bijector:
    """Cell variables with values at directions <-> cell variables of labelled atoms (`torsion_variables`).

    Offsets s_k of a rotor are differences d_k - d_0 of the deviations from m + e_k. Both ways have
    log-determinant 0.
    """
    members = interpolated_rotors(zmatrix, rotors)
    slots = rotor_slots(members, zmatrix.n_atoms)
    dim = 3 * zmatrix.n_atoms - 6

    def turned(z: Array, sign: int) -> tuple[Array, Array]:
        """Values ``(3 kinds, R, 3, *batch)`` turned by sign * m."""
        lead = z[slots[2, :, 0]]
        m = (lead + along(cells.centre[members[:, 0]], lead)) / 3
        cos, sin = jnp.cos(m)[None], sign * jnp.sin(m)[None]
        values = z[slots].at[2, :, 0].set(0.0)  # d_0: what is added to all three drops out below
        b0, bc, bs = (_sum(row, values) for row in _COMPONENTS)
        waves = jnp.stack([b0, bc * cos - bs * sin, bc * sin + bs * cos], 2)
        values = jnp.stack([_sum(column, waves) for column in _WAVES.T], 2)
        values = values.at[2].add(-values[2, :, :1]).at[2, :, 0].set(lead)
        return z.at[slots].set(values), jnp.zeros(z.shape[1:], z.dtype)

    return Bijector(
        dim_in=dim,
        dim_out=dim,
        init=lambda key: (),
        forward=lambda params, z: turned(z, -1),
        inverse=lambda params, y: turned(y, 1),
    )


def _sum(weights: np.ndarray, values: Array) -> Array:
    """sum_k weights_k values_k over axis 2, by products that no device takes in lower precision."""
    terms = (float(weight) * values[:, :, k] for k, weight in enumerate(weights))
    return sum(terms, jnp.zeros((), values.dtype))
