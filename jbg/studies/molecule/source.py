"""The data of a molecule's study by replica exchange, and the coordinates that are fitted to them."""

import dataclasses
import time

import numpy as np

from jbg.interfaces import ConfigError
from jbg.runs import Run
from jbg.runs.progress import progress
from jbg.simulation.dispersed_starts import dispersed_starts
from jbg.simulation.replica_exchange import ExchangeState, acceptance, replica_exchange
from jbg.simulation.replica_exchange_config import ReplicaExchangeConfig, heavy_hydrogen_masses
from jbg.simulation.torsion_rotation import RotatableBond, rotatable_bonds
from jbg.studies.dataset import ASIDE, FRAMES, LEARN, WATCH, Dataset, load_dataset
from jbg.studies.molecule.data_plan import ExchangePlan
from jbg.studies.molecule.energies import ENERGIES, Pool
from jbg.studies.molecule.files import EXCHANGE, STARTS
from jbg.studies.molecule.fitted import fit_in
from jbg.studies.molecule.options import AlanineOptions, MoleculeOptions
from jbg.studies.molecule.reference import torsion_sides
from jbg.studies.molecule.stored import StoredMolecule, store_molecule
from jbg.units import beta

CHECKPOINT_SECONDS = 60.0

Bonds = tuple[RotatableBond, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExchangeSource:
    """Frames at the target temperature; ladders start on both sides of each torsion that defines two states."""

    options: MoleculeOptions | AlanineOptions
    data: ExchangePlan

    @property
    def evaluations(self) -> int:
        return self.data.evaluations

    @property
    def frames(self) -> int:
        return self.data.frames

    def make(self, run: Run, *, quiet: bool) -> None:
        """Simulate, resuming at the last checkpoint, and fit the coordinates."""
        with progress(None, "molecule", total=0, quiet=quiet):
            molecule = store_molecule(run, self.options)
        bonds = rotatable_bonds(molecule.topology)
        if not (run.path / FRAMES).exists():
            self._simulate(run, molecule, bonds, quiet=quiet)
        with progress(None, "coordinates", total=0, quiet=quiet):
            fit_in(run, molecule, bonds, load_dataset(run))

    def _simulate(self, run: Run, molecule: StoredMolecule, bonds: Bonds, *, quiet: bool) -> None:
        data, options = self.data, self.options
        settings = data.exchange
        if not bonds:
            settings = dataclasses.replace(settings, n_rotations=0)
        masses = heavy_hydrogen_masses(molecule.masses, data.hydrogen_mass)
        with ENERGIES[options.energies].pool(molecule.system_xml, masses) as pool:
            with progress(None, "starting structures", total=0, quiet=quiet):
                starts = _starts(run, pool, settings, molecule, bonds)
            state = _exchange(run, pool, settings, starts["positions"], bonds, quiet=quiet)
        spent = settings.energy_evaluations + int(starts["evaluations"])
        exchange_dataset(state, roles(settings.n_ladders, data), options.temperature, spent).save(
            run
        )
        rates = {name: np.round(rate, 3) for name, rate in acceptance(settings, state).items()}
        run.note(replica_exchange={"acceptance": rates, "round_trips": state.round_trips})
        (run.path / EXCHANGE).unlink(missing_ok=True)


def roles(n_ladders: int, plan: ExchangePlan) -> np.ndarray:
    """The role of each ladder ``(n_ladders,)``: LEARN, WATCH or ASIDE.

    Each group consists of consecutive ladders, every other one of which starts alike. At least one ladder is LEARN
    and one is WATCH.
    """
    n_watching = max(1, round(n_ladders * plan.heldout))
    n_aside = max(0, min(round(n_ladders * plan.aside), n_ladders - 1 - n_watching))
    found = np.full(n_ladders, LEARN)
    found[max(0, n_ladders - n_aside - n_watching) :] = WATCH
    found[n_ladders - n_aside :] = ASIDE
    return found


def exchange_dataset(
    state: ExchangeState, role: np.ndarray, temperature: float, spent: int
) -> Dataset:
    """The frames of a replica exchange, record by record, the ladders in turn.

    Args:
        state: at the end of the replica exchange.
        role: of each ladder, ``(n_ladders,)`` (`dataset`).
        temperature: of the frames, K; reduced energies are in its kT.
        spent: number of energy evaluations.
    """
    n_records, n_ladders = state.frames.shape[:2]
    chain = np.tile(np.arange(n_ladders), n_records)
    return Dataset(
        x=state.frames.reshape(n_records * n_ladders, -1),
        chain=chain,
        tau=np.ones(len(chain)),
        role=role[chain],
        u=beta(temperature) * state.frame_energies.reshape(-1),
        walker=state.frame_walkers.reshape(-1),
        weight=np.ones(len(chain)),
        evaluations=spent,
    )


def _starts(
    run: Run,
    pool: Pool,
    settings: ReplicaExchangeConfig,
    molecule: StoredMolecule,
    bonds: Bonds,
) -> dict[str, np.ndarray]:
    """Where each ladder starts, found once and then read back: `DispersedStarts` and the names of torsions."""
    if not (run.path / STARTS).exists():
        torsions = torsion_sides(molecule.topology, bonds)
        found = dispersed_starts(
            pool.energies_and_forces,
            molecule.positions,
            tuple(torsions.values()),
            n_ladders=settings.n_ladders,
            batch=settings.n_ladders * len(settings.temperatures),
        )
        run.save_arrays(STARTS, torsions=np.array(list(torsions), str), **found._asdict())
    return run.load_arrays(STARTS)


def _saved(run: Run, settings: ReplicaExchangeConfig) -> ExchangeState | None:
    """The last saved state of the replica exchange."""
    if not (run.path / EXCHANGE).exists():
        return None
    arrays = run.load_arrays(EXCHANGE)
    if set(arrays) != set(ExchangeState._fields):
        raise ConfigError(
            f"{run.path / EXCHANGE} is of a simulation that another version of jbg began: delete it to "
            "simulate anew, or choose another --out"
        )
    held, asked = arrays["frames"].shape[:2], (settings.n_records, settings.n_ladders)
    if held != asked:
        raise ConfigError(
            f"{run.path / EXCHANGE} holds {held} records and ladders, where config.json asks for {asked}: "
            "delete it to simulate anew"
        )
    return ExchangeState(round=int(arrays.pop("round")), **arrays)


def _exchange(
    run: Run,
    pool: Pool,
    settings: ReplicaExchangeConfig,
    start: np.ndarray,
    bonds: Bonds,
    *,
    quiet: bool,
) -> ExchangeState:
    state, last = _saved(run, settings), time.monotonic()

    with progress(run, "simulate", total=settings.total_rounds, quiet=quiet) as bar:
        if state is not None:
            bar.resume(state.round)

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
