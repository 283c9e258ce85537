"""The bonds, angles and torsions of generated frames beside those of a reference, in a few numbers."""

from typing import Any

import numpy as np

from jbg.analysis import bonded_terms, geometry_distance
from jbg.analysis.geometry import KINDS
from jbg.coords.zmatrix import atom_label
from jbg.interfaces import Topology
from jbg.studies.protein.structure import Ensemble

WORST = 5  # that are named


def geometry_report(
    generated: np.ndarray, reference: Ensemble, topology: Topology
) -> dict[str, dict[str, Any]]:
    """Of ``bonds``, ``angles`` and ``torsions``: the median and largest distance over all of them, the same
    between halves of the reference's chains, the share that is further than two of its own floors, and the worst
    by name.

    Args:
        generated: independent frames ``(n, atoms, 3)``, nm.
        reference: frames of chains.
        topology: of the molecule.
    """
    found = {}
    for kind, atoms in zip(KINDS, bonded_terms(topology), strict=True):
        if not len(atoms):
            continue
        each = geometry_distance(generated, reference.x, reference.chain, atoms)
        worst = np.argsort(-each.distance)[:WORST]
        found[kind] = {
            "measure": "Kuiper" if kind == "torsions" else "Kolmogorov",
            "number": len(atoms),
            "median": float(np.median(each.distance)),
            "largest": float(each.distance.max()),
            "floor_median": float(np.median(each.floor)),
            "floor_largest": float(each.floor.max()),
            "beyond_twice_floor": float((each.distance > 2 * each.floor).mean()),
            "worst": {
                "-".join(atom_label(topology, i) for i in atoms[row]): float(each.distance[row])
                for row in worst
            },
        }
    return found
