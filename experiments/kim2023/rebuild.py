"""What reduced coordinates keep of a trajectory: dimensions, RMSD and energies of rebuilt frames, by set.

Means of what is fixed are of the first three quarters of the chains, figures of the rest. Sets: kim (backbone
angles, torsions of single bonds), rings (ring torsions too), heavy (all angles, impropers and ring torsions of
heavy atoms).

    jbg md --pdb mine.pdb --chains 8 --ns 0.004 --out runs/md
    python experiments/kim2023/rebuild.py --pdb mine.pdb --trajectory runs/md/trajectory.dcd --chains 8
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from jbg.coords import (
    HEAVY,
    KIM,
    CoordinateSet,
    build_zmatrix,
    disulfides,
    fit_reduced,
    reduced_from_fit,
)
from jbg.studies.protein.exchangeable import flips_of, rotors_of
from jbg.studies.protein.rebuild import rebuild_report
from jbg.systems.forcefield import compiled_potential
from jbg.systems.molecule import FORCEFIELD, Molecule, molecule_from_pdb
from jbg.systems.openmm_energies import read_frames
from jbg.units import beta

SETS = {"kim": KIM, "rings": CoordinateSet(ring_torsions=True), "heavy": HEAVY}
BATCH = 32  # energies at once


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments:
    """A molecule and its trajectory."""

    pdb: Path
    """PDB file of the molecule."""
    trajectory: Path
    """Frames, one chain after the other, in the order of the atoms of the completed molecule."""
    chains: int = 1
    """Chains in it; a single one is cut in four."""
    forcefield: tuple[str, ...] = FORCEFIELD
    """Force field files of OpenMM."""
    temperature: float = 300.0
    """Temperature in K."""
    out: Path | None = None
    """JSON file to write."""


def main() -> None:
    arguments = tyro.cli(Arguments, description=__doc__)
    molecule = molecule_from_pdb(str(arguments.pdb), forcefield=arguments.forcefield)
    frames = read_frames(arguments.trajectory, molecule)
    chain = np.arange(len(frames)) * max(4, arguments.chains) // len(frames)
    found = rows(molecule, frames, chain, arguments.temperature)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(found, indent=1))
    print(table(found))


def rows(
    molecule: Molecule, frames: np.ndarray, chain: np.ndarray, temperature: float
) -> dict[str, dict[str, Any]]:
    """The report of each set.

    Args:
        molecule: with its force field.
        frames: ``(n, atoms, 3)``, nm.
        chain: of each frame ``(n,)``.
        temperature: K.
    """
    topology, potential = molecule.topology, jax.jit(compiled_potential(molecule.system_xml))
    zmatrix = build_zmatrix(topology, molecule.positions, closing=disulfides(topology))

    def kilojoule(x: np.ndarray) -> np.ndarray:
        x, n = np.asarray(x, np.float32).reshape(len(x), -1), len(x)
        pieces = (np.resize(x[i : i + BATCH], (BATCH, x.shape[1])) for i in range(0, n, BATCH))
        return np.concatenate([np.asarray(potential(jnp.asarray(p.T))) for p in pieces])[:n]

    rotors, flips = (of(molecule, zmatrix, kilojoule) for of in (rotors_of, flips_of))
    cut = 3 * (int(chain.max()) + 1) // 4
    known, tested = frames[chain < cut], frames[chain >= cut]
    found = {}
    for name, which in SETS.items():
        fit = fit_reduced(topology, zmatrix, known, which=which, rotors=rotors, flips=flips)
        found[name] = rebuild_report(
            reduced_from_fit(topology, fit),
            topology,
            tested,
            lambda x: beta(temperature) * kilojoule(x),
            chain=chain[chain >= cut],
            temperature=temperature,
        )
    return found


def table(found: dict[str, dict[str, Any]]) -> str:
    lines = [
        "set | kept / all (circular) | RMSD backbone / heavy / all, A | energy rebuilt - frame, kcal/mol: 5, 50, "
        "95 % | above +100"
    ]
    for name, row in found.items():
        rmsd = " / ".join(f"{row['rmsd'][at][0]:.3f}" for at in ("backbone", "heavy", "all"))
        q = [row["energy_quantiles"][i] for i in (0, 2, 4)]
        shown = ", ".join("inf" if e is None else f"{e:.0f}" for e in q)
        lines.append(
            f"{name} | {row['kept']} / {row['all']} ({row['circular']}) | {rmsd} | {shown} | "
            f"{row['clashing']:.3f} +- {row['clashing_stderr']:.3f} of {row['frames']}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
