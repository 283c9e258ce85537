"""What the words of a definition measure: torsions, angles, distances, RMSD to a file, radius of gyration.

Functions of positions ``(n, atoms, 3)`` in nm, in float64 on the host: radians and nm.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jbg.analysis import rmsd, torsions
from jbg.interfaces import ConfigError
from jbg.variables.grammar import ATOMS, Measured, Text, Token
from jbg.variables.names import Names
from jbg.variables.selections import mass_of, selected, structure

Positions = np.ndarray  # (n, atoms, 3) nm


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantity:
    """A number that each configuration has.

    Attributes:
        label: in words as typed, such as "torsion phi2".
        atoms: which atoms that means, such as "phi2 = 1:C 2:N 2:CA 2:C"; empty where the label says it.
        unit: "rad" or "nm".
        of: positions ``(n, atoms, 3)`` in nm -> ``(n,)``.
        periodic: whether it is an angle in (-pi, pi] on the circle.
    """

    label: str
    unit: str
    of: Callable[[Positions], np.ndarray]
    periodic: bool = False
    atoms: str = ""


def measure(text: Text, measured: Measured, names: Names, folder: Path) -> Quantity:
    """The quantity that the words name.

    Args:
        text: of the definition, for errors.
        measured: the words.
        names: of the molecule's atoms.
        folder: where files with relative paths are.

    Raises:
        ConfigError: unknown atoms, torsions, selections or files.
    """
    kind = measured.kind.text
    if kind in ATOMS:
        return _of_atoms(text, measured, names)
    if kind == "rmsd":
        file, *selection = measured.of
        return _rmsd(text, file, selection[0] if selection else None, names, folder)
    atoms = selected(text, measured.of[0] if measured.of else None, names)
    mass = np.array([mass_of(names.topology.elements[i]) for i in atoms])
    return Quantity(label=_label("rg", measured.of), unit="nm", of=_gyration(atoms, mass))


def _label(kind: str, of: tuple[Token, ...]) -> str:
    return " of ".join([kind, *(token.text for token in of)])


def _of_atoms(text: Text, measured: Measured, names: Names) -> Quantity:
    kind, of = measured.kind.text, measured.of
    if len(of) == 1:
        atoms = _torsion(text, of[0], names)
    else:
        atoms = np.array([_atom(text, token, names) for token in of])
        if len(set(atoms.tolist())) < len(atoms):
            raise text.error(of[-1], f"{kind}: the atoms must differ")
    typed, meant = " ".join(token.text for token in of), " ".join(map(names.label, atoms))
    label, said = f"{kind} {typed}", "" if typed == meant else f"{typed} = {meant}"
    if kind == "torsion":
        of_frames = lambda x: torsions(x[:, atoms], [[0, 1, 2, 3]])[:, 0]
        return Quantity(label=label, atoms=said, unit="rad", of=of_frames, periodic=True)
    if kind == "angle":
        return Quantity(label=label, atoms=said, unit="rad", of=lambda x: _angle(x[:, atoms]))
    return Quantity(label=label, atoms=said, unit="nm", of=lambda x: _distance(x[:, atoms]))


def _torsion(text: Text, token: Token, names: Names) -> np.ndarray:
    known = names.torsions
    found = known.get(token.text, [])
    if not found and not known:
        raise text.error(
            token, f"no torsion {token.text}: only those of peptides have names; give four atoms"
        )
    if not found:
        raise text.error(token, f"no torsion {token.text}", known)
    return _only(text, token, found)


def _atom(text: Text, token: Token, names: Names) -> int:
    if token.kind == "atom":
        found = names.atoms.get(token.text, [])
        if not found:
            raise text.error(token, f"no atom {token.text}", names.near(token.text))
        return _only(text, token, found)
    n = names.topology.n_atoms
    if not token.text.isdigit() or not 1 <= int(token.text) <= n:
        raise text.error(token, f"no atom {token.text}: atoms are numbered from 1 to {n}")
    return int(token.text) - 1


def _only(text: Text, token: Token, found: list):
    if len(found) > 1:
        raise text.error(
            token, f"{token.text} is {len(found)} times in the file: give atoms by number"
        )
    return found[0]


def _angle(x: Positions) -> np.ndarray:
    x = np.asarray(x, np.float64)
    a, b = x[:, 0] - x[:, 1], x[:, 2] - x[:, 1]
    sine = np.linalg.norm(np.cross(a, b), axis=-1)
    return np.arctan2(sine, np.sum(a * b, axis=-1))


def _distance(x: Positions) -> np.ndarray:
    x = np.asarray(x, np.float64)
    return np.linalg.norm(x[:, 0] - x[:, 1], axis=-1)


def _gyration(atoms: np.ndarray, mass: np.ndarray) -> Callable[[Positions], np.ndarray]:
    share = mass / mass.sum()

    def of(x: Positions) -> np.ndarray:
        x = np.asarray(x[:, atoms], np.float64)
        away = x - np.einsum("a,nai->ni", share, x)[:, None]
        return np.sqrt(np.einsum("a,nai->n", share, away**2))

    return of


def _rmsd(text: Text, file: Token, selection: Token | None, names: Names, folder: Path) -> Quantity:
    atoms = selected(text, selection, names)
    if len(atoms) < 3:
        raise text.error(selection or file, f"rmsd needs three atoms or more, got {len(atoms)}")
    try:
        fixed = structure(folder / file.text[1:-1], names, atoms)
    except ConfigError as error:
        raise text.error(file, str(error)) from error
    of = (file,) if selection is None else (file, selection)
    return Quantity(label=_label("rmsd", of), unit="nm", of=lambda x: rmsd(x[:, atoms], fixed))
