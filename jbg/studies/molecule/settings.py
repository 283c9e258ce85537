"""Sizes of a molecular study by preset and number of atoms: simulation, flow, stages, samples."""

import dataclasses
import math
from typing import Any

from jbg.interfaces import ConfigError
from jbg.simulation.replica_exchange import suggested_config
from jbg.studies.molecule.chains import SETTINGS
from jbg.studies.molecule.recipes import RECIPES, energy_stages
from jbg.training import Stage

TEMPERATURES = (1.0, 10_000.0)  # K; beyond, time steps and force fields mean nothing


def check_temperature(temperature: float) -> None:
    """Raises ConfigError for what is no temperature within TEMPERATURES."""
    if not (math.isfinite(temperature) and temperature > 0):
        raise ConfigError(f"temperature must be a positive number of kelvin, got {temperature}")
    if not TEMPERATURES[0] <= temperature <= TEMPERATURES[1]:
        raise ConfigError(
            f"temperature must lie between {TEMPERATURES[0]:g} and {TEMPERATURES[1]:g} K, got {temperature}"
        )


def check_data(data: str, recipe: str) -> None:
    if data not in ("simulated", "none"):
        raise ConfigError(f"data must be simulated or none, got {data!r}")
    if recipe not in RECIPES:
        raise ConfigError(f"recipe must be one of {', '.join(RECIPES)}, got {recipe!r}")
    if data == "simulated" and recipe != RECIPES[0]:
        raise ConfigError(
            f"recipe {recipe} learns from energies alone: give data none (--data none)"
        )


def config(
    system: str, preset: str, seed: int, options: dict[str, Any], n_atoms: int
) -> dict[str, Any]:
    """The resolved configuration; a function of preset, number of atoms, and whether data are simulated."""
    simulated = options["data"] == "simulated"
    simulation = (
        _simulation(preset, n_atoms, options["temperature"])
        if simulated
        # harmonic frames for the coordinates alone, chains to check the flow
        else {"n_frames": 4000, "atoms": n_atoms, "chains": SETTINGS}
    )
    if simulated:
        stages = _stages(preset, n_atoms)
    else:
        stages = energy_stages(options["recipe"], quick=preset == "quick")
    return {
        "system": system,
        "preset": preset,
        "seed": seed,
        "options": options,
        "simulation": simulation,
        # no data show a flow that learns alone where it has become too steep
        "flow": _flow(floor=1e-3 if simulated else 0.05),
        "stages": [dataclasses.asdict(stage) for stage in stages],
        "sampling": {"n": _n_samples(preset, n_atoms), "batch": 2000},
    }


def _simulation(preset: str, n_atoms: int, temperature: float) -> dict[str, Any]:
    rounds, ladders = {"quick": (3000, 32), "full": (10000, 32)}[preset]
    if n_atoms > 30:  # an evaluation costs about n^1.7, and more temperatures are needed
        ladders = 16 if preset == "quick" else 32
        # rarer states need their 300 frames among those set aside
        rounds = max(300, round(rounds * (22 / n_atoms) ** (1 if preset == "quick" else 2)))
    settings = suggested_config(
        n_atoms,
        temperature=temperature,
        n_ladders=ladders,
        n_rounds=rounds,
        n_burn_in=max(100, rounds // 10),
    )
    # half of the ladders are set aside for estimates: as many as training learns from and is watched by
    shares = {"heldout": 2 / ladders, "aside": 1 / 2}
    return dataclasses.asdict(settings) | shares | {"hydrogen_mass": 6.0, "atoms": n_atoms}


def _flow(floor: float) -> dict[str, Any]:
    return {
        "floor": floor,
        "n_blocks": 4,
        "n_circular_blocks": 3,
        "hidden": [128, 128],
        "n_bins": 8,
        "bound": 5.0,
        "seed": 0,
        "unroll": 2,
    }


def _n_samples(preset: str, n_atoms: int) -> int:
    """So many that one sample of some hundred times the mean weight seldom holds a tenth of a state of 2 %."""
    if preset == "full":
        return 1_000_000
    return 300_000 if n_atoms <= 30 else 100_000


def _steps(n: int, n_atoms: int) -> int:
    """Larger molecules take fewer steps of the same kind, to end in the same time."""
    shrink = min(1.0, (22 / n_atoms) ** 1.2)
    return max(100, round(n * shrink / 100) * 100)


def _stages(preset: str, n_atoms: int) -> tuple[Stage, ...]:
    """By example with the energies of the examples; then on own samples, which cost most of a training.

    Quick runs of small molecules do without these: they raise the ESS fraction of alanine dipeptide from about 0.5
    to 0.7 for ten times the time, which a few more draws buy as well.
    """
    by_example = Stage(
        name="by-example",
        steps=_steps(300 if preset == "quick" else 600, n_atoms),
        batch_size=512,
        learning_rate=1e-3,
        w_nll=1.0,
        w_log_dispersion=10.0,
        ema=0.98,
        log_every=20,
        eval_every=100,
        keep_best=True,
    )
    if preset == "quick" and n_atoms <= 30:
        return (by_example,)
    return by_example, own_samples_stage(preset, n_atoms)


def own_samples_stage(preset: str, n_atoms: int) -> Stage:
    """Own samples with their energies, beside a little likelihood."""
    quick = preset == "quick"
    return Stage(
        name="by-example-and-energy",
        steps=_steps(3400 if quick else 50_000, n_atoms),
        batch_size=512,
        data_batch=128,
        learning_rate=1e-3,
        warmup=50,
        w_nll=0.1 if quick else 0.03,
        w_forward_kl=1.0,
        w_log_variance=0.3,
        flatten=0.5,
        clip_norm=5.0,
        e_high=50.0,
        ema=0.998 if quick else 0.999,
        log_every=20 if quick else 50,
        eval_every=(500 if _steps(3400, n_atoms) >= 500 else 100) if quick else 1000,
    )


def rough_minutes(config: dict[str, Any]) -> float:
    """Order of magnitude, from figures measured on alanine dipeptide with a core or two, without compilation."""
    c, calls = config["simulation"], 0
    if "n_ladders" in c:
        replicas = c["n_ladders"] * len(c["temperatures"])
        calls = replicas * (c["n_rounds"] + c["n_burn_in"]) * (c["n_steps"] + c["n_rotations"])
    ratio = c.get("atoms", 22) / 22
    samples = sum(stage["steps"] * stage["batch_size"] for stage in config["stages"])
    seconds = ratio**1.65 * calls / 60_000  # energies, with forces
    seconds += ratio**1.2 * (samples / 5_700 + config["sampling"]["n"] / 20_000)  # mostly the flow
    return round(seconds / 60, 1)
