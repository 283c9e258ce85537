"""Peptides for tests, each built once in a process."""

import functools

from jbg.systems.molecule import FORCEFIELD, Molecule, molecule_from_sequence


@functools.cache
def peptide(sequence: str, forcefield: tuple[str, ...] = FORCEFIELD) -> Molecule:
    return molecule_from_sequence(sequence, forcefield=forcefield)
