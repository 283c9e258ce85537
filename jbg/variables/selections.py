"""Groups of atoms by word or in mdtraj's language, structures from files, and mdtraj's view of a molecule."""

import functools
from pathlib import Path
from typing import Any

import numpy as np

from jbg.coords import backbone_atoms
from jbg.interfaces import ConfigError, Topology
from jbg.variables.grammar import Text, Token
from jbg.variables.names import Names


@functools.cache
def mass_of(element: str) -> float:
    """The mass of an element in dalton."""
    from mdtraj.core.element import Element

    return float(Element.getBySymbol(element).mass)


def mdtraj_topology(topology: Topology) -> Any:
    """The ``mdtraj.Topology`` of a molecule, residues numbered as in its file where that is possible."""
    import mdtraj
    from mdtraj.core.element import Element

    made = mdtraj.Topology()
    chain, residues = made.add_chain(), {}
    numbers = topology.residue_numbers or [str(i + 1) for i in topology.residue_ids]
    for i, residue in enumerate(topology.residue_ids):
        if residue not in residues:
            number = numbers[i].rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
            known = int(number) if number.lstrip("-").isdigit() else residue + 1
            residues[residue] = made.add_residue(topology.residue_names[i], chain, resSeq=known)
        element = Element.getBySymbol(topology.elements[i])
        made.add_atom(topology.atom_names[i], element, residues[residue])
    atoms = list(made.atoms)
    for i, j in topology.bonds.tolist():
        made.add_bond(atoms[i], atoms[j])
    return made


def selected(text: Text, token: Token | None, names: Names) -> np.ndarray:
    """The atoms that a word or a selection names ``(m,)``; all without one.

    Args:
        text: of the definition, for errors.
        token: the word, or a selection of mdtraj in quotes.
        names: of the molecule's atoms.

    Raises:
        ConfigError: a selection that cannot be read, or of no atom.
    """
    topology = names.topology
    if token is None or token.text == "all":
        return np.arange(topology.n_atoms)
    if token.text == "heavy":
        found = np.flatnonzero([element != "H" for element in topology.elements])
    elif token.text == "backbone":
        found = np.array(sorted(backbone_atoms(topology)), int)
    elif token.text == "alpha":
        found = np.flatnonzero([name == "CA" for name in topology.atom_names])
    else:
        try:
            found = np.asarray(mdtraj_topology(topology).select(token.text[1:-1]), int)
        except Exception as error:  # noqa: BLE001  mdtraj's parser raises anything
            raise text.error(token, f"mdtraj cannot read the selection {token.text}") from error
    if not len(found):
        raise text.error(token, f"no atom is in the selection {token.text}")
    return found


def structure(path: Path, names: Names, atoms: np.ndarray) -> np.ndarray:
    """Positions ``(m, 3)`` in nm of the molecule's ``atoms`` in the first frame of a file, by residue and name, or
    by their order where the file has the same names.

    Raises:
        ConfigError: a file that cannot be read, or without one of the atoms.
    """
    import mdtraj

    if not path.is_file():
        raise ConfigError(f"no file {path}")
    try:
        frame = mdtraj.load_frame(str(path), 0)
    except Exception as error:  # noqa: BLE001  its readers raise anything
        raise ConfigError(f"mdtraj cannot read {path} with the topology in it") from error
    there = list(frame.topology.atoms)
    if tuple(atom.name for atom in there) == names.topology.atom_names:
        return np.asarray(frame.xyz[0], np.float64)[atoms]
    place = {f"{atom.residue.resSeq}:{atom.name}": atom.index for atom in there}
    missing = [names.label(i) for i in atoms.tolist() if names.label(i) not in place]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ConfigError(f"{path} has no atom {', '.join(missing[:3])}{more}")
    return np.asarray(frame.xyz[0], np.float64)[[place[names.label(i)] for i in atoms.tolist()]]
