"""The study of the Mueller-Brown potential."""

from typing import Any

import numpy as np

from jbg.runs import Run
from jbg.sampling.generate import SampleSet
from jbg.studies.plane import plane
from jbg.studies.plane.plane import Axis, reference_difference
from jbg.studies.problem import Problem
from jbg.systems import mueller_brown

DESCRIPTION = "Mueller-Brown potential of Noe et al. 2019, exact reference by quadrature"
TAUS = (0.25, 0.5, 1.0, 2.0, 3.0)


def make_config(
    *,
    preset: str,
    seed: int,
    scale: float = 0.1,
    taus: tuple[float, ...] = TAUS,
    w_rc: float = 0.0,
) -> dict[str, Any]:
    """Options: the scale of the textbook's energies, taus and w_rc."""
    mueller_brown(scale=scale)  # refuses a scale that is none before anything is written
    return plane.make_config(
        "mueller-brown",
        preset=preset,
        seed=seed,
        coefficients={"scale": scale},
        taus=taus,
        w_rc=w_rc,
        simulation={"step": 0.1, "n_steps": 10_000, "stride": 10},
    )


def _system(run: Run):
    return mueller_brown(scale=run.config["options"]["scale"])


def cost(config: dict[str, Any]) -> dict[str, Any]:
    return plane.cost(config, n_chains=3)


def simulate(run: Run, *, quiet: bool) -> None:
    """Metropolis from each minimum, confined to A on one side of its saddle, I and B on the other."""
    del quiet  # over in a second
    system = _system(run)
    a, _, _, rest = system.states
    plane.simulate(run, system, [a.contains, rest.contains, rest.contains])


def load(run: Run) -> Problem:
    return plane.load(run, _system(run))


def evaluate(
    run: Run, problem: Problem, samples: SampleSet, log_w: np.ndarray
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Profiles along y and along (1, -1) beside the exact ones, configurations."""
    axes = {
        "y": Axis((0.0, 1.0), np.linspace(-0.4, 2.0, 101), "y"),
        "s": Axis((1.0, -1.0), np.linspace(-2.0, 1.0, 101), "(x - y) / sqrt 2"),
    }
    window = ((-1.7, 1.3), (-0.5, 2.2))
    return plane.evaluate(run, problem, samples, log_w, axes=axes, window=window)


__all__ = ["cost", "evaluate", "load", "make_config", "reference_difference", "simulate"]
