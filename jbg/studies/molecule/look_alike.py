"""Which atoms of a molecule bonds and elements cannot tell apart."""

from jbg.coords.zmatrix import bonded_neighbours
from jbg.interfaces import Topology


def look_alike(topology: Topology) -> list[int]:
    """A number for each atom, the same for atoms that bonds and elements cannot tell apart."""
    neighbours = bonded_neighbours(topology)
    number = [sorted(set(topology.elements)).index(element) for element in topology.elements]
    for _ in range(topology.n_atoms):
        seen = [(number[i], *sorted(number[j] for j in neighbours[i])) for i in range(len(number))]
        ranks = {key: rank for rank, key in enumerate(sorted(set(seen)))}
        finer = [ranks[key] for key in seen]
        if len(ranks) == len(set(number)):
            break
        number = finer
    return number
