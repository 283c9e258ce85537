"""Replica exchange of both states of a bridge: frames at the lowest temperature, and populations of the states."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jbg.interfaces import State
from jbg.runs import storage
from jbg.runs.progress import progress
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

HOTTEST = {"open": 600.0, "ring": 1200.0}  # K: a bridge turns; and a ring changes its form
LADDERS = 8


class Frames(NamedTuple):
    """Frames of a state at the lowest temperature, by ladder, and what they cost.

    learn, u: earlier ones ``(ladders, n, dim)`` in nm with reduced energies ``(ladders, n)``. back: later ones,
    thinned, ``(ladders, m, dim)``, which no training sees.
    """

    learn: np.ndarray
    u: np.ndarray
    back: np.ndarray
    evaluations: int


class Confined:
    """A pool (`replica_exchange`) with infinite energies outside of a state: its ensemble is the state's, exactly.

    Forces are those of the molecule; only where a move ends decides.
    """

    def __init__(self, pool: CompiledPool, state: State):
        self._pool, self._state, self.masses = pool, state, pool.masses

    def _inside(self, x: np.ndarray, energy: np.ndarray) -> np.ndarray:
        return np.where(np.asarray(self._state.contains(x.reshape(len(x), -1).T)), energy, np.inf)

    def energies_and_forces(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        energy, force = self._pool.energies_and_forces(x)
        return self._inside(x, energy), force

    def leapfrog(
        self, x: np.ndarray, v: np.ndarray, f: np.ndarray, dt_ps: float, n_steps: int
    ) -> tuple[np.ndarray, ...]:
        x, v, energy, f = self._pool.leapfrog(x, v, f, dt_ps, n_steps)
        return x, v, self._inside(x, energy), f


def hot_ladder(n_atoms: int, lowest: float, highest: float, rounds: int) -> ReplicaExchangeConfig:
    """Ladders up to a temperature; a tenth of the rounds more come first."""
    ladder = suggested_config(n_atoms, temperature=lowest)
    n = 1 + round((len(ladder.temperatures) - 1) * np.log(highest / lowest) / np.log(5 / 3))
    return replace(
        ladder,
        temperatures=tuple(float(t) for t in np.geomspace(lowest, highest, n)),
        n_ladders=LADDERS,
        n_rounds=rounds,
        n_burn_in=max(10, rounds // 10),
    )


def exchanged(
    molecule: Molecule,
    starts: np.ndarray,
    config: ReplicaExchangeConfig,
    seed: int,
    state: State | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames ``(ladders, rounds, 3 atoms)`` at the lowest temperature, energies in kJ/mol, and round trips.

    Args:
        molecule: of both states.
        starts: positions ``(ladders, atoms, 3)``.
        config: of the ladders.
        seed: of all random numbers.
        state: which no move leaves; None for all of space.
    """
    masses, total = heavy_hydrogen_masses(molecule.masses), config.total_rounds
    name = "both states" if state is None else state.name
    with (
        CompiledPool(molecule.system_xml, masses=masses) as pool,
        progress(None, name, total=total, quiet=False) as bar,
    ):
        found = replica_exchange(
            pool if state is None else Confined(pool, state),
            config,
            starts,
            seed=seed,
            rotatable=rotatable_bonds(molecule.topology),
            on_round=lambda reached: bar.update(reached.round),
        )
    x = np.swapaxes(found.frames, 0, 1)
    return x.reshape(*x.shape[:2], -1), found.frame_energies.T, found.round_trips


def frames_of(
    molecule: Molecule,
    state: State,
    *,
    lowest: float,
    highest: float,
    rounds: int,
    n_back: int,
    seed: int,
    out: Path,
) -> Frames:
    """Frames of a state by replica exchange that no move leaves, made once and kept.

    Args:
        molecule: in the state.
        state: the state.
        lowest: K, of the frames.
        highest: K, of the ladders.
        rounds: of the ladders.
        n_back: frames to be taken back to the flow, at most.
        seed: of all random numbers.
        out: where frames are kept.
    """
    kept = out / "frames.npz"
    config = hot_ladder(molecule.topology.n_atoms, lowest, highest, rounds)
    if not kept.exists():
        starts = np.stack([molecule.positions] * LADDERS)
        x, energy, _ = exchanged(molecule, starts, config, seed, state)
        early, late = slice(int(0.2 * rounds), int(0.6 * rounds)), int(0.6 * rounds)
        n = max(1, min(n_back // LADDERS, rounds - late))
        rows = np.linspace(late, rounds - 1, n).astype(int)
        storage.write_arrays(
            kept,
            {
                "learn": x[:, early],
                "u": beta(lowest) * energy[:, early],
                "back": x[:, rows],
            },
        )
    found = storage.read_arrays(kept, "delete it")
    return Frames(**found, evaluations=config.energy_evaluations)


def populations(
    molecules: list[Molecule],
    states: tuple[State, State],
    *,
    lowest: float,
    highest: float,
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
        highest: K, of the ladders.
        rounds: of the ladders.
        seed: of all random numbers.
        kelvins: K, of the differences.
        out: where frames' energies and states are kept.
    """
    n_ladders, kept = LADDERS, out / "reference.npz"
    config = hot_ladder(molecules[0].topology.n_atoms, lowest, highest, rounds)
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
