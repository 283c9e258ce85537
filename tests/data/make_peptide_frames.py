"""Makes peptide_frames.npz: topology and short Langevin runs of three peptides for coordinates.

Run from the repository root: ``python tests/data/make_peptide_frames.py``. Takes about two minutes.
"""

from pathlib import Path

import numpy as np
import openmm
from openmm import unit

from jbg.systems.molecule import molecule_from_sequence

# name, sequence, frames, steps of 1 fs between frames
PEPTIDES = (
    ("dialanine", "ACE-ALA-NME", 500, 1000),
    ("trialanine", "ACE-ALA-ALA-ALA-NME", 300, 500),
    ("chignolin", "GYDPETGTWG", 300, 100),
)


def main() -> None:
    arrays = {}
    for name, sequence, n_frames, stride in PEPTIDES:
        molecule = molecule_from_sequence(sequence)
        system = openmm.XmlSerializer.deserialize(molecule.system_xml)
        integrator = openmm.LangevinMiddleIntegrator(400, 2, 0.001)
        integrator.setRandomNumberSeed(1)
        platform = openmm.Platform.getPlatformByName("Reference")
        context = openmm.Context(system, integrator, platform)
        context.setPositions(molecule.positions)
        context.setVelocitiesToTemperature(400, 1)
        integrator.step(5000)
        frames = []
        for _ in range(n_frames):
            integrator.step(stride)
            state = context.getState(getPositions=True)
            frames.append(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
        frames = np.array(frames)
        frames -= frames.mean(axis=1, keepdims=True)
        arrays[f"{name}_frames"] = frames.round(6).astype(np.float32)
        for field, value in molecule.topology._asdict().items():
            arrays[f"{name}_{field}"] = np.array(value)
    np.savez_compressed(Path(__file__).with_name("peptide_frames.npz"), **arrays)


if __name__ == "__main__":
    main()
