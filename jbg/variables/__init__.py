"""States and collective variables that users define, by text or by functions."""

from jbg.variables.definitions import Variable, state, variable
from jbg.variables.functions import load_function, of_positions
from jbg.variables.quantities import Quantity
from jbg.variables.selections import mdtraj_topology

__all__ = [
    "Quantity",
    "Variable",
    "load_function",
    "mdtraj_topology",
    "of_positions",
    "state",
    "variable",
]
