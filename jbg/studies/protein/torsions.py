"""Backbone torsions of generated frames beside those of a reference: maps by residue, and the two main motions."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jbg.analysis import fit_pca, map_overlap, ramachandran_distance, torsion_features
from jbg.coords import backbone_torsions, torsions_of
from jbg.interfaces import Topology
from jbg.studies.protein.structure import MOST, Ensemble


def torsions(
    generated: Ensemble, reference: Ensemble, topology: Topology, seed: int
) -> dict[str, Any]:
    """``ramachandran``: total variation of each residue's map from the reference's, with what its chains show
    among themselves; ``main_motions``: overlap of both on the first two principal components of phi and psi.

    Args:
        generated: independent frames.
        reference: frames of chains.
        topology: of the molecule.
        seed: of splits of the chains.
    """
    quads, few, known = (
        backbone_torsions(topology),
        generated.thinned(MOST),
        reference.thinned(MOST),
    )
    by_residue = {
        name: {int(topology.residue_ids[q[1 if name == "psi" else 2]]): q for q in quads[name]}
        for name in ("phi", "psi")
    }
    both = sorted(set(by_residue["phi"]) & set(by_residue["psi"]))
    if not both or len(np.unique(known.chain)) < 2:
        return {}
    angles = [
        np.stack([_angles(e.x, [by_residue[name][r] for r in both]) for name in ("phi", "psi")], -1)
        for e in (few, known)
    ]
    maps = ramachandran_distance(angles[0], angles[1], known.chain)
    features = [torsion_features(a.reshape(len(a), -1)) for a in angles]
    pca = fit_pca(features[1])
    overlap = map_overlap(pca.of(features[0]), pca.of(features[1]), known.chain, seed=seed)
    names = [f"{_name(topology, r)}{r + 1}" for r in both]
    return {
        "ramachandran": {
            name: [float(found), float(floor)]
            for name, found, floor in zip(names, maps.total_variation, maps.floor, strict=True)
        },
        "main_motions": {name: float(value) for name, value in overlap._asdict().items()},
    }


def _angles(x: np.ndarray, quads: list[np.ndarray]) -> np.ndarray:
    """Torsions ``(n, m)`` of frames ``(n, atoms, 3)``."""
    return np.asarray(torsions_of(jnp.asarray(x.reshape(len(x), -1).T), np.array(quads))).T


def _name(topology: Topology, residue: int) -> str:
    return topology.residue_names[topology.residue_ids.index(residue)]
