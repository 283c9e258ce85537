"""OpenMM Systems compiled to JAX: implicit-solvent force fields without leaving the device.

`compiled_potential` reads a System into arrays (`read`, `read_born`, `maps`) and evaluates them: `bonded` terms by
automatic differentiation, `pairs` with the `born` models in closed form, block by block.
"""

from jbg.systems.forcefield.potential import compiled_potential
from jbg.systems.forcefield.read import read_system

__all__ = ["compiled_potential", "read_system"]
