"""The coordinates a flow works in, for one molecule: v = [circular | whitened] <-> flat positions
x.

Four bijectors in a row: whitening (v -> cell variables, of symmetric rotors at fixed directions),
directions (-> cell variables of labelled atoms), torsion variables (-> bonds, angles, torsions) and
internal coordinates (-> x). Everything fitted lies in one NamedTuple of arrays, so
that coordinates are rebuilt from a file without the data they were fitted on.
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jbg.coords.coordinate_fit import CoordinateFit, apply_in_chunks
from jbg.coords.directions import rotor_directions
from jbg.coords.internal import internal
from jbg.coords.labels import coordinate_labels
from jbg.coords.torsions import Rotors, torsion_variables
from jbg.coords.whitening import whitening
from jbg.coords.zmatrix import bonded_neighbours
from jbg.interfaces import Bijector, Topology


@dataclasses.dataclass(frozen=True, kw_only=True)
class MolecularCoordinates:
    """A bijector v ``(3N-6, *batch)`` -> x ``(3N, *batch)``, nm, with what its variables mean.

    The first ``n_circular`` of v live on the circle [-pi, pi), the other ``n_linear`` are whitened.
    The bijector covers the *domain*: stiff torsions within pi/2 of their centre (trans amides, the
    chirality of the data), exchangeable rotor atoms in one cyclic order. The target is restricted
    to it. ``in_domain(frames)``, batch first ``(n, atoms, 3)`` -> ``(n,)`` bool, tells which frames
    it can represent, up to relabelling rotors; a v that leaves the domain gets log-determinant -inf
    from ``bijector.forward``, hence weight 0. ``torsion_axes`` has the atoms of the bond that each circular
    variable turns about, by its row of v, without symmetric rotors and bonds in rings.
    """

    bijector: Bijector
    n_circular: int
    n_linear: int
    labels: tuple[str, ...]
    in_domain: Callable[[np.ndarray], np.ndarray]
    fit: CoordinateFit
    torsion_axes: Mapping[int, frozenset[int]]

    @property
    def torsion_pairs(self) -> np.ndarray:
        """Rows of v ``(n, 2)`` about bonds that share an atom, such as phi and psi of a residue, and twice the
        same for one that has no such neighbour."""
        axes = self.torsion_axes
        pairs = [(i, j) for i, j in itertools.combinations(axes, 2) if axes[i] & axes[j]]
        paired = {i for pair in pairs for i in pair}
        return np.array(pairs + [(i, i) for i in axes if i not in paired], int).reshape(-1, 2)

    @property
    def torsion_links(self) -> np.ndarray:
        """Pairs of `torsion_pairs` ``(m, 2)`` without a common row whose bonds are joined by a bond, such as those
        of neighbouring residues."""
        fit, axes, pairs = self.fit, self.torsion_axes, self.torsion_pairs.tolist()
        bonds = {
            frozenset(bond) for bond in zip(fit.order.tolist(), fit.bond.tolist(), strict=True)
        }
        atoms = [axes[i] | axes[j] for i, j in pairs]
        joined = lambda a, b: any(frozenset((k, l)) in bonds for k in atoms[a] for l in atoms[b])
        links = [
            (a, b)
            for a, b in itertools.combinations(range(len(pairs)), 2)
            if not set(pairs[a]) & set(pairs[b]) and joined(a, b)
        ]
        return np.array(links, int).reshape(-1, 2)


def coordinates_from_fit(topology: Topology, fit: CoordinateFit) -> MolecularCoordinates:
    """Rebuild the coordinates; ``topology`` serves only their labels and ``torsion_axes``."""
    to_torsions = torsion_variables(fit.zmatrix, fit.rotor_groups, fit.cells)
    to_labels = rotor_directions(fit.zmatrix, _interpolated(fit), fit.cells)
    parts = (whitening(fit.whitening), to_labels, to_torsions, internal(fit.zmatrix))

    def forward(params, v):
        total = jnp.zeros(v.shape[1:], v.dtype)
        for part in parts:
            v, log_det = part.forward((), v)
            total = total + log_det
        return v, total

    def inverse(params, x):
        total = jnp.zeros(x.shape[1:], x.dtype)
        for part in reversed(parts):
            x, log_det = part.inverse((), x)
            total = total + log_det
        return x, total

    def in_domain(frames):
        frames = np.asarray(frames)
        return np.isfinite(apply_in_chunks(inverse_of, frames.reshape(len(frames), -1).T)[1])

    inverse_of = jax.jit(inverse)
    return MolecularCoordinates(
        bijector=Bijector(
            dim_in=parts[0].dim_in,
            dim_out=parts[-1].dim_out,
            init=lambda key: (),
            forward=forward,
            inverse=inverse,
        ),
        n_circular=len(fit.soft),
        n_linear=len(fit.stiff),
        labels=_labels(topology, fit),
        in_domain=in_domain,
        fit=fit,
        torsion_axes=_torsion_axes(topology, fit),
    )


def _torsion_axes(topology: Topology, fit: CoordinateFit) -> dict[int, frozenset[int]]:
    rows = fit.soft - (2 * fit.zmatrix.n_atoms - 3) + 3  # of the Z-matrix
    rotors, rings = {group[0] for group in fit.rotor_groups}, _ring_bonds(topology)
    axes = {
        i: frozenset((int(fit.bond[row]), int(fit.angle[row])))
        for i, row in enumerate(rows)
        if int(fit.order[row]) not in rotors
    }
    return {i: axis for i, axis in axes.items() if axis not in rings}


def _ring_bonds(topology: Topology) -> set[frozenset[int]]:
    """The bonds whose atoms are still joined without them."""
    neighbours, found = bonded_neighbours(topology), set()
    for a, b in topology.bonds.tolist():
        seen, todo = {a}, [a]
        while todo and b not in seen:
            atom = todo.pop()
            more = [k for k in neighbours[atom] if k not in seen and {atom, k} != {a, b}]
            seen.update(more)
            todo += more
        if b in seen:
            found.add(frozenset((a, b)))
    return found


def _interpolated(fit: CoordinateFit) -> Rotors:
    return fit.rotor_groups if fit.directions else ()


def _labels(topology: Topology, fit: CoordinateFit) -> tuple[str, ...]:
    """Names of the variables; a whitened one is named after the coordinate it is the residual of."""
    labels = coordinate_labels(topology, fit.zmatrix, fit.rotor_groups, _interpolated(fit))
    return tuple(labels[i] for i in (*fit.soft, *fit.stiff))
