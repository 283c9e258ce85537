"""Physics: potentials U(x) without temperature. Systems that need no OpenMM are re-exported."""

from jbg.systems.double_well import double_well, minima_and_barrier

__all__ = ["double_well", "minima_and_barrier"]
