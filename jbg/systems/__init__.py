"""Physics: potentials U(x) without temperature. Systems that need no OpenMM are re-exported."""

from jbg.systems.dimer import dimer_distance, lj_dimer
from jbg.systems.double_well import double_well, minima_and_barrier
from jbg.systems.many_well import many_well
from jbg.systems.mueller_brown import mueller_brown

__all__ = [
    "dimer_distance",
    "double_well",
    "lj_dimer",
    "many_well",
    "minima_and_barrier",
    "mueller_brown",
]
