"""The data of a protein in mixed coordinates: dynamics of all atoms, and the coordinates fitted to them."""

import dataclasses

import numpy as np

from jbg.coords import (
    MixedCoordinates,
    MixedFit,
    build_zmatrix,
    fit_mixed,
    mixed_atoms,
    mixed_from_fit,
)
from jbg.coords.zmatrix import disulfides
from jbg.runs import Run
from jbg.runs.progress import progress
from jbg.studies.dataset import FRAMES, LEARN, Dataset, load_dataset
from jbg.studies.molecule.stored import StoredMolecule, store_molecule, symmetric_rotors
from jbg.studies.protein.data_plan import MixedPlan
from jbg.studies.protein.dynamics import clean_up, simulated, some_of
from jbg.studies.protein.files import MIXED, SLOW
from jbg.studies.protein.options import ProteinOptions
from jbg.studies.protein.slow_motions import fit_slow_plane


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixedSource:
    """Chains of all atoms; coordinates are fitted to those that training learns from.

    Attributes:
        options: choices of the user.
        data: lengths of the chains and their roles.
        along: training goes along the slowest motions, which are fitted to the same chains.
    """

    options: ProteinOptions
    data: MixedPlan
    along: bool

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
        if not run.holds(FRAMES):
            self._dynamics(run, molecule, quiet=quiet)
        if not run.holds(MIXED):
            with progress(None, "coordinates", total=0, quiet=quiet):
                self._fit(run, molecule)
        if self.along and not run.holds(SLOW):
            data = load_dataset(run)
            learnt = data.where(data.role == LEARN)
            fit = fit_slow_plane(molecule.topology, learnt.x, learnt.chain)
            run.save_arrays(SLOW, **fit._asdict())

    def _dynamics(self, run: Run, molecule: StoredMolecule, *, quiet: bool) -> None:
        found = simulated(run, self.data, molecule, quiet=quiet)
        n_chains, n_frames = found.u.shape
        every = Dataset.of_chains(found.x)
        every._replace(
            role=np.repeat(found.role, n_frames),
            u=found.u.reshape(n_chains * n_frames),
            evaluations=self.data.evaluations,
        ).save(run)
        clean_up(run)

    def _fit(self, run: Run, molecule: StoredMolecule) -> None:
        topology, data = molecule.topology, load_dataset(run)
        learnt = data.where(data.role == LEARN)
        few = learnt.where(some_of(learnt.x))
        first = mixed_atoms(topology)
        zmatrix = build_zmatrix(
            topology, molecule.positions, closing=disulfides(topology), first=first
        )
        rotors = symmetric_rotors(molecule, zmatrix)
        fit = fit_mixed(
            topology,
            few.x.reshape(len(few.x), -1, 3),
            cartesian=first,
            rotors=tuple(group for group in rotors if not set(first) & set(group)),
            ladder=few.chain,
            whiten=self.data.whiten,
        )
        run.save_arrays(MIXED, **fit._asdict())


def load_mixed(run: Run, molecule: StoredMolecule) -> MixedCoordinates:
    """The coordinates that a run was fitted with."""
    return mixed_from_fit(molecule.topology, MixedFit(**run.load_arrays(MIXED)))
