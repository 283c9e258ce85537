"""The bonds, angles and torsions of generated frames beside those of a reference, in a few numbers."""

import numpy as np

from jbg.analysis import bonded_terms, geometry_distance
from jbg.analysis.geometry import KINDS
from jbg.coords.zmatrix import atom_label
from jbg.interfaces import Topology
from jbg.studies.protein.structure import Ensemble
from jbg.studies.study import Finding

WORST = 5  # that are named


def geometry_report(generated: np.ndarray, reference: Ensemble, topology: Topology) -> Finding:
    """``geometry``: of ``bonds``, ``angles`` and ``torsions`` the median and largest distance over all, the
    same between halves of the reference's chains, the share that is further than two of its own floors, and the
    worst by name. The arrays are the distance and floor of each, ``(2, n)`` by kind.

    Args:
        generated: independent frames ``(n, atoms, 3)``, nm.
        reference: frames of chains.
        topology: of the molecule.
    """
    found, arrays = {}, {}
    for kind, atoms in zip(KINDS, bonded_terms(topology), strict=True):
        if not len(atoms):
            continue
        each = geometry_distance(generated, reference.x, reference.chain, atoms)
        arrays[f"geometry_{kind}"] = np.stack(each)
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
    return Finding({"geometry": found}, arrays)
