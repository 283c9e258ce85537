"""The data of a molecule's study without a simulation: conformations for the coordinates, chains for a check."""

import dataclasses

import numpy as np

from jbg.coords import ZMatrix, build_zmatrix, coordinates_from_fit, fit_coordinates
from jbg.runs import Run
from jbg.runs.progress import progress
from jbg.simulation.harmonic import harmonic_frames
from jbg.simulation.torsion_rotation import rotatable_bonds
from jbg.studies.dataset import FRAMES, Dataset, load_dataset
from jbg.studies.molecule.chains import simulate_chains
from jbg.studies.molecule.data_plan import HarmonicPlan
from jbg.studies.molecule.energies import ENERGIES, Potential
from jbg.studies.molecule.files import COORDINATES, DOMAIN
from jbg.studies.molecule.options import AlanineOptions, MoleculeOptions
from jbg.studies.molecule.stored import StoredMolecule, store_molecule, symmetric_rotors
from jbg.units import beta


@dataclasses.dataclass(frozen=True, kw_only=True)
class HarmonicSource:
    """Harmonic frames; none is held out, since they sample no ensemble."""

    options: MoleculeOptions | AlanineOptions
    data: HarmonicPlan

    @property
    def evaluations(self) -> int:
        return self.data.evaluations

    @property
    def frames(self) -> int:
        return self.data.frames

    def make(self, run: Run, *, quiet: bool) -> None:
        """Generate frames, fit the coordinates, and run the chains."""
        with progress(None, "simulate", total=0, quiet=quiet):
            self._make(run)

    def _make(self, run: Run) -> None:
        options = self.options
        molecule = store_molecule(run, options)
        zmatrix = build_zmatrix(molecule.topology, molecule.positions)
        energies = ENERGIES[options.energies]
        potential = energies.potential(run, molecule.system_xml, molecule.positions)
        if not (run.path / FRAMES).exists():
            self._suggest(run, molecule, zmatrix, potential)
        x = load_dataset(run).x
        frames = x.reshape(len(x), -1, 3)
        rotors = symmetric_rotors(molecule, zmatrix)
        fit = fit_coordinates(zmatrix, frames, rotors=rotors)
        inside = coordinates_from_fit(molecule.topology, fit).in_domain(frames)
        run.save_arrays(DOMAIN, inside=inside)
        run.save_arrays(COORDINATES, **fit._asdict())
        simulate_chains(
            run,
            self.data.chains,
            potential,
            frames[inside],
            masses=molecule.masses,
            temperature=options.temperature,
        )

    def _suggest(
        self, run: Run, molecule: StoredMolecule, zmatrix: ZMatrix, potential: Potential
    ) -> None:
        temperature = self.options.temperature
        found = harmonic_frames(
            potential,
            zmatrix,
            molecule.positions,
            rotatable_bonds(molecule.topology),
            temperature=temperature,
            n=self.data.n_frames,
            seed=run.seed_for("harmonic frames"),
        )
        x = found.frames.astype(np.float32).reshape(1, len(found.frames), -1)
        data = Dataset.of_chains(x)._replace(
            u=beta(temperature) * found.energies,
            evaluations=found.evaluations + self.data.chains.evaluations,
        )
        data.save(run)
