"""Mixed coordinates fitted to frames: principal components of some atoms, internal coordinates of the others."""

from collections.abc import Collection
from typing import NamedTuple

import jax
import numpy as np

from jbg.coords.coordinate_fit import (
    apply_in_chunks,
    check_frames,
    measured_cells,
    neighbourhoods,
    padded_groups,
)
from jbg.coords.eckart import superposed
from jbg.coords.pca import fit_principal_components
from jbg.coords.torsions import Rotors, TorsionCells
from jbg.coords.whitening import Whitening, check_moving, fit_whitening, standardised
from jbg.coords.zmatrix import ZMatrix, build_zmatrix, disulfides
from jbg.interfaces import ConfigError, Topology

ROUNDS = 10  # of superposing frames on their mean


class MixedFit(NamedTuple):
    """All that defines mixed coordinates, as plain arrays: ``np.savez(file, **fit._asdict())``,
    ``MixedFit(**np.load(file))``. N atoms, m of them Cartesian: the first m rows of the Z-matrix."""

    order: np.ndarray  # the Z-matrix, see ZMatrix
    bond: np.ndarray
    angle: np.ndarray
    torsion: np.ndarray
    rotors: np.ndarray  # (rotors, largest) atoms, padded with -1
    centre: np.ndarray  # see TorsionCells; 0 and pi for Cartesian rows
    half_width: np.ndarray
    reference: np.ndarray  # (m, 3) nm, centred, in the order of the Z-matrix
    mean: np.ndarray  # (3m,) nm
    axes: np.ndarray  # (3m, 3m-6) orthonormal, in the space of superposed positions
    scale: np.ndarray  # (3m-6,) nm
    soft: np.ndarray  # from here on see Whitening, of the coordinates of the other atoms
    stiff: np.ndarray
    orders: np.ndarray
    white_mean: np.ndarray
    coefficients: np.ndarray
    factor: np.ndarray

    @property
    def zmatrix(self) -> ZMatrix:
        return ZMatrix(self.order, self.bond, self.angle, self.torsion)

    @property
    def rotor_groups(self) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(int(i) for i in row if i >= 0) for row in self.rotors)

    @property
    def cells(self) -> TorsionCells:
        return TorsionCells(self.centre, self.half_width)

    @property
    def n_cartesian(self) -> int:
        """Number of Cartesian atoms, m."""
        return len(self.reference)

    @property
    def whitening(self) -> Whitening:
        columns = (self.soft, self.stiff, self.orders, self.white_mean)
        return Whitening(*columns, self.coefficients, self.factor)


def mixed_atoms(topology: Topology) -> tuple[int, ...]:
    """The Cartesian atoms of Noe et al. 2019: N, CA and C of every residue, CB and SG of bridged cysteines."""
    bridged = {topology.residue_ids[i] for bond in disulfides(topology) for i in bond}
    names = zip(topology.atom_names, topology.residue_ids, strict=True)
    return tuple(
        i
        for i, (name, residue) in enumerate(names)
        if name in ("N", "CA", "C") or (name in ("CB", "SG") and residue in bridged)
    )


def fit_mixed(
    topology: Topology,
    frames: np.ndarray,
    *,
    cartesian: Collection[int] | None = None,
    rotors: Rotors = (),
    ladder: np.ndarray | None = None,
    whiten: bool = True,
) -> MixedFit:
    """Superpose frames on their mean, take principal components of the Cartesian atoms, and whiten the others'
    internal coordinates.

    Args:
        topology: elements, names and bonds.
        frames: ``(n, atoms, 3)``, nm.
        cartesian: atoms, joined by bonds; None: `mixed_atoms`.
        rotors: groups of exchangeable atoms that pass an energy test (`rotor_candidates` of the Z-matrix with the
            Cartesian atoms first), none Cartesian.
        ladder: ``(n,)``, the independent chain of each frame (`fit_coordinates`).
        whiten: the stiff coordinates of the other atoms given the soft ones; else standardise them, as the paper.

    Raises:
        ConfigError: bad frames, not more of them than components, Cartesian atoms that bonds do not join, that are
            constrained, lie on a line or turn as a rotor, or as `fit_coordinates`.
    """
    frames = np.asarray(frames)
    check_frames(frames, topology.n_atoms)
    if not len(frames):
        raise ConfigError("mixed coordinates: need frames to fit to, got none")
    chosen = mixed_atoms(topology) if cartesian is None else tuple(int(i) for i in cartesian)
    if len(set(chosen)) < max(len(chosen), 3):
        raise ConfigError(
            f"mixed coordinates: need three Cartesian atoms or more, each once, got {len(chosen)}: give others as "
            "cartesian"
        )
    if clash := {i for rotor in rotors for i in rotor} & set(chosen):
        raise ConfigError(
            f"mixed coordinates: atom {min(clash)} is Cartesian and of a rotor, whose atoms are relabelled: "
            "leave it out of one"
        )
    m, n = len(chosen), topology.n_atoms
    zmatrix = build_zmatrix(topology, frames[0], closing=disulfides(topology), first=chosen)
    known = measured_cells(zmatrix, frames, rotors, ladder, n_free=m - 3)
    values = known.s[:, known.inside]
    check_moving(values.shape[1], values[np.r_[: m - 1, n - 1 : n + m - 3]])
    cartesian_part = _cartesian_fit(frames[known.inside][:, zmatrix.order[:m]])

    rest = slots_of_others(m, n)
    circular = np.flatnonzero(known.cells.half_width == np.pi)
    circular = circular[circular >= m - 3]
    near_soft, near = neighbourhoods(zmatrix, known.rotors, circular)
    soft = np.flatnonzero(np.isin(rest, 2 * n - 3 + circular))
    fit = fit_whitening if whiten else standardised
    white = fit(values[rest], soft, near_soft[rest], near[np.ix_(rest, rest)])
    return MixedFit(*zmatrix, padded_groups(known.rotors), *known.cells, *cartesian_part, *white)


def slots_of_others(m: int, n: int) -> np.ndarray:
    """Places in [bonds n-1 | angles n-2 | torsions n-3] of atoms that are not among the first m of n."""
    return np.concatenate(
        [
            np.arange(m - 1, n - 1),
            n - 1 + np.arange(m - 2, n - 2),
            2 * n - 3 + np.arange(m - 3, n - 3),
        ]
    )


def _cartesian_fit(
    frames: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Reference ``(m, 3)``, mean ``(3m,)``, axes ``(3m, 3m-6)`` and scale ``(3m-6,)`` of frames ``(n, m, 3)``."""
    n, m, _ = frames.shape
    if n <= 3 * m - 6:
        raise ConfigError(
            f"mixed coordinates: {n} frames cannot give the variances of {3 * m - 6} components: give more than "
            "that, or fewer Cartesian atoms"
        )
    x = frames.reshape(n, -1).T.astype(np.float64)
    turn = jax.jit(lambda reference, x: (superposed(reference, x), x[0]))
    onto = lambda reference: apply_in_chunks(lambda _, x: turn(reference, x), x)[0]
    reference = frames[0].astype(np.float64)
    for _ in range(ROUNDS):
        reference = onto(reference - reference.mean(0)).mean(1).reshape(m, 3)
    reference = reference - reference.mean(0)
    basis = superposed_space(reference)
    found = fit_principal_components(onto(reference).T @ basis)
    return reference, basis @ found.mean, basis @ found.axes, found.scale


def superposed_space(reference: np.ndarray) -> np.ndarray:
    """An orthonormal basis ``(3m, 3m-6)`` of the flat positions with their centre at 0 and sum_i r_i x y_i = 0."""
    m = len(reference)
    moves = np.tile(np.eye(3), (m, 1))
    turns = np.concatenate([np.cross(np.eye(3), r).T for r in reference])
    _, _, rows = np.linalg.svd(np.concatenate([moves, turns], axis=1).T)
    return rows[6:].T
