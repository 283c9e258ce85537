"""The study of a double well."""

from typing import Any

import numpy as np

from jbg.runs import Run
from jbg.sampling.generate import SampleSet
from jbg.studies.plane import plane
from jbg.studies.plane.plane import Axis, reference_difference
from jbg.studies.problem import Problem
from jbg.systems import double_well

DESCRIPTION = "two-dimensional double well of Noe et al. 2019, exact reference by quadrature"
COEFFICIENTS = {"a4": 1.0, "a2": 6.0, "a1": 1.0, "k": 1.0}


def make_config(
    *, preset: str, seed: int, taus: tuple[float, ...] = (1.0,), w_rc: float = 0.0, **options: Any
) -> dict[str, Any]:
    """Options: the coefficients a4, a2, a1, k of U = a4 x^4 - a2 x^2 + a1 x + k y^2/2, taus and w_rc."""
    given = {name: value for name, value in options.items() if value is not None}
    coefficients = COEFFICIENTS | given
    double_well(**coefficients)  # refuses what has no two wells before anything is written
    return plane.make_config(
        "double-well",
        preset=preset,
        seed=seed,
        coefficients=coefficients,
        taus=taus,
        w_rc=w_rc,
        simulation={"step": 0.1, "n_steps": 10_000, "stride": 10},
    )


def _system(run: Run):
    return double_well(**{name: run.config["options"][name] for name in COEFFICIENTS})


def cost(config: dict[str, Any]) -> dict[str, Any]:
    return plane.cost(config, n_chains=2)


def simulate(run: Run, *, quiet: bool) -> None:
    """Metropolis from each minimum, confined to its well: no trajectory ever crosses."""
    del quiet  # over in a second
    system = _system(run)
    plane.simulate(run, system, [state.contains for state in system.states])


def load(run: Run) -> Problem:
    return plane.load(run, _system(run))


def evaluate(
    run: Run, problem: Problem, samples: SampleSet, log_w: np.ndarray
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Profile along x beside the exact one, configurations."""
    axes = {"x": Axis((1.0, 0.0), np.linspace(-2.5, 2.5, 101), "x")}
    window = ((-2.7, 2.7), (-4.5, 4.5))
    return plane.evaluate(run, problem, samples, log_w, axes=axes, window=window)


__all__ = ["cost", "evaluate", "load", "make_config", "reference_difference", "simulate"]
