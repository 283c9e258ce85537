"""The torsions of a molecule that states, profiles and equilibration checks are defined on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jbg.analysis import torsions
from jbg.coords import backbone_torsions
from jbg.interfaces import ConfigError, State, System, Topology
from jbg.simulation.torsion_rotation import RotatableBond, rotatable_bonds

GAUCHE = 2 * np.pi / 3  # |torsion| below which a rotatable bond counts as gauche
CHUNK = 50_000  # samples whose torsions are measured at once


class NamedTorsion(NamedTuple):
    """A torsion and the two states that it divides configurations into."""

    name: str
    quad: np.ndarray  # (4,) atoms
    first: State
    second: State

    @property
    def axis(self) -> frozenset[int]:
        """The atoms of the bond that it turns about."""
        return frozenset(self.quad[1:3].tolist())


def topology_of(system: System) -> Topology:
    """The topology of a system of atoms.

    Raises:
        ConfigError: the system has none.
    """
    if system.topology is None:
        raise ConfigError(f"system {system.name} has no atoms: expected a molecule")
    return system.topology


def named_torsions(topology: Topology) -> tuple[NamedTorsion, ...]:
    """Every phi of a peptide (phi < 0 and phi > 0), else every rotatable bond between heavy atoms that carry
    further heavy atoms (trans and gauche)."""
    phi = backbone_torsions(topology)["phi"]
    if not len(phi):
        pairs = enumerate(heavy_torsions(topology))
        return tuple(_rotamers(topology, f"torsion{k + 1}", quad) for k, quad in pairs)
    if len(phi) == 1:
        return (_phi("phi", phi[0]),)
    return tuple(_phi(f"phi{topology.residue_ids[quad[2]] + 1}", quad) for quad in phi)


def states(topology: Topology) -> tuple[State, ...]:
    """Two states for each named torsion."""
    return tuple(state for t in named_torsions(topology) for state in (t.first, t.second))


def heavy_torsions(topology: Topology) -> list[np.ndarray]:
    """One torsion of heavy atoms for every rotatable bond that has one."""
    heavy = [e != "H" for e in topology.elements]
    neighbours: list[list[int]] = [[] for _ in topology.elements]
    for i, j in topology.bonds.tolist():
        neighbours[i].append(j)
        neighbours[j].append(i)
    found = []
    for bond in rotatable_bonds(topology):
        j, k = bond.axis
        before = [i for i in neighbours[j] if heavy[i] and i != k]
        after = [i for i in neighbours[k] if heavy[i] and i != j]
        if heavy[j] and heavy[k] and before and after:
            found.append(np.array([before[0], j, k, after[0]]))
    return found


def flat_torsion(x: ArrayLike, quad: np.ndarray) -> np.ndarray:
    """Torsion ``(*batch,)`` of flat positions ``(3 atoms, *batch)``."""
    x = np.asarray(x)
    rows = (3 * np.asarray(quad)[:, None] + np.arange(3)).ravel()
    batch = x.shape[1:]
    p = x[rows].reshape(12, -1).T.reshape(-1, 4, 3)
    parts = [torsions(p[i : i + CHUNK], [[0, 1, 2, 3]])[:, 0] for i in range(0, len(p), CHUNK)]
    return np.concatenate(parts).reshape(batch)


def _phi(name: str, quad: np.ndarray) -> NamedTorsion:
    return NamedTorsion(
        name,
        quad,
        _state(f"{name}<0", quad, lambda t: t < 0, f"{name} in (-180, 0) degrees"),
        _state(f"{name}>0", quad, lambda t: t >= 0, f"{name} in [0, 180] degrees"),
    )


def _rotamers(topology: Topology, name: str, quad: np.ndarray) -> NamedTorsion:
    atoms = "-".join(topology.atom_names[i] for i in quad)
    trans, gauche = lambda t: np.abs(t) >= GAUCHE, lambda t: np.abs(t) < GAUCHE
    return NamedTorsion(
        name,
        quad,
        _state(f"{name} trans", quad, trans, f"|{atoms}| >= 120 degrees"),
        _state(f"{name} gauche", quad, gauche, f"|{atoms}| < 120 degrees"),
    )


def _state(name: str, quad: np.ndarray, test, definition: str) -> State:
    return State(name=name, contains=lambda x: test(flat_torsion(x, quad)), definition=definition)


def backbone_bonds(topology: Topology, bonds: Sequence[RotatableBond]) -> set[frozenset[int]]:
    """The bonds that the phi and psi of a peptide turn about; a proline's phi is in a ring."""
    named = backbone_torsions(topology)
    axes = {frozenset(quad[1:3].tolist()) for name in ("phi", "psi") for quad in named[name]}
    return axes & {frozenset(bond.axis) for bond in bonds}
