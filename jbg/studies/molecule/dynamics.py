"""Langevin dynamics of one molecule as a run folder: settings, cost, and what is written at the end.

``trajectory.*`` has the frames of one chain after the other, ``data/molecule.pdb`` is its topology.
``energies.npz`` has their energies (kJ/mol) and kinetic temperatures (K), ``(chains, frames)``, and the times (ps)
of a chain's frames. ``results.json`` has the averages.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from jbg.analysis.chain_averages import ChainAverages, apart_by_chance, chain_averages
from jbg.interfaces import ConfigError
from jbg.runs import Run, check_seed, storage
from jbg.runs.trajectory import save_trajectory
from jbg.studies.molecule import molecule
from jbg.studies.molecule import settings as molecule_settings
from jbg.studies.molecule import source as molecule_source
from jbg.studies.molecule import stored as stored_molecule
from jbg.studies.molecule.langevin_blocks import CHECKPOINT, FRAMES, n_blocks, run_blocks

RESULTS, ENERGIES = "results.json", "energies.npz"
BLOCK_SECONDS = 5.0  # about, on one core: chains are looked at and saved between blocks
STEPS_PER_SECOND = {"jax": 70_000, "openmm": 30_000}  # of 22 atoms on one core, all chains together
FALSE_ALARMS = 0.005  # of runs in equilibrium, for the drift and for the temperature each
ESTIMATOR = (
    "average of what each chain gives by itself; errors are the standard deviation between chains over the "
    "square root of their number (of the variance, the jackknife over chains). All chains start in one minimum "
    "of the energy: basins that none of them entered are in no average, and in no error"
)


def make_config(
    *,
    pdb: str | Path | None = None,
    sequence: str | None = None,
    forcefield=None,
    temperature: float = 300.0,
    chains: int = 64,
    ns: float = 0.1,
    equilibrate_ps: float = 10.0,
    timestep_fs: float = 1.0,
    friction: float = 1.0,
    stride_ps: float = 0.1,
    energies: str = "jax",
    format: str = "dcd",
    seed: int = 0,
) -> dict[str, Any]:
    """The resolved configuration, plain JSON values; builds the molecule once, to refuse early.

    Args:
        pdb, sequence: one of the two. forcefield: OpenMM files. temperature: K. chains: how many.
        ns: of each chain, in frames ``stride_ps`` apart. equilibrate_ps: before it, left out.
        timestep_fs, friction: of the integrator, fs and 1/ps. energies: "jax" or "openmm".
        format: suffix of the trajectory, without the dot.

    Raises:
        ConfigError: settings that cannot be run, or a molecule that cannot be built or compiled.
    """
    check_seed(seed)
    molecule_settings.check_temperature(temperature)
    positive = {"timestep-fs": timestep_fs, "friction": friction, "stride-ps": stride_ps, "ns": ns}
    for name, value in positive.items():
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{name} must be a positive number, got {value}")
    if chains < 1:
        raise ConfigError(f"chains must be at least 1, got {chains}")
    stride = _whole("stride-ps", 1000 * stride_ps, "timestep-fs", timestep_fs, at_least=1)
    n_frames = _whole("ns", 1000 * ns, "stride-ps", stride_ps, at_least=1)
    n_left_out = _whole("equilibrate-ps", equilibrate_ps, "stride-ps", stride_ps, at_least=0)
    options, built = molecule_source.source(pdb, sequence, forcefield)
    molecule_source.check_force_field(energies, built)
    options |= {"temperature": float(temperature), "energies": energies, "format": format}
    options |= {"timestep_fs": float(timestep_fs), "friction": float(friction)}
    frames_per_second = _steps_per_second(energies, built.topology.n_atoms) / (chains * stride)
    total = n_left_out + n_frames
    blocks = math.ceil(total / max(1, round(BLOCK_SECONDS * frames_per_second)))
    block = math.ceil(total / blocks)
    simulation = {"chains": chains, "stride": stride, "frames": n_frames, "left_out": n_left_out}
    return {
        "system": "md",
        "seed": seed,
        "options": options,
        "simulation": simulation | {"block": block, "atoms": built.topology.n_atoms},
    }


def describe(config: dict[str, Any], run: Run | None = None) -> list[tuple[str, str]]:
    """(what, which): the molecule, as it is said before a run, or before it goes on in ``run``."""
    return molecule.describe(config, run)


def cost(config: dict[str, Any]) -> dict[str, Any]:
    """What the run will spend: energy evaluations, rough minutes on one core, MB of trajectory."""
    c = config["simulation"]
    rate = _steps_per_second(config["options"]["energies"], c["atoms"])
    evaluations = energy_evaluations(config)
    return {
        "atoms": c["atoms"],
        "frames": c["chains"] * c["frames"],
        "energy_evaluations": evaluations,
        "rough_minutes_on_one_core": evaluations / rate / 60,
        "megabytes": 12e-6 * c["chains"] * c["frames"] * c["atoms"],
        **{f"megabytes_of_{what}": 1e-6 * needed for what, needed in needs(config).items()},
    }


def needs(config: dict[str, Any]) -> dict[str, float]:
    """Bytes of "disk" while it runs (frames, then the trajectory beside them) and of "memory", about."""
    c = config["simulation"]
    frames = c["chains"] * c["frames"]
    block = 12 * c["chains"] * c["block"] * c["atoms"]
    return {
        "disk": 2 * 12 * frames * c["atoms"] + 2 * 16 * frames,
        "memory": 2 * block + 5 * 24 * c["chains"] * c["atoms"] + 2 * 16 * frames,
    }


def energy_evaluations(config: dict[str, Any]) -> int:
    """Single-configuration energies of the whole run, with forces or without."""
    c = config["simulation"]
    frames = n_blocks(c) * c["block"]
    # beside the steps: compiled, two at the beginning of a block; in OpenMM, one for each frame
    others = 2 * n_blocks(c) if config["options"]["energies"] == "jax" else frames
    return c["chains"] * (frames * c["stride"] + others)


def simulate(run: Run, *, quiet: bool = False) -> None:
    """Runs all chains to their end, from the last checkpoint if there is one, and writes the results.

    Raises:
        ConfigError: a chain blew up, as with too large a time step.
    """
    if not run.stage_done("md"):
        smaller, needed = (
            "choose fewer --chains, a shorter --ns or a longer --stride-ps",
            needs(run.config),
        )
        storage.require_memory("jbg md", needed["memory"], smaller)
        if not (run.path / CHECKPOINT).exists():  # else they are claimed already
            storage.require_space(run.path, needed["disk"], smaller)
        with run.stage("md"):
            stored = stored_molecule.stored_molecule(run, molecule_source.build)
            frames, energies, temperatures = run_blocks(run, stored, quiet=quiet)
            options, c = run.config["options"], run.config["simulation"]
            times = options["timestep_fs"] / 1000 * c["stride"] * np.arange(1, c["frames"] + 1)
            run.save_arrays(ENERGIES, energy=energies, temperature=temperatures, time=times)
            save_trajectory(
                run.path / f"trajectory.{options['format']}",
                frames.reshape(-1, 3 * c["atoms"]),
                run.path / stored_molecule.PDB,
                times=np.tile(times, c["chains"]),
            )
            results = _results(run.config, energies, temperatures)
        results |= {"molecule": stored_molecule.description(run), "speed": _speed(run)}
        run.write_json(RESULTS, results)
        run.mark_done("md")
    for name in (FRAMES, CHECKPOINT):
        if (run.path / name).exists():
            run.remove(name)


def _whole(name: str, value: float, of: str, unit: float, *, at_least: int) -> int:
    """``value / unit``, which has to be a whole number; both in the same unit of time."""
    n = round(value / unit) if math.isfinite(value) else -1
    if n < at_least or abs(value / unit - n) > 1e-6 * max(1, n):
        raise ConfigError(
            f"{name} must be a whole number of times {of}, at least {at_least}, got {value / unit:g} times"
        )
    return n


def _steps_per_second(energies: str, n_atoms: int) -> float:
    return STEPS_PER_SECOND[energies] * (22 / n_atoms) ** 1.65


def _results(config: dict[str, Any], energies, temperatures) -> dict[str, Any]:
    options, c = config["options"], config["simulation"]
    energy, kelvin = chain_averages(energies), chain_averages(temperatures)
    return {
        "temperature": options["temperature"],
        **{name: c[name] for name in ("atoms", "chains", "frames")},
        "ns_of_each_chain": 1e-6 * options["timestep_fs"] * c["stride"] * c["frames"],
        "units": {"energy": "kJ/mol", "variance": "(kJ/mol)^2", "temperature": "K"},
        "potential_energy": energy._asdict(),
        "kinetic_temperature": {"mean": kelvin.mean, "mean_stderr": kelvin.mean_stderr},
        "estimator": ESTIMATOR,
        "energy_evaluations": energy_evaluations(config),
        "warnings": _warnings(config, energy, kelvin),
    }


def _warnings(config: dict[str, Any], energy: ChainAverages, kelvin: ChainAverages) -> list[str]:
    warnings = []
    if not math.isfinite(energy.mean_stderr):
        warnings.append("one chain tells no errors, nor whether it drifts: run more (--chains)")
    n = config["simulation"]["chains"]
    if not apart_by_chance(energy.drift, energy.drift_stderr, n, FALSE_ALARMS):
        warnings.append(
            "the potential energy still drifts: its second half is "
            f"{energy.drift:+.3g} +- {energy.drift_stderr:.2g} kJ/mol from the first; equilibrate longer"
        )
    off = kelvin.mean - config["options"]["temperature"]
    by_chance = apart_by_chance(off, kelvin.mean_stderr, n, FALSE_ALARMS)
    if not by_chance and abs(off) > 0.01 * config["options"]["temperature"]:
        warnings.append(
            f"the kinetic temperature is {off:+.3g} K off; choose a smaller time step, or equilibrate longer"
        )
    return warnings


def _speed(run: Run) -> dict[str, float]:
    """All that was simulated, what is left out too, over all wall time, compilation too."""
    c, seconds = run.config["simulation"], run.wall_seconds("md")
    steps = c["chains"] * n_blocks(c) * c["block"] * c["stride"]
    ns = 1e-6 * steps * run.config["options"]["timestep_fs"]
    return {
        "wall_seconds": seconds,
        "chain_steps_per_second": steps / seconds,
        "ns_per_day_all_chains": 86400 * ns / seconds,
        "ns_per_day_one_chain": 86400 * ns / seconds / c["chains"],
    }
