"""Replica exchange of both states of a bridge: frames at the lowest temperature, and populations of the states."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jbg.interfaces import ConfigError, State
from jbg.runs import storage
from jbg.runs.trajectory import save_trajectory
from jbg.simulation.replica_exchange import replica_exchange
from jbg.simulation.replica_exchange_config import (
    ReplicaExchangeConfig,
    heavy_hydrogen_masses,
    suggested_config,
)
from jbg.simulation.torsion_rotation import rotatable_bonds
from jbg.systems.forcefield.pool import CompiledPool
from jbg.systems.molecule import Molecule
from jbg.units import beta

HOTTEST = 1200.0  # K
LADDERS = 8


def hot_ladder(n_atoms: int, lowest: float, rounds: int) -> ReplicaExchangeConfig:
    """Ladders to where rings and bridges turn over; a tenth of the rounds more come first."""
    ladder = suggested_config(n_atoms, temperature=lowest)
    n = 1 + round((len(ladder.temperatures) - 1) * np.log(HOTTEST / lowest) / np.log(5 / 3))
    return replace(
        ladder,
        temperatures=tuple(float(t) for t in np.geomspace(lowest, HOTTEST, n)),
        n_ladders=LADDERS,
        n_rounds=rounds,
        n_burn_in=max(10, rounds // 10),
    )


def exchanged(
    molecule: Molecule, starts: np.ndarray, config: ReplicaExchangeConfig, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames ``(ladders, rounds, 3 atoms)`` at the lowest temperature, energies in kJ/mol, and round trips.

    Args:
        molecule: of both states.
        starts: positions ``(ladders, atoms, 3)``.
        config: of the ladders.
        seed: of all random numbers.
    """
    with CompiledPool(molecule.system_xml, masses=heavy_hydrogen_masses(molecule.masses)) as pool:
        found = replica_exchange(
            pool, config, starts, seed=seed, rotatable=rotatable_bonds(molecule.topology)
        )
    x = np.swapaxes(found.frames, 0, 1)
    return x.reshape(*x.shape[:2], -1), found.frame_energies.T, found.round_trips


def frames_of(
    molecule: Molecule,
    state: State,
    *,
    lowest: float,
    rounds: int,
    chains: int,
    n_back: int,
    seed: int,
    out: Path,
) -> tuple[Path, np.ndarray, int]:
    """Frames of a state by replica exchange from it: a file of those that dynamics start from, later ones to be
    annealed back ``(ladders, n, dim)``, and the cost.

    A state has several forms of its ring, which ladders to 500 K do not connect: particles of plus, in the
    peptide, found a ln Z 8 above that of such frames. What crosses to the other state is left out, and so is a
    ladder that has nothing left.

    Args:
        molecule: in the state.
        state: the state.
        lowest: K, of the frames.
        rounds: of the ladders.
        chains: frames to start from, at most.
        n_back: frames to be annealed back, at most.
        seed: of all random numbers.
        out: where frames are kept.

    Raises:
        ConfigError: too few frames in the state.
    """
    file, kept = out / "starts.dcd", out / "frames.npz"
    config = hot_ladder(molecule.topology.n_atoms, lowest, rounds)
    if not kept.exists():
        x, _, _ = exchanged(molecule, np.stack([molecule.positions] * LADDERS), config, seed)
        inside = np.stack([np.asarray(state.contains(each.T)) for each in x])
        early, late = (slice(int(a * rounds), int(b * rounds)) for a, b in ((0.2, 0.6), (0.6, 1)))
        # ladders in turn: chains of every role start from all of them
        starts = np.swapaxes(x[:, early], 0, 1)[np.swapaxes(inside[:, early], 0, 1)]
        ladders = [each[good] for each, good in zip(x[:, late], inside[:, late], strict=True)]
        ladders = [each for each in ladders if len(each)]
        if len(starts) < LADDERS or len(ladders) < 2:
            raise ConfigError(f"state {state.name}: chains do not stay in it: {state.definition}")
        n = min(*map(len, ladders), max(1, n_back // len(ladders)))
        (out / "start.pdb").write_text(molecule.pdb)
        rows = np.linspace(0, len(starts) - 1, min(chains, len(starts))).astype(int)
        save_trajectory(file, starts[rows], out / "start.pdb")
        back = [each[np.linspace(0, len(each) - 1, n).astype(int)] for each in ladders]
        storage.write_arrays(kept, {"back": np.stack(back)})
    return file, storage.read_arrays(kept, "delete it")["back"], config.energy_evaluations


def populations(
    molecules: list[Molecule],
    states: tuple[State, State],
    *,
    lowest: float,
    rounds: int,
    seed: int,
    kelvins: tuple[float, ...],
    out: Path,
) -> dict[str, Any]:
    """F, U and T S of the second state less the first in kT by populations, errors by the jackknife over ladders.

    Half of the ladders start in each state. Other temperatures than the lowest are by reweighting the frames.

    Args:
        molecules: one in each state.
        states: both, which are all of space.
        lowest: K, of the frames.
        rounds: of the ladders.
        seed: of all random numbers.
        kelvins: K, of the differences.
        out: where frames' energies and states are kept.
    """
    n_ladders, kept = LADDERS, out / "reference.npz"
    config = hot_ladder(molecules[0].topology.n_atoms, lowest, rounds)
    if not kept.exists():
        starts = np.stack([molecules[i % 2].positions for i in range(n_ladders)])
        x, energy, trips = exchanged(molecules[0], starts, config, seed)
        plus = np.stack([np.asarray(states[1].contains(each.T)) for each in x])
        storage.write_arrays(kept, {"plus": plus, "energy": energy, "trips": trips})
    found = storage.read_arrays(kept, "delete it")
    plus, u = found["plus"].astype(bool), found["energy"] * beta(lowest)
    rows, seen = [], plus.mean(1)
    alone = [seen[np.arange(LADDERS) != i] for i in range(LADDERS)]
    if any(not 0 < share.mean() < 1 for share in alone):
        kelvins = ()  # all but one ladder know one state alone
    for kelvin in kelvins:
        w = np.exp(-(lowest / kelvin - 1) * (u - u.mean()))
        parts = lambda keep, w=w, kelvin=kelvin: _of_frames(
            w[keep], u[keep] * lowest / kelvin, plus[keep]
        )
        whole = parts(np.ones(n_ladders, bool))
        left = np.array([parts(np.arange(n_ladders) != i) for i in range(n_ladders)])
        error = np.sqrt((n_ladders - 1) / n_ladders * ((left - left.mean(0)) ** 2).sum(0))
        names = ("value", "energy", "entropy")
        rows.append(
            {"kelvin": kelvin}
            | dict(zip(names, map(float, whole), strict=True))
            | {f"{name}_stderr": float(e) for name, e in zip(names, error, strict=True)}
        )
    crossed = int((np.diff(plus.astype(int), axis=1) != 0).sum())
    return {
        "rows": rows,
        "share_of_plus": seen.tolist(),
        "changes_of_state": crossed,
        "round_trips": found["trips"].tolist(),
        "energies": config.energy_evaluations,
    }


def _of_frames(w: np.ndarray, u: np.ndarray, plus: np.ndarray) -> tuple[float, float, float]:
    """F, U and T S of frames that are ``plus`` less those of the others, with weights."""
    f = np.log(w[~plus].sum()) - np.log(w[plus].sum())
    difference = np.average(u[plus], weights=w[plus]) - np.average(u[~plus], weights=w[~plus])
    return f, difference, difference - f
