"""Langevin chains of a molecule in a run folder, block by block, resumed at the last checkpoint.

During the run, ``frames.npy`` (written in place) and ``checkpoint.npz`` hold the progress.
"""

import time

import numpy as np

from jbg.interfaces import ConfigError
from jbg.runs import Run, storage
from jbg.runs.progress import progress
from jbg.simulation.langevin import LangevinChains
from jbg.simulation.replica_exchange_config import heavy_hydrogen_masses
from jbg.studies.molecule.dynamics_plan import MdOptions, MdPlan
from jbg.studies.molecule.dynamics_starts import start_positions
from jbg.studies.molecule.energies import ENERGIES
from jbg.studies.molecule.stored import StoredMolecule

FRAMES, CHECKPOINT = "frames.npy", "checkpoint.npz"
CHECKPOINT_SECONDS = 30.0
TOO_HOT = 100.0  # kinetic temperature over the target temperature


def run_blocks(
    run: Run, plan: MdPlan, molecule: StoredMolecule, *, quiet: bool
) -> tuple[np.memmap, np.ndarray, np.ndarray]:
    """Run all chains to their end.

    Args:
        run: where frames and checkpoint go.
        plan: chains, frames of each, and frames in a block.
        molecule: its force field, and where chains start that have no `MdOptions.starts`.
        quiet: no progress bar.

    Returns:
        Frames ``(chains, frames, 3 * atoms)`` in nm, on disk; energies (kJ/mol) and kinetic temperatures (K),
        ``(chains, frames)``.

    Raises:
        ConfigError: a chain blew up, as with too large a time step, or starts that do not fit the molecule.
        RunError: disk full.
    """
    options = plan.options
    shape = (options.chains, options.n_frames)
    if (run.path / CHECKPOINT).exists():
        state = run.load_arrays(CHECKPOINT)
        frames = _frames_so_far(run)
    else:
        with storage.disk_errors(run.path / FRAMES):
            frames = storage.new_array(run.path / FRAMES, (*shape, molecule.positions.size))
        start = start_positions(run, options, molecule)
        state = {"blocks": 0, "positions": start, "velocities": None}
        state |= {"energies": np.zeros(shape), "temperatures": np.zeros(shape)}
    energies = ENERGIES[options.energies]
    masses = molecule.masses
    if options.hydrogen_mass:
        masses = heavy_hydrogen_masses(masses, options.hydrogen_mass)
    propagate = energies.langevin(run, plan, molecule.system_xml, masses)
    blocks, steps, saved = plan.n_blocks, plan.block * options.stride, time.monotonic()
    with progress(run, "md", total=blocks * steps, quiet=quiet) as bar:
        bar.resume(int(state["blocks"]) * steps)
        for block in range(int(state["blocks"]), blocks):
            found = propagate(block, state["positions"], state["velocities"])
            _require_stable(options, found, (block + 1) * steps)
            # where the block's frames are among those kept
            first = block * plan.block - options.n_left_out
            here = slice(max(0, -first), min(plan.block, options.n_frames - first))
            there = slice(first + here.start, first + here.stop)
            if here.start < here.stop:
                frames[:, there] = found.positions[:, here]
                state["energies"][:, there] = found.energies[:, here]
                state["temperatures"][:, there] = found.temperatures[:, here]
            state |= {"blocks": block + 1, "positions": found.positions[:, -1]}
            state |= {"velocities": found.velocities}
            means = {"energy": found.energies.mean(), "kelvin": found.temperatures.mean()}
            bar.update((block + 1) * steps, **means)
            if time.monotonic() - saved >= CHECKPOINT_SECONDS or block + 1 == blocks:
                frames.flush()
                run.save_arrays(CHECKPOINT, **state)
                run.touch()
                saved = time.monotonic()
    return frames, state["energies"], state["temperatures"]


def _frames_so_far(run: Run) -> np.memmap:
    try:
        return np.load(run.path / FRAMES, mmap_mode="r+")
    except (OSError, *storage.BROKEN) as error:
        raise ConfigError(
            f"{run.path / FRAMES}: missing or damaged ({error}): choose another --out"
        ) from error


def _require_stable(options: MdOptions, found: LangevinChains, n_steps: int) -> None:
    hot = ~(found.temperatures < TOO_HOT * options.temperature)  # nan too
    lost = (hot | ~np.isfinite(found.energies)).any(1).sum()
    if lost:
        fs = options.timestep_fs
        raise ConfigError(
            f"{lost} of {len(hot)} chains blew up within {n_steps * fs / 1000:g} ps: a time step of {fs:g} fs is "
            "too large: choose a smaller --timestep-fs, and another --out"
        )
