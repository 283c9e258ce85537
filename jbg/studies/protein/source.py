"""The data of a protein: dynamics of all atoms, coordinates fitted to them, and chains on the slice.

The chains of the slice are what the Boltzmann density of the reduced coordinates looks like; rebuilt frames of the
dynamics are another density (`coords.reduced`). A run keeps both.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jbg.coords import (
    ReducedCoordinates,
    ReducedFit,
    build_zmatrix,
    disulfides,
    fit_reduced,
    reduced_from_fit,
    refit_reduced,
)
from jbg.generator import pull_back
from jbg.interfaces import ConfigError, State
from jbg.runs import Run
from jbg.runs.progress import progress
from jbg.simulation.hmc_ladder import LadderState, Region, initial_ladders, make_block
from jbg.simulation.torsion_jumps import torsion_jumps
from jbg.studies.dataset import FRAMES, LEARN, Dataset, load_dataset
from jbg.studies.molecule.stored import StoredMolecule, store_molecule
from jbg.studies.protein.data_plan import SlicePlan
from jbg.studies.protein.dynamics import clean_up, simulated, some_of
from jbg.studies.protein.exchangeable import flips_of, host_energies, rotors_of
from jbg.studies.protein.files import DYNAMICS, LADDER, OF_DYNAMICS, OF_SLICE, ladder_block
from jbg.studies.protein.options import LearnChoice, ProteinOptions
from jbg.studies.protein.physics import near_start, target_of
from jbg.studies.protein.starts import roles_of, starts


@dataclasses.dataclass(frozen=True, kw_only=True)
class SliceSource:
    """Chains of all atoms, then ladders of chains on the slice, from frames of different chains."""

    options: ProteinOptions
    data: SlicePlan

    @property
    def evaluations(self) -> int:
        return self.data.evaluations

    @property
    def frames(self) -> int:
        return self.data.frames

    def make(self, run: Run, *, quiet: bool) -> None:
        """Simulate and fit, resuming where a kill left off."""
        with progress(None, "molecule", total=0, quiet=quiet):
            molecule = store_molecule(run, self.options)
        if not run.holds(DYNAMICS):
            self._dynamics(run, molecule, quiet=quiet)
        if not run.holds(OF_DYNAMICS):
            with progress(None, "coordinates", total=0, quiet=quiet):
                self._fit(run, molecule)
        if not run.holds(FRAMES):
            self._ladder(run, molecule, quiet=quiet)
        if self.options.learnt == "slice" and not run.holds(OF_SLICE):
            with progress(None, "coordinates", total=0, quiet=quiet):
                self._fit_again(run, molecule)

    def _dynamics(self, run: Run, molecule: StoredMolecule, *, quiet: bool) -> None:
        found = simulated(run, self.data, molecule, quiet=quiet)
        run.save_arrays(DYNAMICS, **found._asdict())
        clean_up(run)

    def _fit(self, run: Run, molecule: StoredMolecule) -> None:
        """What is fixed, and coordinates for chains to move in, from the chains of the dynamics to learn from."""
        kept = run.load_arrays(DYNAMICS)
        x = kept["x"][kept["role"] == LEARN]
        fit = self._fitted(run, molecule, x.reshape(-1, x.shape[-1]))
        run.save_arrays(OF_DYNAMICS, **fit._asdict())

    def _fit_again(self, run: Run, molecule: StoredMolecule) -> None:
        """Coordinates of the same slice for flows that learn from its frames, which hold rotamers that the
        dynamics never saw: other torsions are circles, and the others are whitened by what they really span."""
        fit, data = load_coordinates(run, molecule, "dynamics").fit, load_dataset(run)
        x = data.x[data.role == LEARN]
        x = x[some_of(x)]
        again = refit_reduced(fit, x.reshape(len(x), -1, 3), whiten=self.data.whiten)
        run.save_arrays(OF_SLICE, **again._asdict())

    def _fitted(self, run: Run, molecule: StoredMolecule, x: np.ndarray) -> ReducedFit:
        topology, x = molecule.topology, x[some_of(x)]
        zmatrix = build_zmatrix(topology, molecule.positions, closing=disulfides(topology))
        energies = host_energies(run, molecule, self.options.energies)
        return fit_reduced(
            topology,
            zmatrix,
            x.reshape(len(x), -1, 3),
            which=self.data.coordinates,
            rotors=rotors_of(molecule, zmatrix, energies),
            flips=flips_of(molecule, zmatrix, energies),
            whiten=self.data.whiten,
        )

    def _ladder(self, run: Run, molecule: StoredMolecule, *, quiet: bool) -> None:
        data, settings = self.data, self.data.ladder
        coords = load_coordinates(run, molecule, "dynamics")
        target = target_of(run, molecule, self.options)
        reduced, jump = pull_back(target, coords.bijector), torsion_jumps(coords.fit)
        native = near_start(molecule, data.within)
        block = make_block(reduced, settings, jump, region_of(coords, native))
        n_blocks, key = settings.total_rounds // settings.block, run.key("ladder")
        with progress(run, "slice", total=settings.total_rounds, quiet=quiet) as bar:
            if run.holds(LADDER):
                state = _resumed(run)
            else:
                found = starts(run, data, reduced, coords, native, jump)
                run.note(slice_starts=found.distinct)
                state = initial_ladders(reduced, settings, found.v)
            done = int(state.round) // settings.block
            bar.resume(done * settings.block)
            for i in range(done, n_blocks):
                state, frames = block(state, key)
                if i >= settings.n_burn_in // settings.block:
                    run.save_arrays(ladder_block(i), **jax.device_get(frames)._asdict())
                run.save_arrays(LADDER, **jax.device_get(state)._asdict())
                bar.update((i + 1) * settings.block, energy=float(jnp.median(state.u[0])))
            bar.wait()
            self._save(run, coords, target, state)

    def _save(self, run: Run, coords: ReducedCoordinates, target: Any, state: LadderState) -> None:
        """The frames of the lowest temperature as the dataset."""
        settings = self.data.ladder
        rounds = settings.n_rounds
        rates = {
            "acceptance": np.asarray(state.accepted - state.turned_back) / rounds,
            "jumps": np.asarray(state.jumped) / rounds,
            "turned_back": np.asarray(state.turned_back) / rounds,
            "swaps": np.asarray(state.swapped) / np.maximum(np.asarray(state.tried), 1),
        }
        run.note(slice_chains={name: np.round(rate, 3) for name, rate in rates.items()})
        first, last = settings.n_burn_in // settings.block, settings.total_rounds // settings.block
        located = jax.jit(lambda v: coords.bijector.forward((), v)[0])
        measured = jax.jit(target.reduced_energy)
        x, u, walkers = [], [], []
        for i in range(first, last):
            block = run.load_arrays(ladder_block(i))
            for v, walker in zip(block["v"], block["walker"], strict=True):
                positions = located(v)
                x.append(np.asarray(positions).T)
                u.append(np.asarray(measured(positions), np.float64))
                walkers.append(walker)
        n, ladders = len(u), settings.n_ladders
        chain = np.tile(np.arange(ladders), n)
        Dataset(
            x=np.concatenate(x),
            chain=chain,
            tau=np.ones(len(chain)),
            role=roles_of(ladders, self.data)[chain],
            u=np.concatenate(u),
            walker=np.concatenate(walkers).astype(int),
            weight=np.ones(len(chain)),
            evaluations=self.data.evaluations + len(chain),
        ).save(run)
        for i in range(first, last):
            run.remove(ladder_block(i))
        run.remove(LADDER)


def _resumed(run: Run) -> LadderState:
    """The ladders where they stopped.

    Raises:
        ConfigError: another version of jbg began them.
    """
    arrays = run.load_arrays(LADDER)
    if set(arrays) != set(LadderState._fields):
        raise ConfigError(
            f"{run.path}: another version of jbg began its chains on the slice: start anew with another --out"
        )
    return LadderState(**arrays)


def region_of(coords: ReducedCoordinates, native: State | None) -> Region | None:
    """Whether v lies in the state; None for no state."""
    if native is None:
        return None
    return lambda v: native.contains(coords.bijector.forward((), v)[0])


def load_coordinates(run: Run, molecule: StoredMolecule, learn: LearnChoice) -> ReducedCoordinates:
    """The reduced coordinates of flows that learn from frames of the slice, or of the dynamics."""
    name = {"slice": OF_SLICE, "dynamics": OF_DYNAMICS}[learn]
    return reduced_from_fit(molecule.topology, ReducedFit(**run.load_arrays(name)))
