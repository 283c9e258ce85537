"""Whether frames are those of a molecule: its bonds must be as long as bonds are.

Arrays and most trajectory files do not say what their atoms are; atoms in another order, another molecule with as
many atoms, molecules split by a periodic box, and coordinates in angstrom show by the distances only.
"""

import numpy as np

from jbg.interfaces import ConfigError, Topology

N_LOOKED_AT = 100  # frames
WITH_HYDROGEN, BETWEEN_HEAVY = 0.2, 0.27  # nm; no bond is longer in most frames of a simulation
SHORTEST = 0.05  # nm
_SHORTEST_IN_ANGSTROM = 0.7
_FEW = 0.1  # broken bonds of a molecule that a box splits, share of all


def check_bonds(topology: Topology, frames: np.ndarray, where: str) -> None:
    """Refuses frames in which a bond of the molecule is too long to be one, by its median over the frames.

    Args:
        topology: of the molecule.
        frames: ``(n, atoms, 3)``, nm; the first ones are looked at.
        where: name of the source in messages.

    Raises:
        ConfigError: names the first such bond, how many there are, and the likely reason.
    """
    bonds = np.asarray(topology.bonds)
    if not len(bonds) or not len(frames):
        return
    few = np.asarray(frames[:N_LOOKED_AT])
    apart = np.median(_lengths(bonds, few), axis=0)
    broken = np.flatnonzero(apart > _longest(topology, bonds))
    if not broken.size:
        return
    a, b = (atom_in_words(topology, int(i)) for i in bonds[broken[0]])
    if apart.min() > _SHORTEST_IN_ANGSTROM and (apart / 10 < BETWEEN_HEAVY).all():
        hint = "coordinates look like angstrom, divide by 10"
    elif broken.size <= max(1, _FEW * len(bonds)):
        hint = (
            "make the molecule whole if a periodic box splits it, else give its atoms in its order"
        )
    else:
        hint = "give a trajectory of this molecule, with its atoms in its order"
    raise ConfigError(
        f"{where}: frames disagree with the molecule: {a} and {b} are bonded but {apart[broken[0]]:.2f} nm apart, "
        f"and so are {broken.size} of {len(bonds)} bonds; {hint}"
    )


def broken_bonds(topology: Topology, frames: np.ndarray) -> np.ndarray:
    """Which bonds ``(n, bonds)`` of frames ``(n, atoms, 3)`` in nm are too long or too short to be bonds."""
    bonds = np.asarray(topology.bonds).reshape(-1, 2)
    apart = _lengths(bonds, frames)
    # what is not a number is broken
    return ~((apart <= _longest(topology, bonds)) & (apart >= SHORTEST))


def _lengths(bonds: np.ndarray, frames: np.ndarray) -> np.ndarray:
    return np.linalg.norm(frames[:, bonds[:, 0]] - frames[:, bonds[:, 1]], axis=-1)


def _longest(topology: Topology, bonds: np.ndarray) -> np.ndarray:
    light = np.array(topology.elements)[bonds] == "H"
    return np.where(light.any(axis=1), WITH_HYDROGEN, BETWEEN_HEAVY)


def atom_in_words(topology: Topology, i: int) -> str:
    """An atom as "CA of ALA 2"."""
    return f"{topology.atom_names[i]} of {topology.residue_names[i]} {topology.residue_ids[i] + 1}"
