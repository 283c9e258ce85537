"""Disulfides and rings of an extended peptide, closed by turning its torsions; bonds and angles stay as they are.

Least squares over phi, psi and chi1 of cysteines: distances around each new bond, room between atoms that are not
bonded, from random starts until one closes without a clash. Minimising with the force field does the rest.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import least_squares

from jbg.interfaces import ConfigError
from jbg.systems.residue_names import C_CAPS, MIRRORED, N_CAPS, standard_name

# Angstrom, around a trans amide and a disulfide: atom of the first residue, of the second, distance;
# the new bond first
AMIDE = (
    ("C", "N", 1.33),
    ("CA", "N", 2.43),
    ("O", "N", 2.25),
    ("C", "CA", 2.43),
    ("CA", "CA", 3.80),
    ("O", "CA", 2.78),
)
DISULFIDE = (("SG", "SG", 2.05), ("CB", "SG", 3.03), ("SG", "CB", 3.03), ("CB", "CB", 3.80))
_BONDED = 2.0  # Angstrom; heavy atoms of the extended chain closer than this are bonded
_ROOM = 3.1  # Angstrom, between heavy atoms more than three bonds apart
_CLOSED = 0.15  # Angstrom, root mean square over the distances of the new bonds
_CLASH = 2.3  # Angstrom; no two such atoms are closer
_TIGHT, _LOOSE = 5.0, 0.7  # weights of a distance of a new bond and of a clash, 1/Angstrom
_STARTS = 40
_BASINS = np.deg2rad([(-120.0, 130.0), (-70.0, 140.0), (-65.0, -40.0), (-90.0, 0.0)])
MAX_RESIDUES = 30
EXTENDED = np.deg2rad([-120.0, 140.0])  # phi and psi of L residues in the extended chain


Bond = tuple[int, int, tuple]  # two residues, and AMIDE or DISULFIDE


class _Turn(NamedTuple):
    """A torsion of a residue: the atoms of its axis, and those that turn."""

    residue: int
    kind: str
    a: int
    b: int
    moved: np.ndarray


def close(
    positions: np.ndarray,
    names: Sequence[str],
    residues: Sequence[Mapping[str, int]],
    bonds: Sequence[Bond],
) -> np.ndarray:
    """Positions ``(atoms, 3)`` with the bonds closed, in Angstrom.

    Args:
        positions: of the extended chain, Angstrom.
        names: of the residues.
        residues: atoms of each residue by name.
        bonds: to close.

    Raises:
        ConfigError: too long a chain, or no way to close it was found.
    """
    if len(residues) > MAX_RESIDUES:
        raise ConfigError(
            f"sequence of {len(names)} residues: disulfides and rings are built up to {MAX_RESIDUES}; give a "
            "structure with --pdb"
        )
    turns = _turns(names, residues, bonds)
    wanted = [(residues[i][a], residues[j][b], d) for i, j, around in bonds for a, b, d in around]
    near = tuple(np.array([pair[k] for pair in wanted], int) for k in (0, 1))
    apart = np.array([pair[2] for pair in wanted])
    new = [(residues[i][around[0][0]], residues[j][around[0][1]]) for i, j, around in bonds]
    far = _far_apart(positions, new)

    def residuals(angles: np.ndarray) -> np.ndarray:
        x = _turned(positions, turns, angles)
        off, clash = _distances(x, near) - apart, _ROOM - _distances(x, far)
        return np.concatenate([_TIGHT * off, _LOOSE * np.maximum(0.0, clash)])

    def jacobian(angles: np.ndarray) -> np.ndarray:
        x = _turned(positions, turns, angles)
        close_ones = _distances(x, far) < _ROOM
        speeds = _speeds(x, turns)
        return np.concatenate(
            [
                _TIGHT * _distance_speeds(x, speeds, near),
                -_LOOSE * close_ones[:, None] * _distance_speeds(x, speeds, far),
            ]
        )

    rng = np.random.default_rng(0)
    for _ in range(_STARTS):
        start = _start(rng, names, turns)
        settings: dict[str, Any] = {"jac": jacobian, "max_nfev": 150, "ftol": 1e-6}
        found = least_squares(residuals, start, **settings).x
        x = _turned(positions, turns, found)
        off = np.sqrt(np.mean((_distances(x, near) - apart) ** 2))
        if off < _CLOSED and _distances(x, far).min(initial=np.inf) > _CLASH:
            return x
    raise ConfigError(
        "sequence: no conformation was found that closes its disulfides and rings without clashes; give a "
        "structure with --pdb"
    )


def _turns(
    names: Sequence[str], residues: Sequence[Mapping[str, int]], bonds: Sequence[Bond]
) -> list[_Turn]:
    """phi (but of proline) and psi of every residue, chi1 of bridged cysteines."""
    bridged = {k for i, j, around in bonds if around is DISULFIDE for k in (i, j)}
    turns = []
    for k, own in enumerate(residues):
        if names[k] in {*N_CAPS, *C_CAPS}:
            continue
        later = [i for other in residues[k + 1 :] for i in other.values()]
        if standard_name(names[k]) != "PRO":
            rest = [i for name, i in own.items() if name not in ("N", "CA")]
            turns.append(_Turn(k, "phi", own["N"], own["CA"], np.array([*rest, *later])))
        turns.append(_Turn(k, "psi", own["CA"], own["C"], np.array([own["O"], *later])))
        if k in bridged:
            turns.append(_Turn(k, "chi", own["CA"], own["CB"], np.array([own["SG"]])))
    return turns


def _start(rng: np.random.Generator, names: Sequence[str], turns: Sequence[_Turn]) -> np.ndarray:
    """Changes of the torsions from the extended chain to basins of each residue, drawn at random."""
    basins = _BASINS[rng.integers(len(_BASINS), size=len(names))]
    basins = basins + rng.normal(scale=0.2, size=basins.shape)
    found = []
    for turn in turns:
        if turn.kind == "chi":
            found.append(rng.integers(3) * 2 * np.pi / 3)
            continue
        which = ("phi", "psi").index(turn.kind)
        sign = -1 if names[turn.residue] in MIRRORED else 1
        found.append(sign * (basins[turn.residue, which] - EXTENDED[which]))
    return np.array(found)


def _turned(positions: np.ndarray, turns: Sequence[_Turn], angles: np.ndarray) -> np.ndarray:
    """Each torsion turned by its angle, after Rodrigues."""
    x = positions.copy()
    for turn, angle in zip(turns, angles, strict=True):
        axis = x[turn.b] - x[turn.a]
        axis = axis / np.linalg.norm(axis)
        v = x[turn.moved] - x[turn.b]
        along = np.outer(v @ axis, axis)
        x[turn.moved] = (
            x[turn.b] + along + np.cos(angle) * (v - along) + np.sin(angle) * np.cross(axis, v)
        )
    return x


def _distances(x: np.ndarray, pairs: tuple) -> np.ndarray:
    return np.linalg.norm(x[pairs[0]] - x[pairs[1]], axis=-1)


def _speeds(x: np.ndarray, turns: Sequence[_Turn]) -> np.ndarray:
    """Derivatives of positions by each torsion, ``(turns, atoms, 3)``."""
    speeds = np.zeros((len(turns), *x.shape))
    for k, turn in enumerate(turns):
        axis = x[turn.b] - x[turn.a]
        speeds[k, turn.moved] = np.cross(axis / np.linalg.norm(axis), x[turn.moved] - x[turn.b])
    return speeds


def _distance_speeds(x: np.ndarray, speeds: np.ndarray, pairs: tuple) -> np.ndarray:
    """Derivatives of distances by each torsion, ``(pairs, turns)``."""
    direction = (x[pairs[0]] - x[pairs[1]]) / _distances(x, pairs)[:, None]
    return np.einsum("tpk,pk->pt", speeds[:, pairs[0]] - speeds[:, pairs[1]], direction)


def _far_apart(positions: np.ndarray, new: Sequence[tuple[int, int]]) -> tuple:
    """Pairs of atoms more than three bonds apart, the new bonds counted."""
    bonded = np.linalg.norm(positions[:, None] - positions, axis=-1) < _BONDED
    for i, j in new:
        bonded[i, j] = bonded[j, i] = True
    within = np.linalg.matrix_power(bonded.astype(int), 3) > 0
    return np.nonzero(np.triu(~within, 1))
