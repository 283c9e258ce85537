"""Langevin dynamics of one molecule as a run folder: settings, cost, and what is written at the end.

``trajectory.*`` has the frames of one chain after the other, ``data/molecule.pdb`` is its topology.
``energies.npz`` has their energies (kJ/mol) and kinetic temperatures (K), ``(chains, frames)``, and the times (ps)
of a chain's frames. ``results.json`` has the averages.
"""

import math
import os
from typing import Any

import numpy as np

from jbg.analysis.chain_averages import ChainAverages, apart_by_chance, chain_averages
from jbg.runs import Run, check_seed, storage
from jbg.runs import open_run as open_folder
from jbg.runs.trajectory import save_trajectory
from jbg.studies import codec
from jbg.studies.molecule import stored
from jbg.studies.molecule.build import build_checked, files_digest
from jbg.studies.molecule.dynamics_plan import NAME, MdOptions, MdPlan
from jbg.studies.molecule.dynamics_starts import starts_digest
from jbg.studies.molecule.energies import ENERGIES
from jbg.studies.molecule.files import PDB
from jbg.studies.molecule.langevin_blocks import CHECKPOINT, FRAMES, run_blocks

RESULTS, ENERGIES_FILE = "results.json", "energies.npz"
BLOCK_SECONDS = 5.0  # about, on one core: chains are looked at and saved between blocks
FALSE_ALARMS = 0.005  # of runs in equilibrium, for the drift and for the temperature each
ESTIMATOR = (
    "average over the chains; errors are the standard deviation between chains divided by the square root of "
    "their number (for the variance, the jackknife over chains). Chains start {where}: averages and errors do not "
    "include basins that no chain entered"
)


def make_plan(*, seed: int = 0, **options: Any) -> MdPlan:
    """Every number of the run; builds the molecule once, to refuse early.

    Args:
        seed: root of all random numbers.
        options: fields of `MdOptions`; the others keep their defaults.

    Raises:
        ConfigError: invalid options, or a molecule that cannot be built or compiled.
    """
    check_seed(seed)
    chosen = MdOptions(**options)
    atoms = build_checked(chosen).topology.n_atoms
    return langevin_plan(chosen, seed=seed, atoms=atoms, sha256=files_digest(chosen))


def _where(options: MdOptions) -> str:
    if options.starts is None:
        return "all in one minimum of the energy"
    return f"in turn from frames of {options.starts.name}, minimised"


def langevin_plan(options: MdOptions, *, seed: int, atoms: int, sha256: str | None) -> MdPlan:
    """Every number of the dynamics of a molecule.

    Args:
        options: choices of the user.
        seed: root of all random numbers.
        atoms: of the molecule.
        sha256: of its PDB file; None for a sequence.
    """
    per_second = _steps_per_second(options.energies, atoms) / (options.chains * options.stride)
    total = options.n_left_out + options.n_frames
    blocks = math.ceil(total / max(1, round(BLOCK_SECONDS * per_second)))
    return MdPlan(
        study=NAME,
        seed=seed,
        options=options,
        block=math.ceil(total / blocks),
        atoms=atoms,
        sha256=sha256,
        starts_sha256=starts_digest(options),
    )


def open_run(path: str | os.PathLike, plan: MdPlan) -> Run:
    """The run folder of a plan, made, or opened to resume what is there.

    Raises:
        ConfigError: the folder holds another plan, something that is not a run, or damaged JSON.
        RunError: disk full.
    """
    return open_folder(path, codec.encode(plan))


def plan_of(run: Run) -> MdPlan:
    """The plan that a run folder holds.

    Raises:
        ConfigError: it is of another study, was edited, or was written by another version of jbg.
    """
    return codec.decode(MdPlan, run.config, str(run.path / "config.json"))


def describe(plan: MdPlan, run: Run | None = None) -> list[tuple[str, str]]:
    """(what, which): the molecule, as it is said before a run, or before ``run`` is resumed."""
    return stored.describe(plan.options, run)


def cost(plan: MdPlan) -> dict[str, float]:
    """The cost of the run: energy evaluations, rough minutes on one core, MB of trajectory."""
    n_frames = plan.options.chains * plan.options.n_frames
    spent = energy_evaluations(plan)
    return {
        "atoms": plan.atoms,
        "frames": n_frames,
        "energy_evaluations": spent,
        "rough_minutes_on_one_core": spent
        / _steps_per_second(plan.options.energies, plan.atoms)
        / 60,
        "megabytes": 12e-6 * n_frames * plan.atoms,
        **{f"megabytes_of_{what}": 1e-6 * needed for what, needed in needs(plan).items()},
    }


def needs(plan: MdPlan) -> dict[str, float]:
    """Bytes of "disk" while it runs (frames, then the trajectory beside them) and of "memory", about."""
    n_chains, atoms = plan.options.chains, plan.atoms
    frames = n_chains * plan.options.n_frames
    block = 12 * n_chains * plan.block * atoms
    return {
        "disk": 2 * 12 * frames * atoms + 2 * 16 * frames,
        "memory": 2 * block + 5 * 24 * n_chains * atoms + 2 * 16 * frames,
    }


def energy_evaluations(plan: MdPlan) -> int:
    """Single-configuration energies of the whole run, with forces or without."""
    options = plan.options
    steps = plan.n_blocks * plan.block * options.stride
    return options.chains * (steps + ENERGIES[options.energies].langevin_evaluations(plan))


def simulate(run: Run, *, quiet: bool = False) -> None:
    """Run all chains to their end, resuming at the last checkpoint if there is one, and write the results.

    Raises:
        ConfigError: a chain blew up, as with too large a time step.
    """
    if not run.stage_done("md"):
        plan = plan_of(run)
        needed, smaller = (
            needs(plan),
            "choose fewer --chains, a shorter --ns or a longer --stride-ps",
        )
        storage.require_memory("jbg md", needed["memory"], smaller)
        if not (run.path / CHECKPOINT).exists():  # else they are claimed already
            storage.require_space(run.path, needed["disk"], smaller)
        with run.stage("md"):
            results = _simulate(run, plan, quiet=quiet)
        run.write_json(RESULTS, results | {"speed": _speed(run, plan)})
        run.mark_done("md")
    for name in (FRAMES, CHECKPOINT):
        if (run.path / name).exists():
            run.remove(name)


def _simulate(run: Run, plan: MdPlan, *, quiet: bool) -> dict[str, Any]:
    options = plan.options
    molecule = stored.store_molecule(run, options)
    frames, energies, temperatures = run_blocks(run, plan, molecule, quiet=quiet)
    times = options.timestep_fs / 1000 * options.stride * np.arange(1, options.n_frames + 1)
    run.save_arrays(ENERGIES_FILE, energy=energies, temperature=temperatures, time=times)
    save_trajectory(
        run.path / f"trajectory.{options.format}",
        frames.reshape(-1, 3 * plan.atoms),
        run.path / PDB,
        times=np.tile(times, options.chains),
    )
    return _results(plan, energies, temperatures) | {"molecule": molecule.description}


def _steps_per_second(energies: str, n_atoms: int) -> float:
    return ENERGIES[energies].steps_per_second * (22 / n_atoms) ** 1.65


def _results(plan: MdPlan, energies: np.ndarray, temperatures: np.ndarray) -> dict[str, Any]:
    options = plan.options
    energy, kelvin = chain_averages(energies), chain_averages(temperatures)
    return {
        "temperature": options.temperature,
        "atoms": plan.atoms,
        "chains": options.chains,
        "frames": options.n_frames,
        "ns_of_each_chain": 1e-6 * options.timestep_fs * options.stride * options.n_frames,
        "units": {"energy": "kJ/mol", "variance": "(kJ/mol)^2", "temperature": "K"},
        "potential_energy": energy._asdict(),
        "kinetic_temperature": {"mean": kelvin.mean, "mean_stderr": kelvin.mean_stderr},
        "estimator": ESTIMATOR.format(where=_where(options)),
        "energy_evaluations": energy_evaluations(plan),
        "warnings": _warnings(options, energy, kelvin),
    }


def _warnings(options: MdOptions, energy: ChainAverages, kelvin: ChainAverages) -> list[str]:
    warnings = []
    if not math.isfinite(energy.mean_stderr):
        warnings.append("one chain tells no errors, nor whether it drifts: run more (--chains)")
    n = options.chains
    if not apart_by_chance(energy.drift, energy.drift_stderr, n, FALSE_ALARMS):
        warnings.append(
            "the potential energy still drifts: its second half is "
            f"{energy.drift:+.3g} +- {energy.drift_stderr:.2g} kJ/mol from the first; equilibrate longer"
        )
    off = kelvin.mean - options.temperature
    by_chance = apart_by_chance(off, kelvin.mean_stderr, n, FALSE_ALARMS)
    if not by_chance and abs(off) > 0.01 * options.temperature:
        warnings.append(
            f"the kinetic temperature is {off:+.3g} K off; choose a smaller time step, or equilibrate longer"
        )
    return warnings


def _speed(run: Run, plan: MdPlan) -> dict[str, float]:
    """All simulated steps, discarded ones included, over all wall time, compilation included."""
    options, seconds = plan.options, run.wall_seconds("md") or math.nan
    steps = options.chains * plan.n_blocks * plan.block * options.stride
    ns = 1e-6 * steps * options.timestep_fs
    return {
        "wall_seconds": seconds,
        "chain_steps_per_second": steps / seconds,
        "ns_per_day_all_chains": 86400 * ns / seconds,
        "ns_per_day_one_chain": 86400 * ns / seconds / options.chains,
    }
