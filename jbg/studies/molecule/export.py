"""Configurations of a run as a trajectory that other programs read."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jbg import reweighting
from jbg.interfaces import ConfigError
from jbg.runs import Run, storage, trajectory
from jbg.sampling.generate import load_samples
from jbg.studies import engine
from jbg.studies.molecule import data as molecule_data
from jbg.studies.molecule import stored as stored_molecule


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
        what: "samples": generated configurations drawn by their weights, so that the trajectory is one of the
            Boltzmann distribution without weights, heavy ones repeated; "data": frames of the simulation, evenly
            spread.
        n: frames, at most those there are of the simulation.

    Raises:
        ConfigError: a system without atoms, an unknown format, nothing simulated or to write yet, n < 1.
        RunError: no sample has a finite weight.
    """
    out = Path(out)
    if not (run.path / stored_molecule.PDB).exists():
        raise ConfigError(
            f"{run.path}: {run.config['system']} has no atoms, or is not simulated yet"
        )
    trajectory.check_format(out)
    if n < 1:
        raise ConfigError(f"a trajectory needs at least 1 frame, got {n}")
    run.verify(stored_molecule.PDB)
    n_bytes = 12.0 * n * run.config["simulation"].get("atoms", 1)
    storage.require_memory(f"{n} frames", n_bytes, "choose a smaller -n")
    if what == "samples":
        frames, distinct = _equilibrium(run, n)
    elif what == "data":
        if not (run.path / molecule_data.FRAMES).exists():
            raise ConfigError(
                f"{run.path} has no data yet: run `jbg simulate` (or `jbg run`) first"
            )
        if not molecule_data.is_simulated(run.config):
            raise ConfigError(
                f"{run.path}: nothing was simulated, so its data are of no ensemble; export the samples"
            )
        frames = run.load_arrays(molecule_data.FRAMES)["frames"]
        frames = frames[np.linspace(0, len(frames) - 1, min(n, len(frames))).astype(int)]
        distinct = len(frames)
    else:
        raise ConfigError(f"what to export must be samples or data, got {what!r}")
    trajectory.save_trajectory(out, frames, run.path / stored_molecule.PDB)
    return Exported(len(frames), distinct)


def _equilibrium(run: Run, n: int) -> tuple[np.ndarray, int]:
    folder = run.path / engine.SAMPLES
    if not folder.exists():
        raise ConfigError(f"{run.path} has no samples yet: run `jbg sample {run.path}` first")
    samples = load_samples(folder, drawn_with=run.manifest().get("samples", {}).get(engine.SAMPLES))
    log_w = reweighting.log_weights(samples.reduced_energy, samples.log_q)
    rng = np.random.default_rng(run.seed_for("export"))
    rows = reweighting.resample(rng, log_w, n)
    # in any order: a weighted draw has no time
    return np.asarray(samples.positions[rng.permutation(rows)]), len(np.unique(rows))
