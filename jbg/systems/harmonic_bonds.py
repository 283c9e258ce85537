"""The harmonic bonds of a System: what a constraint in somebody's simulation took the place of."""

from typing import NamedTuple

import numpy as np
import openmm


class HarmonicBonds(NamedTuple):
    """U = k/2 (r - length)^2 of each bond: ``pairs (m, 2)`` of atoms, ``length (m,)`` in nm, ``k (m,)`` in
    kJ/mol/nm^2."""

    pairs: np.ndarray
    length: np.ndarray
    k: np.ndarray


def harmonic_bonds(system_xml: str, bonds: np.ndarray) -> HarmonicBonds:
    """The springs of a serialised System between atoms that are bonded.

    Args:
        system_xml: of the System. Its other springs, of Urey and Bradley, hold the ends of angles.
        bonds: of the molecule ``(n, 2)``.
    """
    bonded = {frozenset(pair) for pair in np.asarray(bonds).tolist()}
    system = openmm.XmlSerializer.deserialize(system_xml)
    forces = [f for f in system.getForces() if isinstance(f, openmm.HarmonicBondForce)]
    every = [f.getBondParameters(i) for f in forces for i in range(f.getNumBonds())]
    rows = [row for row in every if frozenset(row[:2]) in bonded]
    return HarmonicBonds(
        pairs=np.array([row[:2] for row in rows], int).reshape(-1, 2),
        length=np.array([row[2]._value for row in rows], float),
        k=np.array([row[3]._value for row in rows], float),
    )
