"""Exact integrals of exp(-u/tau) in two dimensions by grids in numpy float64: toy references.

The midpoint rule on a box whose edges lie ``DEPTH`` kT above the lowest energy converges
exponentially for smooth energies. Potentials take arrays ``(dim, *batch)``; those written in plain
arithmetic stay in float64.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from jbg.interfaces import ConfigError

DEPTH = 40.0  # exp(-40) = 4e-18: what lies outside the box does not show in float64

Potential = Callable[[Any], ArrayLike]  # of arrays, numpy's or JAX's as it is given


def find_bounds(potential: Potential, start: np.ndarray, *, tau: float = 1.0) -> np.ndarray:
    """A box around ``start`` outside of which exp(-u/tau) is negligible.

    Each face moves outwards until the lowest energy on it is DEPTH tau above the lowest of
    ``start``.

    Args:
        potential: (dim, *batch) -> (*batch,), in kT.
        start: known configurations ``(n, dim)``, the lowest minimum among them.
        tau: relative temperature.

    Returns:
        ``(dim, 2)`` lower and upper bounds.

    Raises:
        ConfigError: if the potential does not confine.
    """
    start = np.asarray(start, np.float64)
    ceiling = float(np.min(potential(start.T))) + DEPTH * tau
    centre = np.stack([start.min(axis=0), start.max(axis=0)], axis=1)
    margin = np.full_like(centre, 1e-3)
    for _ in range(200):
        bounds = centre + margin * np.array([-1.0, 1.0])
        low = np.array(
            [[_face_minimum(potential, bounds, d, s) for s in (0, 1)] for d in range(len(bounds))]
        )
        if np.all(low > ceiling):
            return bounds
        margin = np.where(low > ceiling, margin, 1.2 * margin)
    raise ConfigError("quadrature: the potential does not confine; its integral is not finite")


def _face_minimum(potential: Potential, bounds: np.ndarray, axis: int, side: int) -> float:
    """Lowest energy on one face of the box, sampled on a grid."""
    ranges = [np.linspace(low, high, 101) for low, high in bounds]
    ranges[axis] = bounds[axis, side : side + 1]
    return float(np.min(potential(np.stack(np.meshgrid(*ranges, indexing="ij")))))


def _midpoints(low: float, high: float, n: int) -> np.ndarray:
    return low + (np.arange(n) + 0.5) * (high - low) / n


def _grid(bounds: np.ndarray, n: int) -> tuple[np.ndarray, float]:
    """Midpoints ``(dim, n, ..., n)`` of a box and the log of the volume of a cell."""
    bounds = np.asarray(bounds, np.float64)
    points = np.stack(
        np.meshgrid(*[_midpoints(low, high, n) for low, high in bounds], indexing="ij")
    )
    return points, float(np.sum(np.log((bounds[:, 1] - bounds[:, 0]) / n)))


def log_z_quadrature(
    potential: Potential, bounds: np.ndarray, *, n: int = 1000, tau: float = 1.0
) -> float:
    """ln of the integral of exp(-u/tau) over a box.

    Args:
        potential: ``(dim, *batch)`` -> ``(*batch,)``, in kT.
        bounds: lower and upper bounds of the box, ``(dim, 2)``, such as those of `find_bounds`.
        n: midpoints in each dimension.
        tau: relative temperature.
    """
    points, log_cell = _grid(bounds, n)
    log_sum = np.asarray(logsumexp(-np.asarray(potential(points), np.float64) / tau))
    return float(log_sum) + log_cell


def free_energy_difference_quadrature(
    potential: Potential,
    bounds: np.ndarray,
    in_a: Callable[[np.ndarray], np.ndarray],
    in_b: Callable[[np.ndarray], np.ndarray],
    *,
    n: int = 2000,
    tau: float = 1.0,
) -> float:
    """F(B) - F(A) = -ln(Z_B / Z_A) in kT at temperature tau.

    A dividing surface through the cells costs an error of at most half a cell of the density on it.

    Args:
        potential, bounds, n, tau: as for `log_z_quadrature`.
        in_a: points ``(dim, *batch)`` -> which of them lie in A, ``(*batch,)`` bool.
        in_b: the same for B.
    """
    points, _ = _grid(bounds, n)
    log_density = -np.asarray(potential(points), np.float64) / tau
    log_z_a = np.asarray(logsumexp(log_density[in_a(points)]))
    log_z_b = np.asarray(logsumexp(log_density[in_b(points)]))
    return float(log_z_a - log_z_b)


def project(x: np.ndarray, direction: tuple[float, float]) -> np.ndarray:
    """x . direction / |direction| ``(*batch,)`` of points ``(2, *batch)`` in the plane."""
    length = float(np.hypot(*direction))
    return (direction[0] * x[0] + direction[1] * x[1]) / length


def profile_quadrature(
    potential: Potential,
    bounds: np.ndarray,
    edges: np.ndarray,
    *,
    direction: tuple[float, float] = (1.0, 0.0),
    n: int = 1000,
    tau: float = 1.0,
) -> np.ndarray:
    """Free energy along a line in the plane, averaged over bins as a histogram is.

    F_i = -ln(P_i / width_i) in kT at temperature tau, with P_i the probability of bin i of the coordinate
    `project`. Each bin is integrated by Gauss and Legendre's rule, and across it over the box.

    Args:
        potential, bounds, tau: as for `log_z_quadrature`, in two dimensions.
        edges: of the bins, rising, ``(n_bins + 1,)``, in the unit of x.
        direction: of the line, of any length; along x by default.
        n: midpoints across the line, and in each dimension for the normaliser.
    """
    edges = np.asarray(edges, np.float64)
    nodes, weights = np.polynomial.legendre.leggauss(8)
    s = edges[:-1, None] + np.diff(edges)[:, None] * (nodes + 1) / 2
    across = np.array([-direction[1], direction[0]]) / np.hypot(*direction)
    along = np.array(direction) / np.hypot(*direction)
    corners = np.stack(np.meshgrid(*bounds)).reshape(2, -1)
    low, high = (across @ corners).min(), (across @ corners).max()
    s_grid, t_grid = np.meshgrid(s.ravel(), _midpoints(low, high, n), indexing="ij")
    points = along[:, None, None] * s_grid + across[:, None, None] * t_grid
    log_density = (-np.asarray(potential(points), np.float64) / tau).reshape(*s.shape, n)
    log_mean = logsumexp(log_density, axis=(1, 2), b=(weights / (2 * n))[:, None])
    return log_z_quadrature(potential, bounds, n=n, tau=tau) - (log_mean + np.log(high - low))
