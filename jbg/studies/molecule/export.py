"""Exports configurations of a run as a trajectory for other programs."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jbg import reweighting
from jbg.interfaces import ConfigError
from jbg.runs import Run, storage, trajectory
from jbg.sampling.generate import Ensemble
from jbg.studies import engine
from jbg.studies.dataset import FRAMES, load_dataset
from jbg.studies.evidence import weigh
from jbg.studies.molecule.data_plan import HarmonicPlan
from jbg.studies.molecule.files import PDB


class Exported(NamedTuple):
    frames: int
    distinct: int  # of them


def write_trajectory(
    run: Run, out: str | Path, *, what: str = "samples", n: int = 1000
) -> Exported:
    """Writes n frames of a molecule's run, superposed on the first by its heavy atoms.

    Args:
        run: simulated, and for ``what="samples"`` sampled.
        out: file to write; its suffix, one of `trajectory.FORMATS`, says the format. ``data/molecule.pdb`` is its
            topology.
        what: "samples": generated configurations resampled by weight, so that the trajectory follows the Boltzmann
            distribution without weights (heavy ones are repeated); "data": frames of the simulation, evenly
            spaced.
        n: number of frames; of the simulation at most all.

    Raises:
        ConfigError: a system without atoms, an unknown format, no frames yet, n < 1.
        RunError: no sample has a finite weight.
    """
    out, plan = Path(out), engine.plan_of(run)
    if not (run.path / PDB).exists():
        raise ConfigError(f"{run.path}: {plan.study} has no atoms, or is not simulated yet")
    trajectory.check_format(out)
    if n < 1:
        raise ConfigError(f"a trajectory needs at least 1 frame, got {n}")
    run.verify(PDB)
    storage.require_memory(f"{n} frames", 12.0 * n * plan.data.atoms, "choose a smaller -n")
    if what == "samples":
        frames, distinct = _equilibrium(run, n)
    elif what == "data":
        if not (run.path / FRAMES).exists():
            raise ConfigError(
                f"{run.path} has no data yet: run `jbg simulate` (or `jbg run`) first"
            )
        if isinstance(plan.data, HarmonicPlan):
            raise ConfigError(
                f"{run.path}: nothing was simulated, so its data sample no ensemble; export the samples"
            )
        frames = load_dataset(run).x
        frames = frames[np.linspace(0, len(frames) - 1, min(n, len(frames))).astype(int)]
        distinct = len(frames)
    else:
        raise ConfigError(f"what to export must be samples or data, got {what!r}")
    trajectory.save_trajectory(out, frames, run.path / PDB)
    return Exported(len(frames), distinct)


def _equilibrium(run: Run, n: int) -> tuple[np.ndarray, int]:
    if not (run.path / Ensemble().folder).exists():
        raise ConfigError(f"{run.path} has no samples yet: run `jbg sample {run.path}` first")
    samples = engine.load_ensemble(run)
    log_w = weigh(engine.load_problem(run), samples, 1.0).log_w  # zero outside of the target
    rng = np.random.default_rng(run.seed_for("export"))
    rows = reweighting.resample(rng, log_w, n)
    # in random order: resampled frames have no time
    return np.asarray(samples.positions[rng.permutation(rows)]), len(np.unique(rows))
