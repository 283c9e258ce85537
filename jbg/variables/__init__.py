"""States and collective variables that users define, by text or by functions."""

from jbg.variables.definitions import Variable, state, variable
from jbg.variables.functions import frame_values, load_function
from jbg.variables.quantities import Quantity
from jbg.variables.selections import mdtraj_topology

__all__ = [
    "Quantity",
    "Variable",
    "frame_values",
    "load_function",
    "mdtraj_topology",
    "state",
    "variable",
]
