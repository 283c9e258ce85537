"""Observables of a system in the plane: profiles beside the exact ones, configurations over contours."""

import dataclasses
from typing import NamedTuple

import numpy as np

from jbg.studies.evidence import Evidence
from jbg.studies.profiles import profile_arrays
from jbg.studies.study import Finding
from jbg.targets import find_bounds, profile_quadrature, project


class Axis(NamedTuple):
    """A profile to report: along ``direction`` in the plane, between ``edges``."""

    name: str
    direction: tuple[float, float]
    edges: np.ndarray
    label: str
    stream: str  # name of the bootstrap's seed


@dataclasses.dataclass(frozen=True)
class Profiles:
    """Profiles along ``axes`` beside the exact ones."""

    axes: tuple[Axis, ...]

    def __call__(self, evidence: Evidence) -> Finding:
        system, arrays = evidence.problem.system, {}
        bounds = find_bounds(system.potential, system.start)
        for axis in self.axes:
            s = project(evidence.own.samples.positions.T, axis.direction)
            arrays |= profile_arrays(evidence, axis.name, s, axis.edges, stream=axis.stream)
            arrays[f"profile_{axis.name}_reference"] = profile_quadrature(
                system.potential, bounds, axis.edges, direction=axis.direction
            )
        about = {axis.name: {"label": axis.label, "unit": ""} for axis in self.axes}
        return Finding({"profiles": about}, arrays)


@dataclasses.dataclass(frozen=True)
class Contours:
    """Generated configurations, and the potential in a window ((x low, x high), (y low, y high))."""

    window: tuple[tuple[float, float], tuple[float, float]]

    def __call__(self, evidence: Evidence) -> Finding:
        x, y = np.linspace(*self.window[0], 120), np.linspace(*self.window[1], 100)
        arrays = {
            "x_generated": np.asarray(evidence.own.samples.positions[:2000]),
            "contour_x": x,
            "contour_y": y,
            "contour_u": evidence.problem.system.potential(np.stack(np.meshgrid(x, y))),
        }
        return Finding({}, arrays)
