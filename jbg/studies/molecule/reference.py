"""The reference of a molecule: F between its states from replica exchange, if that has equilibrated.

Defines the torsions on both sides of which ladders start, the slow functions that have to relax within a state,
and applies the checks of `analysis.equilibration` to the frames inside the coordinates' domain.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jbg.analysis.equilibration import checked_reference, remembered, slow_within
from jbg.coords import backbone_torsions
from jbg.coords.zmatrix import bonded_neighbours
from jbg.interfaces import State, Topology
from jbg.runs import Run
from jbg.simulation.dispersed_starts import TorsionSides
from jbg.simulation.torsion_rotation import RotatableBond
from jbg.studies.dataset import Dataset
from jbg.studies.evidence import Evidence
from jbg.studies.molecule.data_plan import HarmonicPlan
from jbg.studies.molecule.files import DOMAIN, STARTS
from jbg.studies.molecule.look_alike import look_alike
from jbg.studies.molecule.states import flat_torsion, heavy_torsions, named_torsions, topology_of
from jbg.studies.molecule.target_check import mismatch
from jbg.studies.molecule.trajectory_plan import TrajectoryPlan
from jbg.studies.study import Reference

BIASED = "the frames are of a biased simulation, whose equilibration is not judged"

Sides = Mapping[
    str, np.ndarray
]  # of each torsion, on which side each ladder started, (ladders,) bool


def reference(evidence: Evidence, a: State, b: State, tau: float) -> Reference:
    """F(b) - F(a) from the frames inside the domain, with an error from independent ladders or blocks.

    Args:
        evidence: of the run.
        a: the first state.
        b: the second.
        tau: not used: frames are of the temperature of the run, tau = 1.
    """
    del tau  # sampled at its own temperature only
    run = evidence.run
    if isinstance(evidence.plan.data, HarmonicPlan):
        return Reference(None, None, "none was simulated", expected=False)
    if evidence.dataset.weighted:
        return Reference(None, None, _by_weights(evidence.dataset, a, b), expected=False)
    refused = mismatch(run)
    if refused:
        return Reference(None, None, refused, expected=False)
    found = ladder_reference(
        topology_of(evidence.problem.system),
        evidence.dataset,
        run.load_arrays(DOMAIN)["inside"],
        start_sides(run),
        (a, b),
        seed=run.seed_for("reference"),
    )
    # the user's trajectories are no simulation of this run, whose cost would be known
    return found._replace(ladders=0) if isinstance(evidence.plan.data, TrajectoryPlan) else found


def torsion_sides(topology: Topology, bonds: tuple[RotatableBond, ...]) -> dict[str, TorsionSides]:
    """The torsions with two states that a rotation can turn, by name; proline's phi is in a ring."""
    by_axis = {frozenset(bond.axis): bond for bond in bonds}
    return {
        torsion.name: TorsionSides(by_axis[torsion.axis], torsion.second.contains)
        for torsion in named_torsions(topology)
        if torsion.axis in by_axis
    }


def start_sides(run: Run) -> Sides:
    """On which side of each torsion the ladders of a run started; empty where that is not known."""
    if not run.holds(STARTS):
        return {}
    starts = run.load_arrays(STARTS)
    names = map(str, starts["torsions"])
    return dict(zip(names, starts["sides"], strict=True))


def ladder_reference(
    topology: Topology,
    data: Dataset,
    inside: np.ndarray,
    sides: Sides,
    pair: tuple[State, State],
    *,
    seed: int,
) -> Reference:
    """F(b) - F(a) from simulation frames within the domain, error by bootstrap over ladders.

    None with a reason if the simulation is not equilibrated (`checked_reference`).

    Args:
        topology: of the molecule.
        data: frames in order of time, as many of each ladder.
        inside: ``(n,)`` bool, the frames within the coordinates' domain.
        sides: where the ladders started.
        pair: the states a and b.
        seed: of the bootstrap.
    """
    x, order = data.x.T, data.by_chain()
    in_state = [np.asarray(state.contains(x), bool) for state in pair]
    left_out = [np.sum(rows & ~inside) for rows in in_state]
    for state, rows, outside in zip(pair, in_state, left_out, strict=True):
        if not rows.any():
            return Reference(None, None, f"the simulation never visited {state.name}")
        if outside == rows.sum():
            reason = (
                f"all {outside} frames of the simulation in {state.name} lie outside the coordinates' "
                "domain and are left out"
            )
            return Reference(None, None, reason)
    ladders = data.chain[order[:, 0]]
    found = checked_reference(
        *((rows & inside)[order] for rows in in_state),
        walkers=data.walker[order],
        sides={name: side[ladders] for name, side in sides.items()},
        own=_torsion_of(topology, pair[0]),
        slow={name: values[order] for name, values in slow_functions(topology, x).items()},
        names=(pair[0].name, pair[1].name),
        seed=seed,
    )
    if found.value is not None:
        return Reference(found.value, found.stderr, ladders=len(ladders))
    counts = [
        f"; {outside} frames in {state.name} lie outside the coordinates' domain and are left out"
        for state, outside in zip(pair, left_out, strict=True)
        if outside
    ]
    return Reference(None, None, "".join([found.reason or "", *counts]))


def _by_weights(data: Dataset, a: State, b: State) -> str:
    """Why there is no reference, and what the weights of the frames say all the same; error: jackknife over
    blocks."""
    inside = [data.weight * np.asarray(state.contains(data.x.T), bool) for state in (a, b)]
    n_a, n_b = (np.bincount(data.chain, rows) for rows in inside)
    left = np.array([n_a.sum() - n_a, n_b.sum() - n_b])
    if not (left > 0).all():
        return f"{BIASED}; fewer than two blocks have weight in {a.name} or {b.name}"
    without, n = -np.log(left[1] / left[0]), len(n_a)
    value, stderr = -math.log(n_b.sum() / n_a.sum()), math.sqrt(n - 1) * float(without.std())
    return f"{BIASED}; their weights give {value:.2f} +- {stderr:.2f} kT"


def _torsion_of(topology: Topology, state: State) -> str | None:
    """The name of the torsion that a state is a side of; None for a state of another kind."""
    names = {s.name: t.name for t in named_torsions(topology) for s in (t.first, t.second)}
    return names.get(state.name)


class Memory(NamedTuple):
    """How long the simulation as a whole remembers its starts."""

    frames: int  # at the beginning of each ladder, that remember the start
    refused: str  # why averages are not equilibrium averages; empty where they are


def memory(topology: Topology, data: Dataset, inside: np.ndarray, sides: Sides) -> Memory:
    """The longest memory of any pair of states, and the first reason why a reference is refused.

    Args:
        topology, data, inside, sides: as for `ladder_reference`.
    """
    x, order = data.x.T, data.by_chain()
    frames, reason = 0, ""
    for torsion in named_torsions(topology):
        pair = (torsion.first, torsion.second)
        in_a, in_b = ((np.asarray(state.contains(x), bool) & inside)[order] for state in pair)
        if in_a.any() and in_b.any():
            frames = max(frames, remembered(in_a, in_b, data.walker[order]))
        found = ladder_reference(topology, data, inside, sides, pair, seed=0)
        reason = reason or found.reason
    return Memory(frames, reason)


def slow_within_states(topology: Topology, data: Dataset, pair: tuple[State, State]) -> str | None:
    """The slow function, if any, that is not in equilibrium within either state of a pair."""
    x, order = data.x.T, data.by_chain()
    return slow_within(
        [np.asarray(state.contains(x), bool)[order] for state in pair],
        [state.name for state in pair],
        {name: values[order] for name, values in slow_functions(topology, x).items()},
        data.walker[order],
    )


def slow_functions(topology: Topology, x: np.ndarray) -> dict[str, np.ndarray]:
    """Cosine and sine of the torsion about every rotatable bond that heavy atoms turn about, by name.

    For a symmetric end (a phenyl ring, a carboxylate, a tert-butyl group) the torsion is multiplied by its
    symmetry number: exchanges of labels are slow, and irrelevant to the ensemble.

    Args:
        topology: of the molecule.
        x: flat positions ``(3 atoms, n)``.
    """
    found, alike = {}, look_alike(topology)
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


def _fold(topology: Topology, alike: list[int], end: int, without: int) -> int:
    """How often the atoms on ``end`` repeat in a turn about the bond to ``without``."""
    others = [i for i in bonded_neighbours(topology)[end] if i != without]
    return len(others) if len({alike[i] for i in others}) == 1 else 1
