"""Langevin chains of a molecule into a run folder, block by block, resumed at the last checkpoint.

While it runs, ``frames.npy`` (written in place) and ``checkpoint.npz`` hold what is done.
"""

import time
from collections.abc import Callable

import numpy as np

from jbg.interfaces import ConfigError
from jbg.runs import Run, storage
from jbg.runs.progress import progress
from jbg.simulation.langevin import LangevinChains, langevin

FRAMES, CHECKPOINT = "frames.npy", "checkpoint.npz"
CHECKPOINT_SECONDS = 30.0
TOO_HOT = 100.0  # kinetic temperatures in units of what it should be


def n_blocks(c: dict[str, int]) -> int:
    """Of a simulation's settings. All are of one length, which compiles once; the last may run over the end."""
    return -(-(c["left_out"] + c["frames"]) // c["block"])


def _propagator(run: Run, stored: dict[str, np.ndarray]) -> Callable[..., LangevinChains]:
    """``(number of the block, positions, velocities or None) -> LangevinChains`` of one block."""
    options, c = run.config["options"], run.config["simulation"]
    xml = str(stored["system_xml"])
    settings = {"temperature": options["temperature"], "friction": options["friction"]}
    settings |= {"timestep_ps": options["timestep_fs"] / 1000, "stride": c["stride"]}
    settings |= {"n_steps": c["block"] * c["stride"]}
    if options["energies"] == "openmm":
        from jbg.systems.openmm_langevin import openmm_langevin

        def by_openmm(block: int, x: np.ndarray, v: np.ndarray | None) -> LangevinChains:
            seeds = [run.seed_for(f"langevin {block} {chain}") for chain in range(c["chains"])]
            return LangevinChains(*openmm_langevin(xml, x, velocities=v, seeds=seeds, **settings))

        return by_openmm

    from jbg.systems.forcefield import compiled_potential

    settings |= {"potential": compiled_potential(xml), "masses": stored["masses"]}
    key = run.key("langevin")

    def by_jax(block: int, x: np.ndarray, v: np.ndarray | None) -> LangevinChains:
        return langevin(key, start=x, velocities=v, first_frame=block * c["block"], **settings)

    return by_jax


def run_blocks(
    run: Run, stored: dict[str, np.ndarray], *, quiet: bool
) -> tuple[np.memmap, np.ndarray, np.ndarray]:
    """All chains to their end.

    Args:
        run: its config has "options" (temperature in K, timestep_fs, friction in 1/ps, energies) and "simulation":
            numbers of chains, of steps in a stride, of frames to keep, of frames before them to leave out, and of
            frames in a block.
        stored: ``system_xml``, ``positions`` (atoms, 3) in nm, ``masses`` (atoms,) in dalton.
        quiet: no progress bar.

    Returns:
        Frames ``(chains, frames, 3 * atoms)`` in nm, on disk; energies (kJ/mol) and kinetic temperatures (K),
        ``(chains, frames)``.

    Raises:
        ConfigError: a chain blew up, as with too large a time step.
        RunError: disk full.
    """
    c = run.config["simulation"]
    shape = (c["chains"], c["frames"])
    if (run.path / CHECKPOINT).exists():
        state = run.load_arrays(CHECKPOINT)
        frames = _frames_so_far(run)
    else:
        with storage.disk_errors(run.path / FRAMES):
            frames = storage.new_array(run.path / FRAMES, (*shape, stored["positions"].size))
        start = np.repeat(stored["positions"].reshape(1, -1), c["chains"], axis=0)
        state = {"blocks": 0, "positions": start, "velocities": None}
        state |= {"energies": np.zeros(shape), "temperatures": np.zeros(shape)}
    propagate, saved = _propagator(run, stored), time.monotonic()
    blocks, steps = n_blocks(c), c["block"] * c["stride"]
    with progress(run, "md", total=blocks * steps, quiet=quiet) as bar:
        bar.update(int(state["blocks"]) * steps)
        for block in range(int(state["blocks"]), blocks):
            found = propagate(block, state["positions"], state["velocities"])
            _require_stable(run, found, (block + 1) * steps)
            first = block * c["block"] - c["left_out"]  # of the block's frames, among those kept
            here = slice(max(0, -first), min(c["block"], c["frames"] - first))
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


def _require_stable(run: Run, found: LangevinChains, n_steps: int) -> None:
    options = run.config["options"]
    hot = ~(found.temperatures < TOO_HOT * options["temperature"])  # nan too
    lost = (hot | ~np.isfinite(found.energies)).any(1).sum()
    if lost:
        fs = options["timestep_fs"]
        raise ConfigError(
            f"{lost} of {len(hot)} chains blew up within {n_steps * fs / 1000:g} ps: a time step of {fs:g} fs is "
            "too large: choose a smaller --timestep-fs, and another --out"
        )
