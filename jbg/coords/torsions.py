"""Torsions turned into variables that a flow can learn: siblings as offsets, symmetric rotors in
one label cell.

Atoms that turn about the same bond share one free torsion: the first (lead) keeps it, the others
(siblings) become stiff offsets from it. In a symmetric rotor (n exchangeable leaf atoms: CH3, NH3+,
COO-) the lead's variable is the sum of the n torsions instead, which cyclic relabelling leaves
unchanged on the circle.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jbg.coords.zmatrix import ZMatrix, bonded_neighbours
from jbg.interfaces import Bijector, ConfigError, Topology

Rotors = Sequence[Sequence[int]]


class TorsionCells(NamedTuple):
    """The cell each torsion variable lives in: |s| < half_width for s = variable - centre (arrays
    ``(N-3,)``).
    """

    centre: np.ndarray
    half_width: np.ndarray  # pi for circular variables, less for stiff ones


def wrap(angle: Array) -> Array:
    """The same angle in [-pi, pi)."""
    return angle - 2 * np.pi * jnp.floor((angle + np.pi) / (2 * np.pi))


def along(values: np.ndarray, like: Array) -> Array:
    """Host constants ``(n,)`` as a column that broadcasts against ``like (n, *batch)``, in its
    precision.
    """
    return jnp.asarray(values, like.dtype).reshape(-1, *(1,) * (like.ndim - 1))


def linear(matrix: np.ndarray, y: Array) -> Array:
    """matrix @ y over the leading axis, never in reduced (TF32) precision."""
    return jnp.tensordot(
        jnp.asarray(matrix, y.dtype), y, axes=1, precision=jax.lax.Precision.HIGHEST
    )


def sibling_leads(zmatrix: ZMatrix) -> np.ndarray:
    """For torsion t (row t + 3) the torsion index of the lead of its bond; leads point to
    themselves.
    """
    first: dict[tuple[int, int], int] = {}
    pairs = zip(zmatrix.bond[3:].tolist(), zmatrix.angle[3:].tolist(), strict=True)
    return np.array([first.setdefault(pair, t) for t, pair in enumerate(pairs)], int)


def proper_torsions(zmatrix: ZMatrix) -> np.ndarray:
    """``(N-3,)`` bool, which torsions are of a chain of bonds; in the others the torsion parent hangs on the
    bond parent, as the angle parent does, and what they fix is a chirality.
    """
    edges = {
        frozenset(pair) for pair in zip(zmatrix.order.tolist(), zmatrix.bond.tolist(), strict=True)
    }
    ends = zip(zmatrix.angle[3:].tolist(), zmatrix.torsion[3:].tolist(), strict=True)
    return np.array([frozenset(pair) in edges for pair in ends], bool)


def rotor_candidates(topology: Topology, zmatrix: ZMatrix) -> tuple[tuple[int, ...], ...]:
    """Groups of two or more leaf atoms of one element that are all that turns about their bond.

    Whether the atoms of a group are exchangeable is a question to the energy: it must not change
    when their positions are permuted cyclically. Keep the groups that pass, and give them as
    ``rotors``.
    """
    neighbours = bonded_neighbours(topology)
    groups = []
    leads = sibling_leads(zmatrix)
    for lead in np.unique(leads):
        rows = 3 + np.flatnonzero(leads == lead)
        atoms = zmatrix.order[rows].tolist()
        alone = len(neighbours[zmatrix.bond[rows[0]]]) == len(atoms) + 1
        leaves = all(len(neighbours[atom]) == 1 for atom in atoms)
        alike = len({topology.elements[atom] for atom in atoms}) == 1
        if len(atoms) > 1 and alone and leaves and alike:
            groups.append(tuple(atoms))
    return tuple(groups)


def rotor_torsions(zmatrix: ZMatrix, rotors: Rotors) -> list[np.ndarray]:
    """Torsion indices of each rotor's atoms, in the order given.

    Raises:
        ConfigError: a rotor is not exactly the group of atoms that turns about one bond.
    """
    leads = sibling_leads(zmatrix)
    index = {int(atom): t for t, atom in enumerate(zmatrix.order[3:])}
    found = []
    for rotor in rotors:
        members = np.array([index.get(int(atom), -1) for atom in rotor], np.int32)
        placed = len(members) > 1 and members.min() >= 0
        if not placed or set(members) != set(np.flatnonzero(leads == leads[members[0]])):
            raise ConfigError(
                f"rotors: atoms {tuple(rotor)} are not all the atoms turning about one bond; "
                "choose among rotor_candidates(topology, zmatrix)"
            )
        found.append(members)
    return found


def torsion_variables(zmatrix: ZMatrix, rotors: Rotors, cells: TorsionCells) -> Bijector:
    """Cell variables [bonds | angles | s N-3] <-> internal coordinates [bonds | angles | torsions].

    s = variable - centre, wrapped to [-pi, pi), where the variable of torsion phi_t is
      phi_t                  for a lead,
      phi_t - phi_lead       for a sibling (also within rotors; the n atoms of a rotor in positive
                             order, so that these offsets lie near 2 pi k / n, and their cells are
                             centred there),
      sum_k phi_k = n m      for the first atom of a rotor, m the mean torsion: a circle stands for
                             the 2 pi / n of m that distinguish configurations.

    ``inverse`` takes the atoms of a rotor in any cyclic order (it relabels bonds, angles and
    torsions alike); ``forward`` returns the one order with (n m - centre) in [-pi, pi). The density
    is that of the target restricted to this label cell. ln|det dy/ds| = - sum over rotors ln n.
    Outside the cells both directions return -inf: where a stiff variable is half_width or more from
    its centre, or where two atoms of a rotor deviate from even spacing by amounts that differ by
    min(pi / 2, 2 pi / n) or more. So relabelling leaves the cells as they are, and no atoms are in
    two cyclic orders at once.
    """
    n, n_torsions = zmatrix.n_atoms, zmatrix.n_atoms - 3
    start = 2 * n - 3
    members = rotor_torsions(zmatrix, rotors)
    to_raw, siblings, firsts = _variable_matrices(zmatrix, members)
    from_raw = np.linalg.inv(to_raw)
    log_n = float(sum(np.log(len(rotor)) for rotor in members))

    def fold(torsions):
        """s, and for each variable how many turns it lies beyond its cell (wanted for rotors)."""
        raw = linear(siblings, torsions)
        centre = along(cells.centre, raw)
        offsets = wrap(raw - centre) + centre
        raw = raw + linear(firsts, offsets)
        s = wrap(raw - centre)
        return s, jnp.round((raw - centre - s) / (2 * np.pi)).astype(np.int32)

    def forward(params, z):
        s = z[start:]
        torsions = wrap(linear(from_raw, s + along(cells.centre, s)))
        log_det = jnp.where(_inside(s, cells, members), jnp.asarray(-log_n, s.dtype), -jnp.inf)
        return jnp.concatenate([z[:start], torsions]), log_det

    def inverse(params, y):
        s, turns = fold(y[start:])
        valid = _inside(s, cells, members)
        if members:
            for rotor in by_size(members):
                y = _relabel(y, rotor, turns[rotor[:, 0]], n)
            s, turns = fold(y[start:])
            home = [turns[rotor[:, 0]] % rotor.shape[1] == 0 for rotor in by_size(members)]
            valid = _inside(s, cells, members) & jnp.all(jnp.concatenate(home), 0)
        log_det = jnp.where(valid, jnp.asarray(log_n, y.dtype), -jnp.inf)
        return jnp.concatenate([y[:start], s]), log_det

    dim = start + n_torsions
    return Bijector(dim_in=dim, dim_out=dim, init=lambda key: (), forward=forward, inverse=inverse)


def _inside(s: Array, cells: TorsionCells, members: list[np.ndarray]) -> Array:
    """Whether variables ``(N-3, *batch)`` lie in their cells, ``(*batch,)``."""
    # a float32 circle ends a rounding error beyond pi
    width = along(np.where(cells.half_width < np.pi, cells.half_width, np.pi + 1e-5), s)
    valid = jnp.all(jnp.abs(s) < width, 0)
    for rotor in by_size(members):
        offsets, zero = s[rotor[:, 1:]], jnp.zeros_like(s[rotor[:, 0]])
        spread = jnp.maximum(offsets.max(1), zero) - jnp.minimum(offsets.min(1), zero)
        limit = min(np.pi / 2, 2 * np.pi / rotor.shape[1])
        valid = valid & jnp.all(spread < limit, 0)
    return valid


def _variable_matrices(zmatrix: ZMatrix, members: list[np.ndarray]):
    """Matrices (all ``(N-3, N-3)``): torsions -> variables; the same in the two steps of ``fold``.

    The first step takes siblings relative to their lead (n phi_first for rotors), the second adds
    the unwrapped offsets to the rotors' sum.
    """
    leads = sibling_leads(zmatrix).copy()
    for rotor in members:
        leads[rotor] = rotor[0]
    eye = np.eye(len(leads))
    siblings = eye - np.where((leads == np.arange(len(leads)))[:, None], 0, eye[leads])
    firsts = np.zeros_like(eye)
    for rotor in members:
        siblings[rotor[0], rotor[0]] = len(rotor)
        firsts[rotor[0], rotor[1:]] = 1
    return siblings + firsts @ siblings, siblings, firsts


def torsion_matrix(zmatrix: ZMatrix, members: list[np.ndarray]) -> np.ndarray:
    """Matrix ``(N-3, N-3)``, torsions -> variables of `torsion_variables` before centres are subtracted.

    Args:
        zmatrix: rows of the torsions.
        members: from `rotor_torsions`.
    """
    return _variable_matrices(zmatrix, members)[0]


def by_size(members: list[np.ndarray]) -> list[np.ndarray]:
    """Rotors of equal size stacked, ``(rotors, n)``."""
    sizes = sorted({len(rotor) for rotor in members})
    return [np.stack([rotor for rotor in members if len(rotor) == size]) for size in sizes]


def _relabel(y: Array, rotor: np.ndarray, turns: Array, n_atoms: int) -> Array:
    """Shift the labels of rotors ``(R, n)`` by -turns ``(R, *batch)``, in bonds, angles and
    torsions.
    """
    size = rotor.shape[1]
    slots = np.concatenate([rotor + 2, rotor + n_atoms, rotor + 2 * n_atoms - 3])
    steps = np.arange(size, dtype=np.int32).reshape(1, size, *(1,) * (y.ndim - 1))
    source = (jnp.asarray(steps) - turns[:, None]) % size
    values = jnp.take_along_axis(y[slots], jnp.concatenate([source] * 3), axis=1)
    return y.at[slots].set(values)
