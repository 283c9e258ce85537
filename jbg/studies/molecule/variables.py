"""Profiles along collective variables of the user, and maps over two of them, beside those of the simulation."""

from typing import Any

import numpy as np

from jbg.reweighting import relative_weights
from jbg.studies.evidence import Evidence
from jbg.studies.molecule.observables import (
    SimulatedFrames,
    reference_profile,
    simulated_frames,
)
from jbg.studies.profiles import profile_arrays
from jbg.studies.study import Finding
from jbg.variables import Quantity, Variable

BINS, MAP_BINS = 60, 72
INSIDE = (5e-4, 1 - 5e-4)  # quantiles of the weighted samples that a range reaches between


def variables(evidence: Evidence) -> Finding:
    """``variables``: what each is; arrays ``profile_cv-<name>_...`` and ``map_cv-<name>_...``."""
    known = simulated_frames(evidence) if evidence.wanted.variables else None
    about: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    for variable in evidence.wanted.variables:
        values = variable.of(evidence.own.samples.positions.T)
        simulated = None if known is None else variable.of(known.x[known.kept].T)
        edges = [
            _edges(quantity, bounds, values[:, i], evidence.own.log_w, len(variable.quantities))
            for i, (quantity, bounds) in enumerate(
                zip(variable.quantities, variable.bounds, strict=True)
            )
        ]
        values = _folded(variable, values, edges)
        simulated = None if simulated is None else _folded(variable, simulated, edges)
        name = f"cv-{variable.name}"
        about[name] = {
            "label": variable.name,
            "definition": variable.definition,
            "quantities": [{"label": q.label, "unit": q.unit} for q in variable.quantities],
            "unit": variable.quantities[0].unit,
            "periodic": [q.periodic for q in variable.quantities],
        }
        if len(edges) == 1:
            arrays |= _profile(evidence, name, values, edges[0], known, simulated)
        else:
            arrays |= _map(evidence, name, values, edges, simulated)
    return Finding({"variables": about} if about else {}, arrays)


def _edges(
    quantity: Quantity,
    bounds: tuple[float, float] | None,
    values: np.ndarray,
    log_w: np.ndarray,
    n: int,
) -> np.ndarray:
    """Edges of bins between the bounds; else once around the circle, or over nearly all weight."""
    bins = BINS if n == 1 else MAP_BINS
    if bounds is not None:
        return np.linspace(*bounds, bins + 1)
    if quantity.periodic:
        return np.linspace(-np.pi, np.pi, bins + 1)
    order = np.argsort(values)
    rank = np.cumsum(relative_weights(log_w)[order])
    low, high = values[order][np.searchsorted(rank / rank[-1], INSIDE)]
    if not high > low:
        low, high = low - 0.5, high + 0.5
    room = 0.05 * (high - low)
    return np.linspace(low - room, high + room, bins + 1)


def _folded(variable: Variable, values: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
    """Values with angles in the turn that begins at the lowest edge."""
    columns = [
        column if not quantity.periodic else edge[0] + np.mod(column - edge[0], 2 * np.pi)
        for quantity, edge, column in zip(variable.quantities, edges, values.T, strict=True)
    ]
    return np.stack(columns, axis=-1)


def _profile(
    evidence: Evidence,
    name: str,
    values: np.ndarray,
    edges: np.ndarray,
    known: SimulatedFrames | None,
    simulated: np.ndarray | None,
) -> dict[str, np.ndarray]:
    found = profile_arrays(evidence, name, values[:, 0], edges, stream=f"profile {name}")
    if known is None or simulated is None:
        return found
    return found | reference_profile(name, simulated[:, 0], known, edges)


def _map(
    evidence: Evidence,
    name: str,
    values: np.ndarray,
    edges: list[np.ndarray],
    simulated: np.ndarray | None,
) -> dict[str, np.ndarray]:
    """Shares of the weight in each cell, of all samples, those outside of the edges included."""
    w = relative_weights(evidence.own.log_w)
    kinds = {"generated": (values, np.ones(len(values))), "reweighted": (values, w)}
    if simulated is not None:
        kinds = {"reference": (simulated, np.ones(len(simulated)))} | kinds
    found = {f"map_{name}_edges{axis}": edge for axis, edge in zip("xy", edges, strict=True)}
    for kind, (points, weights) in kinds.items():
        counts, *_ = np.histogram2d(*points.T, bins=edges, weights=weights)
        found[f"map_{name}_{kind}"] = counts / weights.sum()
    return found
