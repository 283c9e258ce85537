"""The mean of a function of the user over the samples of a molecule's run, and over its corrected chains."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jbg.analysis import WeightedMean, chain_mean, weighted_mean
from jbg.interfaces import ConfigError
from jbg.runs import Run
from jbg.studies import engine
from jbg.studies.correction import load_corrected
from jbg.studies.evidence import weigh
from jbg.studies.molecule.files import MOLECULE
from jbg.studies.molecule.stored import load_molecule
from jbg.variables import frame_values
from jbg.variables.functions import Takes


class Mean(NamedTuple):
    """One column of a function: by weights, and by chains with flow moves where the run has them."""

    weighted: WeightedMean
    chains: WeightedMean | None


def means(
    run: Run,
    function: Callable[[Any], Any],
    *,
    takes: Takes = "trajectory",
    whose: str = "the function",
) -> list[Mean]:
    """The mean of each column of a function, over the Boltzmann distribution at the temperature of the run.

    Args:
        run: of a molecule, with samples.
        function: of an ``mdtraj.Trajectory`` (or positions ``(n, atoms, 3)``) -> ``(n,)`` or ``(n, k)``.
        takes: "trajectory" or "positions".
        whose: how errors call the function.

    Raises:
        ConfigError: a run without atoms or samples, a function that fails or gives other shapes, or values that
            are not finite.
    """
    if not (run.path / MOLECULE).exists():
        raise ConfigError(
            f"{run.path}: {engine.plan_of(run).study} has no atoms, or is not simulated yet"
        )
    samples = engine.load_ensemble(run)
    topology = load_molecule(run).topology
    log_w = weigh(engine.load_problem(run), samples, 1.0).log_w
    of = frame_values(function, topology, takes=takes, whose=whose)
    values = of(samples.positions)
    corrected = _chains(run)
    chained = None
    if corrected is not None:
        chained = of(corrected.reshape(-1, corrected.shape[-1]))
        chained = chained.reshape(*corrected.shape[:2], -1)
    seed = run.seed_for("mean of a function")
    return [
        Mean(
            weighted_mean(column, log_w, seed=seed),
            None if chained is None else chain_mean(chained[:, :, i]),
        )
        for i, column in enumerate(values.T)
    ]


def _chains(run: Run) -> np.ndarray | None:
    """Frames ``(chains, frames, dim)`` of the run's corrector, where nothing speaks against all of them."""
    if not run.holds(engine.RESULTS):
        return None
    refused = (run.read_json(engine.RESULTS).get("correction") or {}).get("refused")
    if refused is None or refused:
        return None
    chains = load_corrected(run, engine.plan_of(run).correction)
    return None if chains is None else chains.x
