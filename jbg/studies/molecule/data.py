"""The frames that a molecule's coordinates, and training by example, begin with.

Either replica exchange at the temperatures of the config, or, with ``--data none``, no simulation at all:
conformations that the force field's minimum and Hessian suggest (`simulation.harmonic`).
"""

import dataclasses
import time
from typing import Any

import numpy as np

from jbg.coords import ZMatrix
from jbg.interfaces import ConfigError
from jbg.runs import Run
from jbg.runs.progress import progress
from jbg.simulation.dispersed_starts import TorsionSides, dispersed_starts
from jbg.simulation.harmonic import harmonic_frames
from jbg.simulation.replica_exchange import ExchangeState, acceptance, replica_exchange
from jbg.simulation.replica_exchange_config import ReplicaExchangeConfig, heavy_hydrogen_masses
from jbg.simulation.torsion_rotation import RotatableBond

EXCHANGE, FRAMES, STARTS = "data/exchange.npz", "data/frames.npz", "data/starts.npz"
CHECKPOINT_SECONDS = 60.0

Rotatable = tuple[RotatableBond, ...]


def is_simulated(config: dict[str, Any]) -> bool:
    """Whether the frames are of an equilibrium, so that things can be compared with them."""
    return config["options"].get("data", "simulated") == "simulated"


def is_compiled(config: dict[str, Any]) -> bool:
    """Whether energies are; runs made before there was a choice ask OpenMM."""
    return config["options"].get("energies", "openmm") == "jax"


def exchange_config(config: dict[str, Any]) -> ReplicaExchangeConfig:
    """The replica exchange that a configuration asks for."""
    c = config["simulation"]
    fields = {field.name for field in dataclasses.fields(ReplicaExchangeConfig)}
    known = {name: value for name, value in c.items() if name in fields}
    return ReplicaExchangeConfig(**(known | {"temperatures": tuple(c["temperatures"])}))


def suggest(
    run: Run, molecule: dict[str, np.ndarray], zmatrix: ZMatrix, bonds: Rotatable, potential
) -> None:
    """Writes harmonic frames; none is held out, since there is no ensemble that they are of."""
    found = harmonic_frames(
        potential,
        zmatrix,
        molecule["positions"],
        bonds,
        temperature=run.config["options"]["temperature"],
        n=run.config["simulation"]["n_frames"],
        seed=run.seed_for("harmonic frames"),
    )
    none = np.zeros(len(found.frames), int)
    run.save_arrays(
        FRAMES,
        frames=found.frames.astype(np.float32),
        energies=found.energies,
        ladder=none,
        heldout=none > 0,
        evaluations=found.evaluations,
        round_trips=np.zeros(1, int),
    )


def simulate(
    run: Run,
    molecule: dict[str, np.ndarray],
    bonds: Rotatable,
    torsions: dict[str, TorsionSides],
    *,
    quiet: bool,
) -> None:
    """Writes frames at the target temperature, with the ladder and walker of each and what its ladder is for
    (`roles`). Ladders start on both sides of ``torsions``."""
    settings = exchange_config(run.config)
    if not bonds:
        settings = dataclasses.replace(settings, n_rotations=0)
    with _dynamics(run, molecule) as pool:
        starts = _starts(run, pool, settings, molecule, torsions)
        state = _exchange(run, pool, settings, starts["positions"], bonds, quiet=quiet)
    n_records, n_ladders = state.frames.shape[:2]
    ladder = np.tile(np.arange(n_ladders), n_records)
    heldout, aside = roles(n_ladders, run.config["simulation"])
    run.save_arrays(
        FRAMES,
        frames=state.frames.reshape(-1, *state.frames.shape[2:]),
        energies=state.frame_energies.reshape(-1),
        ladder=ladder,
        heldout=heldout[ladder],
        aside=aside[ladder],
        walker=state.frame_walkers.reshape(-1),
        start_sides=starts["sides"],
        start_torsions=starts["torsions"],
        evaluations=settings.energy_evaluations + starts["evaluations"],
        round_trips=state.round_trips,
    )
    rates = {name: np.round(rate, 3) for name, rate in acceptance(settings, state).items()}
    run.note(replica_exchange={"acceptance": rates, "round_trips": state.round_trips})
    (run.path / EXCHANGE).unlink(missing_ok=True)


def roles(n_ladders: int, simulation: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Which ladders training does not learn from, and which of these are set aside for estimates, ``(n_ladders,)``
    bool each.

    The others of those held out choose the best parameters. Each group is of consecutive ladders, of which every
    other one starts alike. One ladder at least learns, and one watches. Runs made before there were estimates from
    frames set none aside.
    """
    n_watching = max(1, round(n_ladders * simulation["heldout"]))
    n_aside = min(round(n_ladders * simulation.get("aside", 0.0)), n_ladders - 1 - n_watching)
    n_aside = max(0, n_aside)
    n_heldout = n_aside + n_watching
    index = np.arange(n_ladders)
    return index >= n_ladders - n_heldout, index >= n_ladders - n_aside


def _dynamics(run: Run, molecule: dict[str, np.ndarray]):
    """What runs trajectories: one batch on the device, or a thread of OpenMM for every core."""
    from jbg.systems.forcefield.pool import CompiledPool
    from jbg.systems.openmm_pool import ContextPool

    masses = heavy_hydrogen_masses(molecule["masses"], run.config["simulation"]["hydrogen_mass"])
    pool = CompiledPool if is_compiled(run.config) else ContextPool
    return pool(str(molecule["system_xml"]), masses=masses)


def _starts(run: Run, pool, settings, molecule, torsions: dict[str, TorsionSides]):
    """Where each ladder starts, found once and then read back: `DispersedStarts` and the names of torsions."""
    if not (run.path / STARTS).exists():
        found = dispersed_starts(
            pool.energies_and_forces,
            molecule["positions"],
            tuple(torsions.values()),
            n_ladders=settings.n_ladders,
            batch=settings.n_ladders * len(settings.temperatures),
        )
        run.save_arrays(STARTS, torsions=np.array(list(torsions), str), **found._asdict())
    return run.load_arrays(STARTS)


def _exchange(
    run: Run, pool, settings, start: np.ndarray, bonds: Rotatable, *, quiet: bool
) -> ExchangeState:
    state = None
    if (run.path / EXCHANGE).exists():
        arrays = run.load_arrays(EXCHANGE)
        if set(arrays) != set(ExchangeState._fields):
            raise ConfigError(
                f"{run.path / EXCHANGE} is of a simulation that another version of jbg began: delete it to "
                "simulate anew, or choose another --out"
            )
        if arrays["frames"].shape[:2] != (settings.n_records, settings.n_ladders):
            held, asked = arrays["frames"].shape[:2], (settings.n_records, settings.n_ladders)
            raise ConfigError(
                f"{run.path / EXCHANGE} holds {held} records and ladders, where config.json asks for {asked}: "
                "delete it to simulate anew"
            )
        state = ExchangeState(**arrays)._replace(round=int(arrays["round"]))
    last = time.monotonic()

    with progress(run, "simulate", total=settings.total_rounds, quiet=quiet) as bar:

        def on_round(state: ExchangeState) -> None:
            nonlocal last
            rates = acceptance(settings, state)
            bar.update(
                state.round,
                accepted=rates["trajectories"][0],
                swaps=rates["swaps"].mean() if len(rates["swaps"]) else None,
            )
            if time.monotonic() - last >= CHECKPOINT_SECONDS:
                run.save_arrays(EXCHANGE, **state._asdict())
                last = time.monotonic()

        return replica_exchange(
            pool,
            settings,
            start,
            seed=run.seed_for("replica exchange"),
            rotatable=bonds,
            state=state,
            on_round=on_round,
        )
