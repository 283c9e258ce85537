"""Trajectories of the user as the data of a run, and the coordinates that are fitted to them."""

import dataclasses
import json
import logging
from collections.abc import Callable

from jax import Array

from jbg.coords import CoordinateFit
from jbg.runs import Run
from jbg.runs.progress import progress
from jbg.simulation.torsion_rotation import rotatable_bonds
from jbg.studies.dataset import FRAMES, load_dataset
from jbg.studies.molecule.energies import ENERGIES
from jbg.studies.molecule.files import COORDINATES, TARGET_TEST, TRAJECTORIES
from jbg.studies.molecule.fitted import fit_in
from jbg.studies.molecule.options import AlanineOptions, MoleculeOptions
from jbg.studies.molecule.stored import StoredMolecule, store_molecule
from jbg.studies.molecule.target_check import check_target
from jbg.studies.molecule.trajectory_data import energies_of, make_data
from jbg.studies.molecule.trajectory_plan import TrajectoryPlan
from jbg.studies.molecule.trajectory_reading import read_frames
from jbg.units import beta

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrajectorySource:
    """Frames of the user's files, in blocks of time."""

    options: MoleculeOptions | AlanineOptions
    data: TrajectoryPlan

    @property
    def evaluations(self) -> int:
        return self.data.evaluations

    @property
    def frames(self) -> int:
        return self.data.frames

    def make(self, run: Run, *, quiet: bool) -> None:
        """Read and check the frames, and fit the coordinates."""
        with progress(None, "molecule", total=0, quiet=quiet):
            molecule = store_molecule(run, self.options)
        if not run.holds(FRAMES):
            with progress(None, "trajectories", total=0, quiet=quiet):
                self._read(run, molecule)
        with progress(None, "coordinates", total=0, quiet=quiet):
            fit_in(run, molecule, rotatable_bonds(molecule.topology), load_dataset(run))
        if not run.holds(TARGET_TEST):
            with progress(None, "test of the frames", total=0, quiet=quiet):
                self._test(run, molecule)

    def _read(self, run: Run, molecule: StoredMolecule) -> None:
        options = self.options
        given = read_frames(
            molecule,
            options.trajectories,
            topology=options.topology,
            weights=options.weights,
            temperature=options.temperature,
            stride=self.data.stride,
        )
        found = make_data(
            molecule,
            given,
            [path.name for path in options.trajectories],
            energies_of(self._reduced_energy(run, molecule), molecule.positions.size),
            temperature=options.temperature,
            seed=run.seed_for("restored frames"),
        )
        about = {name: value for name, value in found._asdict().items() if name != "dataset"}
        run.save_arrays(TRAJECTORIES, about=json.dumps(about))
        found.dataset.save(run)
        if found.left_out:
            lines = [line for line in found.words if line.startswith("left out")]
            logger.warning(
                "%d of %d frames of the data: %s", found.left_out, found.n_frames, "; ".join(lines)
            )

    def _test(self, run: Run, molecule: StoredMolecule) -> None:
        """Write what the frames say of their force field and temperature, and warn where these are not the
        target's."""
        found = check_target(
            molecule.topology,
            CoordinateFit(**run.load_arrays(COORDINATES)),
            self._reduced_energy(run, molecule),
            load_dataset(run),
            self.options.temperature,
        )
        run.save_arrays(TARGET_TEST, about=json.dumps(found))
        for reason in found["reasons"]:
            logger.warning("the frames are not of the target: %s", reason)

    def _reduced_energy(self, run: Run, molecule: StoredMolecule) -> Callable[[Array], Array]:
        options = self.options
        potential = ENERGIES[options.energies].potential(
            run, molecule.system_xml, molecule.positions
        )
        kt = beta(options.temperature)
        return lambda x: kt * potential(x)
