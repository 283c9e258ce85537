"""Densities: a system at a temperature in reduced energies, and exact integrals where known."""

from jbg.targets.quadrature import (
    find_bounds,
    free_energy_difference_quadrature,
    log_z_quadrature,
    profile_quadrature,
    project,
)
from jbg.targets.target import check_taus, heated, make_target, restrict, soften

__all__ = [
    "check_taus",
    "find_bounds",
    "free_energy_difference_quadrature",
    "heated",
    "log_z_quadrature",
    "make_target",
    "profile_quadrature",
    "project",
    "restrict",
    "soften",
]
