"""Makes alanine_dipeptide_langevin.npz: 12 chains of alanine dipeptide at 300 K, by turns from phi < 0 and phi >
0.

Run from the repository root: ``python tests/data/make_alanine_dipeptide_langevin.py``. Takes some ten minutes.
Positions ``x (12, 120, 22, 3)`` are int16 in units of 1e-4 nm, 6 ps apart, the first 40 ps left out.
"""

import tempfile
from pathlib import Path

import mdtraj
import numpy as np

from jbg.cli.main import main as jbg
from jbg.simulation.torsion_rotation import rotatable_bonds, rotate
from jbg.studies.molecule.states import flat_torsion, named_torsions
from jbg.systems.molecule import molecule_from_sequence

MD = (
    *("--ns", "0.76", "--chains", "12", "--stride-ps", "2", "--seed", "11", "--quiet"),
    *("--hydrogen-mass", "6", "--timestep-fs", "4"),
)


def main() -> None:
    molecule = molecule_from_sequence("ACE-ALA-NME")
    (phi,) = named_torsions(molecule.topology)
    bonds = tuple(b for b in rotatable_bonds(molecule.topology) if frozenset(b.axis) == phi.axis)
    x = molecule.positions[None]
    now = float(flat_torsion(x.reshape(1, -1).T, phi.quad)[0])
    turned = [rotate(x, bonds, np.array([0]), s * (np.array([np.pi / 3]) - now)) for s in (1, -1)]
    angles = [float(flat_torsion(y.reshape(1, -1).T, phi.quad)[0]) for y in turned]
    other = turned[int(np.argmin(np.abs(np.array(angles) - np.pi / 3)))]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pdb, starts, out = (folder / part for part in ("a.pdb", "starts.dcd", "md"))
        pdb.write_text(molecule.pdb)
        top = mdtraj.load(str(pdb)).topology
        mdtraj.Trajectory(np.concatenate([x, other]), top).save_dcd(str(starts))
        assert jbg(["md", "--pdb", str(pdb), "--starts", str(starts), "--out", str(out), *MD]) == 0
        frames = mdtraj.load(str(out / "trajectory.dcd"), top=str(pdb)).xyz
    frames = frames.reshape(12, -1, 22, 3)[:, 20::3].astype(np.float64)
    frames -= frames.mean(axis=2, keepdims=True)
    x = np.round(frames * 1e4).astype(np.int16)
    np.savez_compressed(Path(__file__).with_name("alanine_dipeptide_langevin.npz"), x=x)


if __name__ == "__main__":
    main()
