"""The structural numbers of an ensemble of a protein beside a reference of the same density, and what data show
against data of other chains."""

from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from jbg.analysis import (
    distance_distortion,
    distortion_floor,
    energy_quantiles,
    energy_shares,
    gaussian_w2,
    rmsd,
    rmsf,
    wasserstein_floor,
)
from jbg.analysis.distances import frame_distances
from jbg.coords import backbone_atoms
from jbg.interfaces import Topology

BATCH = 256  # frames of each side for the Wasserstein distance
MOST = 2000  # frames that structures are compared with
MOST_DRAWN = 20_000  # energies that figures keep
NM_TO_ANGSTROM = 10.0


class Ensemble(NamedTuple):
    """Frames ``(n, atoms, 3)`` nm with reduced energies and chain labels ``(n,)``, and the density that they
    sample."""

    name: str
    density: str
    x: np.ndarray
    u: np.ndarray
    chain: np.ndarray

    def thinned(self, n: int) -> "Ensemble":
        """About n frames, as many of each chain, evenly in time."""
        rows = rows_of_chains(self.chain, n)
        return self._replace(x=self.x[rows], u=self.u[rows], chain=self.chain[rows])


def compared(
    generated: Ensemble, reference: Ensemble, topology: Topology, start: np.ndarray, *, seed: int
) -> dict[str, Any]:
    """The numbers of one row: distortion, W2, RMSF, RMSD to the start, energies, each beside its floor.

    Lengths are in Angstrom and energies in kT; ``reference`` names the density that the row is measured against.

    Args:
        generated: independent frames.
        reference: frames of chains.
        topology: of the molecule.
        start: the structure given ``(atoms, 3)``, nm.
        seed: of shuffles and splits.
    """
    backbone = np.array(sorted(backbone_atoms(topology)), int)
    alpha = np.flatnonzero(np.array(topology.atom_names) == "CA")
    few, known = generated.thinned(MOST), reference.thinned(MOST)
    distortion = distance_distortion(few.x, known.x, backbone, seed=seed)
    floor = distortion_floor(known.x, backbone, known.chain, seed=seed)
    own, theirs = (rmsf(e.x[:, alpha], chain=c) for e, c in ((few, None), (known, known.chain)))
    # one batch size for both: half of the chains is what the floor compares
    counts = np.bincount(np.unique(known.chain, return_inverse=True)[1])
    batch = min(BATCH, int(np.sort(counts)[: len(counts) // 2].sum()), len(few.x))
    rng = np.random.default_rng(seed)
    some = (e.x[rng.permutation(len(e.x))[:batch]] for e in (few, known))
    w2 = gaussian_w2(*(frame_distances(x, backbone) for x in some))
    w2_floor = wasserstein_floor(known.x, backbone, batch, chain=known.chain)
    away = [rmsd(e.x[:, backbone], start[backbone]) * NM_TO_ANGSTROM for e in (few, known)]
    return {
        "reference": reference.density,
        "frames": [len(generated.x), len(reference.x)],
        "chains": len(counts),
        "w2_batch": batch,
        "distortion": _distortion(distortion),
        "distortion_floor": _distortion(floor),
        "w2": w2 * NM_TO_ANGSTROM**2,
        "w2_floor": w2_floor.mean * NM_TO_ANGSTROM**2,
        "rmsf_difference": float(np.abs(own.rmsf - theirs.rmsf).mean() * NM_TO_ANGSTROM),
        "rmsf_stderr": float(theirs.stderr.mean() * NM_TO_ANGSTROM),
        "rmsd_to_start": [[float(q) for q in np.quantile(a, (0.05, 0.5, 0.95))] for a in away],
        "energies": energies(generated, reference),
        "reference_energies": energies(reference, reference),
    }


def energies(ensemble: Ensemble, reference: Ensemble) -> dict[str, Any]:
    """Quantiles in kT, the statistic below the median, and shares that clash, by the 97.5 % quantile of the
    reference."""
    label = None if ensemble.name == "generated" else ensemble.chain
    found = energy_quantiles(ensemble.u, chain=label)
    shares = energy_shares(ensemble.u, reference.u, chain=label)
    return {
        "quantiles": [_finite(q) for q in found.quantiles],
        "quantiles_stderr": [_finite(q) for q in found.quantiles_stderr],
        "below_median": [_finite(found.lower_mean), _finite(found.lower_std)],
        "clashing": shares.clashing,
        "clashing_stderr": shares.clashing_stderr,
        "usual": shares.usual,
        "non_finite": found.n_non_finite,
    }


def arrays_of(
    generated: Ensemble, reference: Ensemble, topology: Topology
) -> dict[str, np.ndarray]:
    """What the figures draw: RMSF by residue, mean distances of CA atoms, energies."""
    alpha = np.flatnonzero(np.array(topology.atom_names) == "CA")
    few, known = generated.thinned(MOST), reference.thinned(MOST)
    own, theirs = (rmsf(e.x[:, alpha], chain=c) for e, c in ((few, None), (known, known.chain)))
    ids = np.asarray(topology.residue_ids)[alpha] + 1
    return {
        "rmsf_residue": ids,
        "rmsf_generated": own.rmsf * NM_TO_ANGSTROM,
        "rmsf_reference": theirs.rmsf * NM_TO_ANGSTROM,
        "rmsf_reference_half": theirs.stderr
        * NM_TO_ANGSTROM
        * student(len(np.unique(known.chain))),
        "distances_generated": _mean_distances(few.x[:, alpha]) * NM_TO_ANGSTROM,
        "distances_reference": _mean_distances(known.x[:, alpha]) * NM_TO_ANGSTROM,
        "u_structure_generated": generated.thinned(MOST_DRAWN).u,
        "u_structure_reference": reference.thinned(MOST_DRAWN).u,
    }


def student(n: int) -> float:
    """Half of a 95 % interval over the standard error of a mean of n chains; NaN of one."""
    return float(stats.t.ppf(0.975, n - 1)) if n > 1 else float("nan")


def rows_of_chains(chain: np.ndarray, n: int) -> np.ndarray:
    """About n of the frames whose chains are labelled ``(k,)``, as many of each chain, evenly in time."""
    chains = np.unique(chain)
    each = max(1, n // len(chains))
    return np.concatenate([_evenly(np.flatnonzero(chain == c), each) for c in chains])


def _evenly(rows: np.ndarray, n: int) -> np.ndarray:
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(n, len(rows))).astype(int))]


def _mean_distances(x: np.ndarray) -> np.ndarray:
    """Mean distance of each pair of atoms over frames ``(n, atoms, 3)``."""
    total = np.zeros((x.shape[1], x.shape[1]))
    for frame in x:
        total += np.linalg.norm(frame[:, None] - frame[None], axis=-1)
    return total / len(x)


def _distortion(found: Any) -> dict[str, float | None]:
    scaled = {
        name: _finite(getattr(found, name) * NM_TO_ANGSTROM)
        for name in ("printed", "printed_std", "excess", "excess_std", "of_means", "of_means_std")
    }
    return scaled | {"batch": found.batch, "batches": found.n_batches}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
