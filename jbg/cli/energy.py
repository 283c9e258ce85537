"""``jbg energies``: energies and forces of the frames of a trajectory, or of a single file."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from jbg.cli.options import Flag
from jbg.interfaces import ConfigError
from jbg.runs import storage
from jbg.systems import description_rows, openmm_energies
from jbg.systems.given_molecule import GivenMolecule
from jbg.systems.molecule import molecule_of

FORMATS = (".json", ".npz")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnergyOptions(GivenMolecule):
    """Energies and forces of configurations as they are, in kJ/mol and kJ/mol/nm: jbg energies FILE --pdb FILE.

    Raises:
        ConfigError: an output file of an unknown format, or forces without one.
    """

    trajectory: Path | None = None
    """Trajectory to evaluate instead of the molecule's coordinates (any format that mdtraj reads)."""
    backend: Literal["jax", "callback", "openmm"] = "jax"
    """Implementation: jax (compiled to JAX), openmm (a Context) or callback (the same from inside JAX)."""
    compare: Flag = False
    """Compute them with OpenMM too: its speed, and the largest differences."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Output file, .npz or .json, in place of the list of frames on standard output."""
    forces: Flag = False
    """Write all forces to the output file, not only their norms."""

    def __post_init__(self):
        super().__post_init__()
        if self.out is not None and self.out.suffix not in FORMATS:
            raise ConfigError(
                f"{self.out}: unknown format {self.out.suffix!r}: choose {' or '.join(FORMATS)}"
            )
        if self.forces and self.out is None:
            raise ConfigError("--forces are written to a file: give --out FILE.npz")


def print_energies(options: EnergyOptions) -> int:
    """Print energies as JSON, and a description of the molecule to standard error."""
    molecule = molecule_of(options.given)
    for what, which in description_rows.rows(molecule.description):
        print(f"{what}: {which}", file=sys.stderr)
    frames = molecule.built_positions[None]
    if options.trajectory is not None:
        frames = openmm_energies.read_frames(options.trajectory, molecule)
    said, found = openmm_energies.evaluate(
        molecule, frames, backend=options.backend, compare=options.compare
    )
    listed = {"frames": openmm_energies.rows(found)}
    if options.out is None:
        print(json.dumps(said | listed, indent=2))
        return 0
    with storage.disk_errors(options.out):
        options.out.parent.mkdir(parents=True, exist_ok=True)
    all_forces = {"forces": found.forces} if options.forces else {}
    if options.out.suffix == ".json":
        storage.write_json(options.out, said | listed | all_forces)
    else:
        norm = np.linalg.norm(np.asarray(found.forces).reshape(len(frames), -1), axis=1)
        arrays = {"energy": found.energy, "force_norm": norm, **all_forces}
        storage.write_arrays(options.out, arrays)
    print(json.dumps(said | {"file": str(options.out)}, indent=2))
    return 0
