"""How much of a trajectory reduced coordinates keep: dimensions, RMSD and energies of rebuilt frames."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jbg.analysis import superposed
from jbg.analysis.leave_one_out import chain_labels, jackknife_error
from jbg.coords import ReducedCoordinates, backbone_atoms
from jbg.interfaces import Topology
from jbg.units import kt_in_kcal

CLASH = 100.0  # kcal/mol above the frame itself
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def rebuild_report(
    coords: ReducedCoordinates,
    topology: Topology,
    frames: np.ndarray,
    energies: Callable[[np.ndarray], np.ndarray],
    *,
    chain: np.ndarray,
    temperature: float,
) -> dict[str, Any]:
    """Numbers of frames with the fixed coordinates at their means, against the frames themselves.

    Exchangeable atoms of both are labelled alike, so that a methyl that turned by 120 degrees is no difference.

    Args:
        coords: reduced coordinates, fitted to other frames.
        topology: of the molecule.
        frames: ``(n, atoms, 3)``, nm.
        energies: frames ``(n, 3 * atoms)`` -> reduced energies ``(n,)``.
        chain: of each frame ``(n,)``; errors are between chains.
        temperature: K, of the reduced energies.

    Returns:
        ``kept`` and ``all`` coordinates, ``circular``, RMSD in Angstrom of backbone, heavy and all atoms (mean and
        standard error), energy rebuilt minus original in kcal/mol by quantiles, and the share above CLASH.
    """
    rebuilt, folded = coords.rebuild(frames), coords.fold(frames)
    heavy = np.array([element != "H" for element in topology.elements])
    groups = {
        "backbone": np.array(sorted(backbone_atoms(topology)), int),
        "heavy": np.flatnonzero(heavy),
        "all": np.arange(topology.n_atoms),
    }
    flat = lambda x: np.asarray(x, np.float32).reshape(len(x), -1)
    change = (energies(flat(rebuilt)) - energies(flat(folded))) * kt_in_kcal(temperature)
    change = np.where(np.isfinite(change), change, np.inf)
    label, clashing = chain_labels(chain, len(frames)), (change > CLASH).astype(float)
    error = lambda values: float(jackknife_error(lambda keep: values[keep].mean(), label))
    away = {name: _rmsd(rebuilt[:, at], folded[:, at]) for name, at in groups.items()}
    return {
        "frames": len(frames),
        "kept": coords.bijector.dim_in,
        "all": 3 * topology.n_atoms - 6,
        "circular": coords.n_circular,
        "rmsd": {name: [float(each.mean()), error(each)] for name, each in away.items()},
        "energy_quantiles": [
            float(q) if np.isfinite(q) else None for q in np.quantile(change, QUANTILES)
        ],
        "clashing": float(clashing.mean()),
        "clashing_stderr": error(clashing),
    }


def _rmsd(moved: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """RMSD of each frame, superposed on its own original, Angstrom ``(n,)``."""
    pairs = zip(moved, fixed, strict=True)
    off = (superposed(a[None], b)[0] - (b - b.mean(0)) for a, b in pairs)
    return 10 * np.array([np.sqrt(np.mean(np.sum(each**2, -1))) for each in off])
