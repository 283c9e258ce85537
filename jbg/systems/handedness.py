"""Which residues of a molecule are L and which D: by its coordinates, whatever they are called."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from openmm import app

from jbg.interfaces import ConfigError
from jbg.systems.peptide import signed_ca_volume, signed_volume
from jbg.systems.protonation import label
from jbg.systems.residue_names import MIRRORED

FLAT = 5e-4  # nm^3, about a fifth of the volume at an ideal CA


class Handedness(NamedTuple):
    """Residues as "ALA 2"; those whose side chain is of the other hand than their CA (allo) beside."""

    left: tuple[str, ...]
    right: tuple[str, ...]
    allo: tuple[str, ...]


def handedness(topology: app.Topology, positions: np.ndarray) -> Handedness:
    """Of every residue with a CB on its CA, from positions ``(atoms, 3)`` in nm."""
    left, right, allo = [], [], []
    for residue, atoms in _chiral(topology, positions):
        at_ca = signed_ca_volume(atoms)
        (left if at_ca > 0 else right).append(label(residue))
        branch = {"THR": "OG1", "ILE": "CG1"}.get(residue.name)
        if branch is not None and at_ca * signed_volume(atoms, "CB", ("CA", branch, "CG2")) < 0:
            allo.append(label(residue))
    return Handedness(tuple(left), tuple(right), tuple(allo))


def handedness_in(pdb: Path, positions: np.ndarray) -> Handedness:
    """Of the residues of a PDB file, whose atoms stand at other positions ``(atoms, 3)``, nm."""
    return handedness(app.PDBFile(str(pdb)).topology, positions)


def check_named_handedness(
    topology: app.Topology, positions: np.ndarray, named: Sequence[str], where: str
) -> None:
    """Refuses a CA too flat to be L or D, and a residue named D (DAL) that is L.

    A residue named as L's own (ALA) is what its coordinates are.

    Args:
        topology: of the molecule, with the names that L residues have.
        positions: ``(atoms, 3)``, nm.
        named: names in the file, one for each residue.
        where: name of the source in messages.
    """
    for residue, atoms in _chiral(topology, positions):
        volume, name = signed_ca_volume(atoms), named[residue.index]
        if abs(volume) < FLAT:
            raise ConfigError(
                f"{where}: CA of {name} {residue.id} is flat, neither L nor D; repair the file"
            )
        if name in MIRRORED and volume > 0:
            raise ConfigError(
                f"{where}: {name} {residue.id} is D by name and L by its coordinates; name it {residue.name}, "
                "or mirror them"
            )


def check_kept(
    topology: app.Topology, given: np.ndarray, minimised: np.ndarray, where: str
) -> None:
    """Refuses a molecule that minimising turned into another.

    Args:
        topology: of the molecule.
        given: positions before minimising, ``(atoms, 3)``, nm.
        minimised: positions after.
        where: name of the source in messages.
    """
    before, after = (handedness(topology, positions) for positions in (given, minimised))
    if before != after:
        turned = sorted({*before.right} ^ {*after.right} | {*before.allo} ^ {*after.allo})
        raise ConfigError(
            f"{where}: minimising turned {', '.join(turned)} into the mirror image; repair the structure"
        )


def check_mirror_images(
    energy: Callable[[np.ndarray], float], positions: np.ndarray, right: Sequence[str], where: str
) -> None:
    """Refuses D residues where the force field is made for L: mirrored configurations have another energy.

    Args:
        energy: kJ/mol of positions ``(atoms, 3)``, nm.
        positions: of the molecule.
        right: the D residues.
        where: name of the source in messages.
    """
    here, mirrored = energy(positions), energy(-positions)
    if right and not abs(here - mirrored) < 1e-3 * max(1.0, len(positions) / 500):
        raise ConfigError(
            f"{where}: the force field is made for L, a mirror image has another energy "
            f"({mirrored - here:+.1f} kJ/mol), so not for D residues ({', '.join(right[:5])}); choose one "
            "without CMAP, such as amber14-all.xml"
        )


def _chiral(topology: app.Topology, positions: np.ndarray):
    """Residues with the four atoms of an amino acid's alpha carbon, and the places of their atoms by name."""
    for residue in topology.residues():
        atoms = {atom.name: positions[atom.index] for atom in residue.atoms()}
        if {"N", "CA", "C", "CB"} <= set(atoms):
            yield residue, atoms
