"""The bicubic patches of an energy map over two torsions, as OpenMM's CMAPTorsionForce interpolates it."""

import numpy as np
from scipy.interpolate import CubicSpline

# powers of t of a cubic on [0, 1] from its values at 0 and 1 and its slopes there
HERMITE = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [-3, 3, -2, -1], [2, -2, 1, 1]], float)


def bicubic_patches(energies: np.ndarray) -> np.ndarray:
    """Coefficients ``(size, size, 4, 4)`` of t^i s^j in every cell, t and s in [0, 1] along phi and psi.

    Slopes at the grid points are those of periodic cubic splines along each angle.

    Args:
        energies: ``(size, size)``, at phi = 2 pi i / size and psi = 2 pi j / size.
    """
    of_phi, of_psi = _slopes(energies, 0), _slopes(energies, 1)
    of_both = _slopes(of_psi, 0)
    quantities = ((energies, of_psi), (of_phi, of_both))
    corners = np.block([[_corners(value) for value in row] for row in quantities])
    return HERMITE @ corners @ HERMITE.T


def _slopes(values: np.ndarray, axis: int) -> np.ndarray:
    """Derivatives by the cell's own variable at the grid points."""
    size = values.shape[axis]
    closed = np.concatenate([values, values.take([0], axis)], axis)
    spline = CubicSpline(np.arange(size + 1), closed, axis=axis, bc_type="periodic")
    return spline(np.arange(size), 1)


def _corners(values: np.ndarray) -> np.ndarray:
    """``(size, size, 2, 2)``: the values at the corners of each cell."""
    rows = np.stack([values, np.roll(values, -1, 0)], axis=-1)
    return np.stack([rows, np.roll(rows, -1, 1)], axis=-1)
