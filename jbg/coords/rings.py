"""Rings of bonds: the small, rigid ones of side chains, and those that half a turn maps to themselves."""

from collections import deque
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from jbg.coords.internal import torsions_of
from jbg.coords.torsions import proper_torsions, sibling_leads, wrap
from jbg.coords.zmatrix import ZMatrix, bonded_neighbours
from jbg.interfaces import Topology

LARGEST = 6  # atoms of a ring that counts as rigid; a disulfide closes a larger one


class RingFlips(NamedTuple):
    """Rings that half a turn about their bond to the rest maps to themselves (Phe, Tyr). Host arrays.

    The torsion ``lead`` (index among the N-3 of the Z-matrix) turns the ring, and swapping the atoms of
    ``pairs`` turns it by pi.
    """

    lead: np.ndarray  # (F,) int
    quads: np.ndarray  # (F, 4) int, atoms of that torsion
    pairs: np.ndarray  # (F, most, 2) int, padded with -1

    @property
    def n(self) -> int:
        return len(self.lead)


def small_rings(topology: Topology, largest: int = LARGEST) -> list[tuple[int, ...]]:
    """The shortest ring through each bond that has one of at most ``largest`` atoms, each ring once, its atoms in
    order."""
    neighbours, found = bonded_neighbours(topology), {}
    for a, b in np.asarray(topology.bonds, int).reshape(-1, 2).tolist():
        path = _shortest(neighbours, a, b, largest)
        if path:
            found.setdefault(frozenset(path), tuple(path))
    return list(found.values())


def ring_bonds(topology: Topology, largest: int = LARGEST) -> set[frozenset[int]]:
    """The bonds of `small_rings`."""
    rings = small_rings(topology, largest)
    return {
        frozenset(bond) for ring in rings for bond in zip(ring, (*ring[1:], ring[0]), strict=True)
    }


def ring_flips(topology: Topology, zmatrix: ZMatrix) -> RingFlips:
    """Six-membered rings on one bond whose two sides have the same elements.

    Whether the force field cannot tell the sides apart either is a question to the energy (`swapped`), as for
    rotors: keep those that pass.
    """
    neighbours = bonded_neighbours(topology)
    proper, leads = proper_torsions(zmatrix), sibling_leads(zmatrix)
    rows = {
        (int(zmatrix.bond[t + 3]), int(zmatrix.angle[t + 3])): t
        for t in np.unique(leads)
        if proper[t]
    }
    found = []
    for ring in small_rings(topology, 6):
        for i, root in enumerate(ring if len(ring) == 6 else ()):
            outside = [k for k in neighbours[root] if k not in ring]
            t = rows.get((root, outside[0])) if len(outside) == 1 else None
            pairs = _sides(topology.elements, neighbours, ring[i:] + ring[:i])
            if t is not None and pairs and zmatrix.order[t + 3] in pairs[0]:
                found.append((t, [int(column[t + 3]) for column in zmatrix], pairs))
    most = max((len(pairs) for _, _, pairs in found), default=0)
    padded = np.full((len(found), most, 2), -1)
    for row, (_, _, pairs) in zip(padded, found, strict=True):
        row[: len(pairs)] = pairs
    lead = np.array([t for t, _, _ in found], int)
    return RingFlips(lead, np.array([q for _, q, _ in found], int).reshape(-1, 4), padded)


def _sides(
    elements: tuple[str, ...], neighbours: list[list[int]], ring: tuple[int, ...]
) -> list[tuple[int, int]]:
    """The atoms that half a turn about the first of a six-membered ring exchanges; empty where the sides differ or
    carry more than single atoms."""
    pairs = [(ring[1], ring[5]), (ring[2], ring[4])]
    for left, right in tuple(pairs):
        on_left, on_right = (
            [k for k in neighbours[side] if k not in ring] for side in (left, right)
        )
        if len(on_left) != len(on_right) or any(
            len(neighbours[k]) > 1 for k in (*on_left, *on_right)
        ):
            return []
        pairs += zip(on_left, on_right, strict=True)
    return pairs if all(elements[a] == elements[b] for a, b in pairs) else []


def swapped(frames: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Frames ``(n, atoms, 3)`` with the atoms of one flip's ``pairs (most, 2)`` exchanged."""
    kept = pairs[pairs[:, 0] >= 0]
    frames = np.array(frames)
    frames[:, kept.ravel()] = frames[:, kept[:, ::-1].ravel()]
    return frames


def fold_flips(x: Array, flips: RingFlips, centres: np.ndarray) -> Array:
    """Flat positions ``(3N, *batch)``, rings so labelled that torsions are within pi/2 of ``centres (F,)``."""
    if not flips.n:
        return x
    angles = torsions_of(x, flips.quads)
    positions = jnp.asarray(x).reshape(-1, 3, *x.shape[1:])
    for angle, centre, pairs in zip(angles, centres, flips.pairs, strict=True):
        kept = pairs[pairs[:, 0] >= 0].astype(np.int32)
        there, back = kept.ravel(), kept[:, ::-1].ravel()
        beyond = abs(wrap(angle - centre)) > np.pi / 2
        exchanged = positions.at[there].set(positions[back])
        positions = jnp.where(beyond[None, None], exchanged, positions)
    return positions.reshape(x.shape)


def _shortest(neighbours: list[list[int]], a: int, b: int, largest: int) -> list[int]:
    """The shortest way from a to b without the bond a-b, of at most ``largest`` atoms; empty if there is none."""
    before, todo = {a: a}, deque([(a, 1)])
    while todo:
        atom, length = todo.popleft()
        for other in neighbours[atom]:
            if other in before or {atom, other} == {a, b} or length == largest:
                continue
            before[other] = atom
            if other == b:
                path = [b]
                while path[-1] != a:
                    path.append(before[path[-1]])
                return path
            todo.append((other, length + 1))
    return []
