"""The two slowest motions of a protein's torsions, as a plane of collective variables to train along.

Noe et al. 2019 spread BPTI over its first two time-lagged independent components, of cosines and sines of the
backbone torsions and of chi1 of the cysteines in the disulfide that flips, from a millisecond of dynamics. Here
they are fitted to the run's own chains that training learns from (`analysis.fit_tica`, the symmetrised estimator):
motions that those chains never made are in no component.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jbg.analysis import fit_tica, torsion_features
from jbg.coords import backbone_torsions, disulfides, torsions_of
from jbg.coords.torsions import along, linear
from jbg.interfaces import CollectivePlane, ConfigError, Topology

MOST = 100_000  # frames that are fitted, evenly spaced in time, as many as in the paper
PIECE = 4096  # frames at once
LAG = 0.1  # of a chain's length
ENDS = 0.005  # share of the frames that quantiles leave out at either end
MARGIN = 0.1  # by which bounds lie beyond those quantiles, of the distance between them


class SlowPlane(NamedTuple):
    """All that defines the plane, as plain arrays (``np.savez(file, **fit._asdict())``).

    r = components^T ([cos, sin](torsions) - mean), of variance 1 on the pairs of frames of the fit.
    """

    quads: np.ndarray  # (m, 4) atoms of the torsions
    mean: np.ndarray  # (2m,) of all cosines, then all sines
    components: np.ndarray  # (2m, 2)
    values: np.ndarray  # (2,) autocorrelations after the lag, the slowest first
    bounds: np.ndarray  # (2, 2) low and high of each
    lag: np.ndarray  # () in frames of the data


def slow_torsions(topology: Topology) -> np.ndarray:
    """Atoms ``(m, 4)`` of phi and psi of every residue, then of chi1 (N, CA, CB, SG) of every bridged cysteine."""
    backbone = backbone_torsions(topology)
    bridged = {topology.residue_ids[i] for bond in disulfides(topology) for i in bond}
    names = zip(topology.residue_ids, topology.atom_names, strict=True)
    atoms = {key: i for i, key in enumerate(names)}
    chi1 = [
        [atoms[residue, name] for name in ("N", "CA", "CB", "SG")] for residue in sorted(bridged)
    ]
    return np.concatenate([backbone["phi"], backbone["psi"], np.reshape(chi1, (-1, 4)).astype(int)])


def fit_slow_plane(topology: Topology, x: np.ndarray, chain: np.ndarray) -> SlowPlane:
    """The first two time-lagged independent components of frames, in float64, and bounds around the frames.

    The lag is a tenth of a chain. The bounds lie a tenth of their distance beyond the quantiles 0.5 % and 99.5 %.

    Args:
        topology: of the molecule.
        x: ``(n, 3 atoms)``, nm, in order of time within each chain, evenly spaced.
        chain: label of each frame's chain ``(n,)``, all of one length.

    Raises:
        ConfigError: fewer than two directions in which torsions vary, or chains too short for a lag.
    """
    quads = slow_torsions(topology)
    if not len(quads):
        raise ConfigError(
            "slow motions: expected torsions phi or psi to train along, this molecule has none: train without "
            "ReactionCoordinate"
        )
    labels, place, counts = np.unique(chain, return_inverse=True, return_counts=True)
    every = -(-len(x) // MOST)
    rows = np.concatenate([np.flatnonzero(place == k)[::every] for k in range(len(labels))])
    features = torsion_features(_torsions(quads, x[rows]))
    lag = max(1, round(LAG * counts.min() / every))
    found = fit_tica(features, chain[rows], lag)
    low, high = np.quantile(found.of(features), (ENDS, 1 - ENDS), axis=0)
    margin = MARGIN * (high - low)
    return SlowPlane(
        quads=quads,
        mean=found.mean,
        components=found.components,
        values=found.values,
        bounds=np.stack([low - margin, high + margin], axis=1),
        lag=np.array(lag * every),
    )


def slow_plane(fit: SlowPlane) -> CollectivePlane:
    """The two components of configurations ``(3 atoms, *batch)``, with gradients by these."""
    to_plane = np.ascontiguousarray(fit.components.T)

    def of(x: Array) -> Array:
        angles = torsions_of(x, fit.quads)
        features = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)])
        return linear(to_plane, features - along(fit.mean, features))

    first, second = ((float(low), float(high)) for low, high in fit.bounds)
    return CollectivePlane(names=("TIC 1", "TIC 2"), of=of, bounds=(first, second))


def _torsions(quads: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Torsions ``(n, m)`` of frames ``(n, 3 atoms)``, in pieces."""
    of = jax.jit(lambda x: torsions_of(x, quads))
    pieces = np.array_split(x, -(-len(x) // PIECE))
    return np.concatenate([np.asarray(of(jnp.asarray(piece.T, jnp.float32))).T for piece in pieces])
