"""Exports configurations of a run as a trajectory for other programs."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jbg import reweighting
from jbg.interfaces import ConfigError, RunError
from jbg.runs import Run, storage, trajectory
from jbg.sampling.generate import Ensemble, SampleSet
from jbg.studies import engine
from jbg.studies.dataset import FRAMES, load_dataset
from jbg.studies.evidence import weigh
from jbg.studies.molecule.data_plan import HarmonicPlan
from jbg.studies.molecule.files import PDB


class Exported(NamedTuple):
    """What was written; ``weights`` is the file of the weights, None where the frames need none."""

    frames: int
    distinct: int  # of them
    weights: Path | None = None


def write_trajectory(
    run: Run, out: str | Path, *, what: str = "samples", n: int = 1000, weighted: bool = False
) -> Exported:
    """Writes n frames of a molecule's run, superposed on the first by its heavy atoms.

    Args:
        run: simulated, and for ``what="samples"`` sampled.
        out: file to write; its suffix, one of `trajectory.FORMATS`, says the format. ``data/molecule.pdb`` is its
            topology.
        what: "samples": generated configurations resampled by weight, so that the trajectory follows the Boltzmann
            distribution without weights (heavy ones are repeated); "data": frames of the simulation, evenly
            spaced.
        n: number of frames; of the simulation, and of weighted samples, at most all.
        weighted: write the first samples as they were generated, and their weights, whose sum is 1, beside them:
            to ``a.weights.npy`` of ``a.dcd``.

    Raises:
        ConfigError: a system without atoms, an unknown format, no frames yet, n < 1, or weights of data.
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
    if weighted and what != "samples":
        raise ConfigError("weights belong to samples: export data without --weighted")
    weights = None
    if what == "samples" and weighted:
        frames, weights = _weighted(run, n)
        distinct = len(frames)
    elif what == "samples":
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
    beside = None
    if weights is not None:
        beside = out.with_suffix(".weights.npy")
        storage.write_atomic(beside, lambda file: np.save(file, weights))
    return Exported(len(frames), distinct, beside)


def _samples(run: Run) -> tuple[SampleSet, np.ndarray]:
    """The samples of a run with their log-weights, zero outside of the target."""
    if not (run.path / Ensemble().folder).exists():
        raise ConfigError(f"{run.path} has no samples yet: run `jbg sample {run.path}` first")
    samples = engine.load_ensemble(run)
    return samples, weigh(engine.load_problem(run), samples, 1.0).log_w


def _weighted(run: Run, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The first n samples and their weights, whose sum is 1."""
    samples, log_w = _samples(run)
    w = reweighting.relative_weights(log_w[:n])
    if not w.any():
        raise RunError(f"none of the first {len(w)} samples has a weight: export more")
    return np.asarray(samples.positions[:n]), w / w.sum()


def _equilibrium(run: Run, n: int) -> tuple[np.ndarray, int]:
    samples, log_w = _samples(run)
    rng = np.random.default_rng(run.seed_for("export"))
    rows = reweighting.resample(rng, log_w, n)
    # in random order: resampled frames have no time
    return np.asarray(samples.positions[rng.permutation(rows)]), len(np.unique(rows))
