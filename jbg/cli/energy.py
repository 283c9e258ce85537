"""``jbg energy``: energies and forces of configurations."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Literal

from jbg.systems import description_rows, openmm_energies
from jbg.systems.molecule import FORCEFIELD


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnergyOptions:
    """Energies and forces of configurations as JSON, in kJ/mol and kJ/mol/nm."""

    pdb: Path
    """PDB file of one molecule. Adds missing hydrogens (by names such as HIE, else at pH 7); no minimisation."""
    trajectory: Path | None = None
    """Trajectory to evaluate instead of the PDB file's coordinates (any format that mdtraj reads)."""
    forcefield: tuple[str, ...] = FORCEFIELD
    """Force field files of OpenMM."""
    backend: Literal["openmm", "callback", "jax"] = "openmm"
    """Implementation: openmm (a Context), callback (the same from inside JAX) or jax (compiled to JAX)."""


def print_energies(options: EnergyOptions) -> int:
    """Print energies as JSON, and a description of the molecule to standard error."""
    found = openmm_energies.evaluate(
        options.pdb,
        forcefield=options.forcefield,
        trajectory=options.trajectory,
        backend=options.backend,
    )
    for what, which in description_rows.rows(found["molecule"]):
        print(f"{what}: {which}", file=sys.stderr)
    print(json.dumps(found, indent=2))
    return 0
