"""What atoms and bonds residues have: OpenMM's definitions, and norleucine's, which OpenMM does not ship."""

import functools
from pathlib import Path
from xml.etree import ElementTree

from openmm import app

_FOLDER = Path(__file__).parent / "residues"
_BONDS = "nle_residue.xml"
# force fields that OpenMM ships with a template of the residue
FORCEFIELDS_WITH = {
    "NLE": ("amber14/protein.ff15ipq.xml", "charmm36.xml"),
    "AIB": ("charmm36.xml",),
}


@functools.cache
def load_definitions() -> None:
    """Makes OpenMM know the bonds and hydrogens of norleucine (NLE), for the whole process."""
    app.Topology.loadBondDefinitions(str(_FOLDER / _BONDS))
    app.Modeller.loadHydrogenDefinitions(str(_FOLDER / "nle_hydrogens.xml"))


@functools.cache
def norleucine() -> app.PDBFile:
    """Its heavy atoms without OXT, a template for missing ones."""
    load_definitions()
    return app.PDBFile(str(_FOLDER / "nle.pdb"))


@functools.cache
def neighbours_of(residue: str) -> dict[str, tuple[str, ...]]:
    """Names of the atoms that each atom of a residue is bonded to, its own only; hydrogens in every form of
    protonation. Empty where the residue is not known."""
    bonded: dict[str, list[str]] = {}
    for a, b in _bonds().get(residue, ()):
        if not a.startswith("-") and not b.startswith("-"):
            bonded.setdefault(a, []).append(b)
            bonded.setdefault(b, []).append(a)
    return {name: tuple(others) for name, others in bonded.items()}


@functools.cache
def _bonds() -> dict[str, list[tuple[str, str]]]:
    own = Path(app.__file__).parent / "data" / "residues.xml"
    return {
        residue.attrib["name"]: [(b.attrib["from"], b.attrib["to"]) for b in residue.iter("Bond")]
        for path in (own, _FOLDER / _BONDS)
        for residue in ElementTree.parse(path).getroot().iter("Residue")
    }
