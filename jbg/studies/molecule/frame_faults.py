"""What is wrong with single frames of a trajectory: they are left out, counted and named."""

from collections.abc import Mapping, Sequence

import numpy as np

from jbg.coords import signed_volume
from jbg.coords.zmatrix import bonded_neighbours
from jbg.interfaces import Topology
from jbg.studies.molecule.look_alike import look_alike
from jbg.systems.frame_bonds import atom_in_words, broken_bonds

NAMED = 5  # frames named of each kind
TOO_HIGH = 100.0  # times sqrt(dim) in kT above the median: atoms on top of each other


def stereocentres(topology: Topology) -> np.ndarray:
    """``(m, 4)``: every atom with four different neighbours, and the first three of these."""
    neighbours, alike = bonded_neighbours(topology), look_alike(topology)
    found = [
        (atom, *others[:3])
        for atom, others in enumerate(neighbours)
        if len(others) == 4 and len({alike[i] for i in others}) == 4
    ]
    return np.array(found, int).reshape(-1, 4)


def find_faults(topology: Topology, reference: np.ndarray, x: np.ndarray) -> np.ndarray:
    """What is wrong with each frame ``(n,)`` str, empty where nothing is.

    Args:
        topology: of the molecule.
        reference: its positions ``(atoms, 3)``, nm, which say the handedness.
        x: frames ``(n, atoms, 3)``, nm.
    """
    found = np.full(len(x), "", dtype=object)
    finite = np.isfinite(x).all(axis=(1, 2))
    found[~finite] = "positions are not finite"
    broken = broken_bonds(topology, x)
    for i in np.flatnonzero(finite & broken.any(axis=1)):
        a, b = topology.bonds[int(np.argmax(broken[i]))]
        found[i] = (
            f"the bond of {atom_in_words(topology, a)} and {atom_in_words(topology, b)} is broken"
        )
    centres = stereocentres(topology)
    if len(centres):
        wanted = signed_volume(reference[None], centres) > 0
        turned = (signed_volume(x, centres) > 0) != wanted
        for i in np.flatnonzero((found == "") & turned.any(axis=1)):
            atom = int(centres[int(np.argmax(turned[i])), 0])
            found[i] = f"{atom_in_words(topology, atom)} is of the other hand"
    return found


def energy_faults(u: np.ndarray, dim: int) -> np.ndarray:
    """Which reduced energies ``(n,)`` are not finite, or far above the others, as words ``(n,)`` str."""
    found = np.full(len(u), "", dtype=object)
    finite = np.isfinite(u)
    if finite.any():
        high = finite & (u > np.median(u[finite]) + TOO_HIGH * np.sqrt(dim))
        found[high] = "the energy is far above that of the others"
    found[~finite] = "the energy is not finite"
    return found


def in_words(
    faults: np.ndarray, file: np.ndarray, frame: np.ndarray, names: Sequence[str]
) -> list[str]:
    """One line for each kind of fault: how many frames, and which, in the order of the kinds' frequency.

    Args:
        faults: of each frame ``(n,)`` str.
        file: number of the file of each ``(n,)``.
        frame: number of each within its file ``(n,)``.
        names: of the files; named only where there are several.
    """
    kinds: Mapping[str, int] = {
        kind: int(np.sum(faults == kind)) for kind in dict.fromkeys(faults.tolist()) if kind
    }
    lines = []
    for kind, count in sorted(kinds.items(), key=lambda entry: -entry[1]):
        rows = np.flatnonzero(faults == kind)[:NAMED]
        which = ", ".join(
            f"{frame[i]}" + (f" of {names[int(file[i])]}" if len(names) > 1 else "") for i in rows
        )
        more = ", ..." if count > NAMED else ""
        lines.append(f"{count} frame{'s' if count > 1 else ''} ({which}{more}): {kind}")
    return lines
