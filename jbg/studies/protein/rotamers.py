"""Rotamers that samples of a protein lost: every torsion about a bond that turns, against all chains of a density.

The torsions are those of the coordinates, exchangeable atoms in one labelling: circles, and also those cut where
frames leave an arc of 100 degrees empty, which two or three rotamers may share. Angles and out-of-plane torsions
have one minimum and are left out.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jbg.analysis import lost_rotamers
from jbg.coords import ReducedCoordinates
from jbg.coords.reduced_set import KINDS
from jbg.coords.whitening import whitening
from jbg.studies.evidence import Evidence
from jbg.studies.molecule.stored import load_molecule
from jbg.studies.problem import to_v
from jbg.studies.protein.data_plan import MixedPlan
from jbg.studies.protein.files import DYNAMICS
from jbg.studies.protein.mixed_source import load_mixed
from jbg.studies.protein.source import load_coordinates
from jbg.studies.protein.structure import rows_of_chains

TURNING = ("phi", "psi", "omega", "side-chain torsion", "hydrogen rotor", "ring torsion")
MOST = 40_000  # frames of either side
SMALL = 0.01  # of the reference; smaller losses are not named
MOST_NAMED = 12


def rotamers(evidence: Evidence) -> dict[str, dict[str, Any] | None]:
    """What the samples lost of the slice, and of the dynamics (`of_samples`).

    All chains in the region of the target are compared, those that training learnt from included: the few that
    are set aside may agree by chance, and a rotamer that training knew and the samples lack is lost all the more.
    """
    run, region, data = evidence.run, evidence.problem.region, evidence.dataset
    if isinstance(evidence.plan.data, MixedPlan):
        return {"dynamics": _of_all_atoms(evidence)}
    coords = load_coordinates(run, load_molecule(run), evidence.plan.options.learnt)
    names, samples = turning(coords, np.asarray(evidence.own.samples.positions)[:MOST])
    kept = run.load_arrays(DYNAMICS)["x"]
    md = kept.reshape(-1, kept.shape[-1])
    references = {
        "slice": (data.x, data.chain, lambda x: x),
        "dynamics": (
            md,
            np.repeat(np.arange(len(kept)), kept.shape[1]),
            lambda x: coords.rebuild(x.reshape(len(x), -1, 3)).reshape(x.shape),
        ),
    }
    found = {}
    for name, (x, chain, onto_slice) in references.items():
        rows = rows_of_chains(chain, MOST)
        x, chain = onto_slice(x[rows]), chain[rows]
        inside = np.ones(len(x), bool) if region is None else region(x)
        found[name] = of_samples(names, samples, turning(coords, x[inside])[1], chain[inside])
    return found


def _of_all_atoms(evidence: Evidence) -> dict[str, Any] | None:
    """With mixed coordinates: of the torsions that are circles; those of the Cartesian atoms are none."""
    problem, data = evidence.problem, evidence.dataset
    coords = load_mixed(evidence.run, load_molecule(evidence.run))
    rows = rows_of_chains(data.chain, MOST)
    x, chain = data.x[rows], data.chain[rows]
    inside = np.ones(len(x), bool) if problem.region is None else problem.region(x)
    frames = (np.asarray(evidence.own.samples.positions)[:MOST], x[inside])
    samples, known = (to_v(problem.coords, each)[0][:, : coords.n_circular] for each in frames)
    return of_samples(coords.labels[: coords.n_circular], samples, known, chain[inside])


def turning(coords: ReducedCoordinates, x: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the torsions about bonds that turn, and their values in configurations ``(n, dim)``: ``(n, m)``,
    radians from the middle of their cells."""
    turns = np.flatnonzero(np.isin(coords.fit.kind, [KINDS.index(name) for name in TURNING]))
    v, _ = to_v(coords.bijector, x)
    values, _ = whitening(coords.fit.whitening).forward((), jnp.asarray(v.T))
    return tuple(coords.labels[i] for i in turns), np.asarray(jax.device_get(values))[turns].T


def of_samples(
    names: tuple[str, ...], samples: np.ndarray, known: np.ndarray, chain: np.ndarray
) -> dict[str, Any] | None:
    """`analysis.lost_rotamers` for results: torsions that lost more than 1 % of the reference, the worst first.

    Args:
        names: of the torsions ``(m,)``.
        samples: independent ones ``(n, m)``, radians.
        known: simulated frames ``(k, m)``.
        chain: label of each of these ``(k,)``.

    Returns:
        ``torsions`` by name, those ``lost`` before all others; ``n_lost`` of ``n_torsions``, and the number of
        ``chains``. None where fewer than two chains are left to compare, or no sample is finite.
    """
    n_chains = len(np.unique(chain[np.isfinite(known).all(1)]))
    if n_chains < 2 or not np.isfinite(samples).all(1).any():
        return None
    found = lost_rotamers(samples, known, chain)
    order = np.lexsort((-found.share, ~found.lost))
    named = [i for i in order if found.lost[i] or found.share[i] > SMALL]
    return {
        "torsions": {
            names[i]: {
                "share": float(found.share[i]),
                "floor": float(found.floor[i]),
                "chains": int(found.chains[i]),
                "lost": bool(found.lost[i]),
            }
            for i in named[:MOST_NAMED]
        },
        "n_lost": int(found.lost.sum()),
        "n_torsions": len(names),
        "chains": n_chains,
    }
