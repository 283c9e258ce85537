"""What simulated chains of a protein did, a row each: energy, distance from the structure given, its bridges."""

from typing import Any

import numpy as np
from bridge import bridge_quad

from jbg import runs
from jbg.analysis import torsions
from jbg.coords import backbone_atoms
from jbg.coords.rmsd import make_rmsd
from jbg.coords.zmatrix import disulfides
from jbg.interfaces import Topology
from jbg.studies.dataset import load_dataset
from jbg.studies.molecule.stored import load_molecule

ROLES = ("learn", "watch", "aside")  # by their numbers in `dataset`


def chain_rows(run: runs.Run) -> list[dict[str, Any]]:
    """Of each chain: role and number of frames; mean and spread of the energy in kT; RMSD of the backbone to the
    structure given in nm, the mean and that of the last tenth; of each bridge the mean torsion CB-SG-SG-CB in
    degrees, its share above 0, and how often its sign changed."""
    molecule, data = load_molecule(run), load_dataset(run)
    topology, at = molecule.topology, molecule.positions.reshape(-1, 3)
    rmsd = np.asarray(make_rmsd(at, sorted(backbone_atoms(topology)))(data.x.T))
    bridges = named_bridges(topology)
    quads = np.array(list(bridges.values()), int).reshape(-1, 4)
    angles = torsions(data.x.reshape(len(data.x), -1, 3), quads)
    rows = []
    for chain in np.unique(data.chain):
        mine = data.chain == chain
        found = {
            name: {
                "mean_degrees": float(np.degrees(np.angle(np.exp(1j * angle).mean()))),
                "share_plus": float((angle > 0).mean()),
                "changes": int((np.diff(angle > 0) != 0).sum()),
            }
            for name, angle in zip(bridges, angles[mine].T, strict=True)
        }
        u, away = data.u[mine], rmsd[mine]
        rows.append(
            {
                "chain": int(chain),
                "role": ROLES[int(data.role[mine][0])],
                "frames": int(mine.sum()),
                "energy": float(u.mean()),
                "energy_std": float(u.std()),
                "rmsd_nm": float(away.mean()),
                "rmsd_end_nm": float(away[-max(1, len(away) // 10) :].mean()),
                "bridges": found,
            }
        )
    return rows


def named_bridges(topology: Topology) -> dict[str, np.ndarray]:
    """Atoms CB, SG, SG, CB ``(4,)`` of each disulfide, by its residues counted from 1, "14-38"."""
    pairs = sorted(
        tuple(sorted(topology.residue_ids[atom] + 1 for atom in bond))
        for bond in disulfides(topology)
    )
    return {f"{i}-{j}": bridge_quad(topology, (i, j)) for i, j in pairs}
