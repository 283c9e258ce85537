"""``jbg energy``: energies and forces of configurations."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Literal

from jbg.systems import description_rows, openmm_energies
from jbg.systems.given_molecule import GivenMolecule


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnergyOptions(GivenMolecule):
    """Energies and forces of configurations as JSON, in kJ/mol and kJ/mol/nm; nothing is minimised."""

    trajectory: Path | None = None
    """Trajectory to evaluate instead of the molecule's coordinates (any format that mdtraj reads)."""
    backend: Literal["openmm", "callback", "jax"] = "openmm"
    """Implementation: openmm (a Context), callback (the same from inside JAX) or jax (compiled to JAX)."""


def print_energies(options: EnergyOptions) -> int:
    """Print energies as JSON, and a description of the molecule to standard error."""
    found = openmm_energies.evaluate(
        options.given,
        trajectory=options.trajectory,
        backend=options.backend,
    )
    for what, which in description_rows.rows(found["molecule"]):
        print(f"{what}: {which}", file=sys.stderr)
    print(json.dumps(found, indent=2))
    return 0
