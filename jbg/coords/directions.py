"""Symmetric rotors without labels: what their atoms have, at fixed directions about the bond.

The circle of a rotor with n exchangeable atoms ends where the atoms change their labels
(`torsions`): on both sides of the cut they lie in the same places, but the bond that was the first
atom's is now the second's. In the variables of labelled atoms a density therefore jumps at the cut,
which no flow that is periodic in the angle can follow, and the gradient of the reverse KL misses
what crosses the jump. Bonds, angles and offsets, b_k of the atom at the torsion m + 2 pi k / n,
become values at the directions 2 pi j / n instead, by trigonometric interpolation:

    b'_j = sum_k K(2 pi (j - k) / n - m) b_k,
    K(x) = (1 + 2 sum_{l = 1 ... (n - 1) / 2} cos l x) / n.

Relabelling changes m by 2 pi / n and shifts b, which leaves b' as it is: the density in b' closes
on the circle. For odd n the map from b to b' is a rotation (determinant 1), and a relabelling where
m is a multiple of 2 pi / n. For even n there is no such rotation, and rotors of two atoms
(carboxylates) stay as they are.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array

from jbg.coords.torsions import Rotors, TorsionCells, along, by_size, rotor_torsions
from jbg.coords.zmatrix import ZMatrix
from jbg.interfaces import Bijector


def interpolated_rotors(zmatrix: ZMatrix, rotors: Rotors) -> list[np.ndarray]:
    """Torsion indices of the rotors that have values at directions: those of odd numbers of atoms."""
    return [members for members in rotor_torsions(zmatrix, rotors) if len(members) % 2]


def rotor_slots(members: np.ndarray, n_atoms: int) -> np.ndarray:
    """Places ``(3, *members.shape)`` of the bonds, angles and torsions of a rotor's atoms."""
    return np.stack([members + 2, members + n_atoms, members + 2 * n_atoms - 3])


def rotor_directions(zmatrix: ZMatrix, rotors: Rotors, cells: TorsionCells) -> Bijector:
    """Cell variables with values at directions <-> cell variables of labelled atoms (`torsion_variables`).

    Offsets s_k of a rotor are differences d_k - d_0 of the deviations from m + 2 pi k / n. Both ways
    have log-determinant 0.
    """
    groups = by_size(interpolated_rotors(zmatrix, rotors))
    dim = 3 * zmatrix.n_atoms - 6

    def turn(z: Array, *, to_directions: bool) -> tuple[Array, Array]:
        for members in groups:
            bonds, angles, torsions = rotor_slots(members, zmatrix.n_atoms)
            size, (leads, offsets) = members.shape[1], (torsions[:, 0], torsions[:, 1:])
            lead = z[leads] + along(cells.centre[members[:, 0]], z[leads])
            kernel = _kernel(lead / size, size, to_directions=to_directions)
            for slots in (bonds, angles):
                z = z.at[slots].set(_apply(kernel, z[slots]))
            deviations = jnp.concatenate([jnp.zeros_like(z[torsions[:, :1]]), z[offsets]], 1)
            deviations = _apply(kernel, deviations)  # of a constant it is that constant
            z = z.at[offsets].set(deviations[:, 1:] - deviations[:, :1])
        return z, jnp.zeros(z.shape[1:], z.dtype)

    return Bijector(
        dim_in=dim,
        dim_out=dim,
        init=lambda key: (),
        forward=lambda params, z: turn(z, to_directions=False),
        inverse=lambda params, y: turn(y, to_directions=True),
    )


def _kernel(m: Array, size: int, *, to_directions: bool) -> Array:
    """K for mean torsions m ``(R, *batch)``: ``(R, size, size, *batch)``, rows are what is wanted."""
    grid = 2 * np.pi / size * np.arange(size)
    apart = grid[:, None] - grid[None, :] if to_directions else grid[None, :] - grid[:, None]
    x = jnp.asarray(apart, m.dtype).reshape(1, size, size, *(1,) * (m.ndim - 1)) - m[:, None, None]
    waves = [jnp.cos(order * x) for order in range(1, (size + 1) // 2)]
    return (1 + 2 * sum(waves)) / size


def _apply(kernel: Array, values: Array) -> Array:
    """sum_k kernel_jk values_k ``(R, size, *batch)``, by products that no device takes in lower precision."""
    return jnp.sum(kernel * values[:, None], 2)
