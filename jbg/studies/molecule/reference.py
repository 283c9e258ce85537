"""The reference of a molecule: F between its states from replica exchange, where that has equilibrated.

Which torsions ladders start on both sides of, what has to relax within a state, and the checks of
`analysis.equilibration` on the frames inside the coordinates' domain.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jbg.analysis.equilibration import checked_reference, remembered, slow_within
from jbg.coords import backbone_torsions
from jbg.coords.zmatrix import bonded_neighbours
from jbg.interfaces import State, Topology
from jbg.simulation.dispersed_starts import TorsionSides
from jbg.simulation.torsion_rotation import RotatableBond
from jbg.studies.molecule.observables import flat_torsion, heavy_torsions, named_torsions, states

EARLIER = (
    "the frames were simulated by an earlier version, which did not record which walker each is of; "
    "simulate again"
)


def torsion_sides(topology: Topology, bonds: tuple[RotatableBond, ...]) -> dict[str, TorsionSides]:
    """The torsions with two states that a rotation can turn, by name; proline's phi is in a ring."""
    by_axis = {frozenset(bond.axis): bond for bond in bonds}
    second = states(topology)[1::2]
    return {
        name: TorsionSides(by_axis[frozenset(quad[1:3].tolist())], state.contains)
        for (name, quad), state in zip(named_torsions(topology).items(), second, strict=True)
        if frozenset(quad[1:3].tolist()) in by_axis
    }


def reference_difference(
    topology: Topology,
    data: Mapping[str, np.ndarray],
    inside: np.ndarray,
    a: State,
    b: State,
    *,
    seed: int,
) -> dict[str, Any]:
    """F(b) - F(a) from simulation frames within the domain, error by bootstrap over ladders.

    None with a reason when the simulation cannot be taken as equilibrated (`checked_reference`).

    Args:
        topology: of the molecule.
        data: ``frames (n, atoms, 3)`` in order of time, as many of each ladder; ``ladder`` and ``walker``
            ``(n,)``; ``start_sides (torsions, ladders)`` and the names ``start_torsions``.
        inside: ``(n,)`` bool, the frames within the coordinates' domain.
        a: the first state.
        b: the second.
        seed: of the bootstrap.
    """
    if "walker" not in data:
        return _none(EARLIER)
    x = data["frames"].reshape(len(inside), -1).T
    order, ladders = _by_ladder(data["ladder"])
    in_state = [np.asarray(state.contains(x), bool) for state in (a, b)]
    left_out = [np.sum(rows & ~inside) for rows in in_state]
    for state, rows, outside in zip((a, b), in_state, left_out, strict=True):
        if not rows.any():
            return _none(f"the simulation never visited {state.name}")
        if outside == rows.sum():
            return _none(
                f"all {outside} frames of the simulation in {state.name} lie outside the coordinates' "
                "domain and are left out"
            )
    sides = {
        str(name): side[ladders]
        for name, side in zip(data["start_torsions"], data["start_sides"], strict=True)
    }
    found = checked_reference(
        *((rows & inside)[order] for rows in in_state),
        walkers=data["walker"][order],
        sides=sides,
        own=re.split("[<> ]", a.name)[0],
        slow={name: values[order] for name, values in slow_functions(topology, x).items()},
        names=(a.name, b.name),
        seed=seed,
    )
    if found.value is None:
        counts = [
            f"; {outside} frames in {state.name} lie outside the coordinates' domain and are left out"
            for state, outside in zip((a, b), left_out, strict=True)
            if outside
        ]
        return _none(found.reason + "".join(counts))
    return {"reference": found.value, "reference_stderr": found.stderr}


class Memory(NamedTuple):
    """What the simulation as a whole remembers of its starts."""

    frames: int  # of each ladder, at the beginning
    refused: str  # why averages over it are not of the ensemble; empty where they are


def memory(topology: Topology, data: Mapping[str, np.ndarray], inside: np.ndarray) -> Memory:
    """The most that any pair of states remembers, and the first reason why the reference of one is refused.

    Arguments are as those of `reference_difference`.
    """
    x = data["frames"].reshape(len(inside), -1).T
    order, _ = _by_ladder(data["ladder"])
    frames, reason = 0, ""
    if "walker" not in data:
        return Memory(0, EARLIER)
    pairs = states(topology)
    for a, b in zip(pairs[::2], pairs[1::2], strict=True):
        in_a, in_b = ((np.asarray(state.contains(x), bool) & inside)[order] for state in (a, b))
        if in_a.any() and in_b.any():
            frames = max(frames, remembered(in_a, in_b, data["walker"][order]))
        found = reference_difference(topology, data, inside, a, b, seed=0)
        reason = reason or found.get("reference_reason", "")
    return Memory(frames, reason)


def slow_within_states(
    topology: Topology,
    data: Mapping[str, np.ndarray],
    rows: np.ndarray,
    pair: tuple[State, State],
) -> str | None:
    """What is too slow for the frames ``rows (n,)`` bool to be in equilibrium within either state of a pair."""
    x = data["frames"][rows].reshape(np.count_nonzero(rows), -1).T
    order, _ = _by_ladder(data["ladder"][rows])
    return slow_within(
        [np.asarray(state.contains(x), bool)[order] for state in pair],
        [state.name for state in pair],
        {name: values[order] for name, values in slow_functions(topology, x).items()},
        data["walker"][rows][order],
    )


def _none(reason: str) -> dict[str, Any]:
    return {"reference": None, "reference_stderr": None, "reference_reason": reason}


def _by_ladder(ladder: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the frames of each ladder in order of time ``(ladders, frames)``, and the ladders."""
    ladders, counts = np.unique(ladder, return_counts=True)
    if len(set(counts.tolist())) > 1:
        raise ValueError(
            f"reference: every ladder must have as many frames, got {counts.min()} to {counts.max()}"
        )
    return np.argsort(ladder, kind="stable").reshape(len(ladders), -1), ladders


def slow_functions(topology: Topology, x: np.ndarray) -> dict[str, np.ndarray]:
    """Cosine and sine of the torsion about every rotatable bond that heavy atoms turn about, by name.

    Of a multiple where an end looks alike after a part of a turn (a phenyl ring, a carboxylate, a tert-butyl
    group): how its labels are turned is slow, and says nothing of the ensemble.

    Args:
        topology: of the molecule.
        x: flat positions ``(3 atoms, n)``.
    """
    found, alike = {}, _look_alike(topology)
    named = _backbone_names(topology)
    for quad in heavy_torsions(topology):
        j, k = int(quad[1]), int(quad[2])
        label, quad = named.get(frozenset((j, k)), (None, quad))
        if label is None:
            atoms = "-".join(topology.atom_names[i] for i in quad)
            label = f"{topology.residue_names[j]}{topology.residue_ids[j] + 1} {atoms}"
        fold = math.lcm(_fold(topology, alike, j, k), _fold(topology, alike, k, j))
        angle = fold * flat_torsion(x, quad)
        times = "" if fold == 1 else f"{fold} x "
        found |= {f"cos {times}{label}": np.cos(angle), f"sin {times}{label}": np.sin(angle)}
    return found


def _backbone_names(topology: Topology) -> dict[frozenset[int], tuple[str, np.ndarray]]:
    """phi, psi and omega of a peptide by the bond they turn about: name with residue, and atoms."""
    found = {}
    for name, quads in backbone_torsions(topology).items():
        for quad in quads:
            residue = topology.residue_ids[quad[1 if name == "psi" else 2]] + 1
            found[frozenset(quad[1:3].tolist())] = (f"{name}{residue}", quad)
    return found


def _look_alike(topology: Topology) -> list[int]:
    """A number for each atom, the same for atoms that bonds and elements cannot tell apart."""
    neighbours = bonded_neighbours(topology)
    number = [sorted(set(topology.elements)).index(element) for element in topology.elements]
    for _ in range(topology.n_atoms):
        seen = [(number[i], *sorted(number[j] for j in neighbours[i])) for i in range(len(number))]
        ranks = {key: rank for rank, key in enumerate(sorted(set(seen)))}
        finer = [ranks[key] for key in seen]
        if len(ranks) == len(set(number)):
            break
        number = finer
    return number


def _fold(topology: Topology, alike: list[int], end: int, without: int) -> int:
    """How often the atoms on ``end`` repeat in a turn about the bond to ``without``."""
    others = [i for i in bonded_neighbours(topology)[end] if i != without]
    return len(others) if len({alike[i] for i in others}) == 1 else 1
