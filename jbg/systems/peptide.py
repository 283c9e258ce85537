"""Heavy-atom coordinates of a peptide from its sequence, as PDB text; needs no file."""

import io
import warnings
from collections.abc import Sequence

import numpy as np

from jbg.systems.closure import AMIDE, DISULFIDE, Bond, close
from jbg.systems.residue_names import (
    BUILT_FROM,
    C_CAPS,
    MIRRORED,
    N_CAPS,
    ONE_LETTER,
    standard_name,
)


def peptide_pdb(
    names: tuple[str, ...], bridges: Sequence[tuple[int, int]] = (), *, ring: bool = False
) -> str:
    """PDB text of the extended peptide, heavy atoms only, built from ideal internal coordinates; closed by its
    torsions where it has disulfides or is a ring.

    A D residue is the mirror image of the L one: its side chain reflected in the plane of N, CA and C, its
    backbone torsions with the other sign.

    Args:
        names: residue names as `sequences.parse_peptide` returns them.
        bridges: pairs of cysteines that are bonded.
        ring: whether the last residue is bonded to the first.

    Raises:
        ConfigError: no way to close it was found.
        RuntimeError: a CA came out with the wrong hand (never seen; the check costs nothing).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Biopython warns about its own deprecated imports
        from Bio.PDB.PDBIO import PDBIO

    structure = _extended(names)
    chain = next(structure.get_chains())
    for residue, name in zip(chain, names, strict=True):
        residue.resname = name
        renamed = {**N_CAPS, **C_CAPS}.get(name)
        if renamed is not None:
            _turn_into_cap(residue, name, renamed)
        elif name in BUILT_FROM:
            _turn_into(residue, name)
        elif name != "GLY":
            if name in MIRRORED:
                _reflect_side_chain(residue)
            volume = signed_ca_volume({a.name: a.coord for a in residue})
            if not volume * (-1 if name in MIRRORED else 1) > 0:
                raise RuntimeError(
                    f"residue {name} {residue.id[1]} was built with the wrong chirality"
                )
    if bridges or ring:
        _close(list(chain), names, bridges, ring=ring)
    out = io.StringIO()
    writer = PDBIO()
    writer.set_structure(structure)
    writer.save(out)
    return out.getvalue()


def _extended(names: tuple[str, ...]):
    """Biopython's structure of L residues, caps as glycines; where a residue is to be D its phi and psi have
    the other sign."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import PeptideBuilder
        from PeptideBuilder.Geometry import geometry

    letters = [ONE_LETTER.get(BUILT_FROM.get(name, standard_name(name)), "G") for name in names]
    structure = PeptideBuilder.initialize_res(geometry(letters[0]))
    for letter, before, name in zip(letters[1:], names, names[1:], strict=False):
        geo = geometry(letter)
        geo.phi *= -1 if name in MIRRORED else 1
        geo.psi_im1 *= -1 if before in MIRRORED else 1
        PeptideBuilder.add_residue(structure, geo)
    return structure


def _close(
    residues: Sequence, names: tuple[str, ...], bridges: Sequence[tuple[int, int]], *, ring: bool
) -> None:
    """Turns torsions until the new bonds are closed, in place."""
    atoms = [atom for residue in residues for atom in residue]
    at = {atom: i for i, atom in enumerate(atoms)}
    by_name = [{atom.name: at[atom] for atom in residue} for residue in residues]
    bonds: list[Bond] = [(i, j, DISULFIDE) for i, j in bridges]
    if ring:
        bonds.append((len(names) - 1, 0, AMIDE))
    places = close(np.array([atom.coord for atom in atoms], float), names, by_name, bonds)
    for atom, place in zip(atoms, places, strict=True):
        atom.coord = place


def _turn_into(residue, name: str) -> None:
    """Norleucine of a lysine, or aminoisobutyric acid of an alanine, in place."""
    if name == "NLE":
        residue.detach_child("NZ")
        return
    first = residue["CB"]
    second = first.copy()
    second.coord = _reflected(residue, first.coord)
    for atom, renamed in ((first, "CB1"), (second, "CB2")):
        if atom is first:
            residue.detach_child("CB")
        atom.id = atom.name = renamed
        atom.fullname = f" {renamed}"
        residue.add(atom)


def _reflected(residue, place: np.ndarray) -> np.ndarray:
    """On the other side of the plane through N, CA and C."""
    origin = residue["CA"].coord
    normal = np.cross(residue["N"].coord - origin, residue["C"].coord - origin)
    normal = normal / np.linalg.norm(normal)
    return place - 2 * np.dot(place - origin, normal) * normal


def _reflect_side_chain(residue) -> None:
    """All but the backbone to the other side, in place."""
    for atom in residue:
        if atom.name not in ("N", "CA", "C", "O"):
            atom.coord = _reflected(residue, atom.coord)


def signed_ca_volume(atoms: dict[str, np.ndarray]) -> float:
    """(N-CA) x (C-CA) . (CB-CA) of one residue's atoms by PDB name; positive for L."""
    return signed_volume(atoms, "CA", ("N", "C", "CB"))


def signed_volume(atoms: dict[str, np.ndarray], centre: str, around: tuple[str, ...]) -> float:
    """a x b . c of the three atoms ``around``, seen from ``centre``."""
    a, b, c = (np.asarray(atoms[name], float) - atoms[centre] for name in around)
    return float(np.dot(np.cross(a, b), c))


def _turn_into_cap(residue, name: str, renamed: dict[str, str]) -> None:
    """Turn a Biopython glycine into the cap ``name``, in place."""
    residue.resname = name
    atoms = list(residue)
    for atom in atoms:
        residue.detach_child(atom.id)
    for atom in atoms:
        if atom.name in renamed:
            atom.id = atom.name = renamed[atom.name]
            atom.fullname = f" {atom.name:<3s}"
            residue.add(atom)
