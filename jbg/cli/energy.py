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
    """Energies and forces of configurations, as JSON: kJ/mol and kJ/mol/nm."""

    pdb: Path
    """One molecule; missing hydrogens are added (as HIE, ASH say, else pH 7), nothing is minimised."""
    trajectory: Path | None = None
    """Frames to evaluate in place of the PDB file's own (any format mdtraj reads)."""
    forcefield: tuple[str, ...] = FORCEFIELD
    """OpenMM force field files."""
    backend: Literal["openmm", "callback", "jax"] = "openmm"
    """openmm: a Context called directly; callback: the same through JAX; jax: the force field compiled to JAX."""


def print_energies(options: EnergyOptions) -> int:
    """Prints them as JSON, and what was read to standard error."""
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
