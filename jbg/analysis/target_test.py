"""Whether frames are of the target: of its force field and its temperature, from forces along its coordinates.

For frames of a density p(v) = exp(-u(v)) in coordinates v, and any smooth f that is periodic or small where p
ends,

    < df/dv_k - f du/dv_k > = 0

(integration by parts: the hypervirial theorem, or Stein's identity). With f = v_k - <v_k> of a variable on the
line it is equipartition: frames of the same force field at the temperature T' give T'/T - 1 in the mean over all
    k. With f
= cos m v_k, sin m v_k of an angle it compares the mean force along a torsion with the slope of the density of the
frames. It holds within every basin: states that have not exchanged do not matter. Frames in equilibrium under
another force field, solvent model or bias do not obey it. Pure functions of host arrays.

References: Rugh 1997, doi:10.1103/PhysRevLett.78.772; Gorham & Mackey 2015, arXiv:1506.03039.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

ORDERS = (1, 2, 3)  # of the waves on an angle
CHANCE = 1e-3  # of a false alarm, by all comparisons of one kind
# What integrators and constraints do to sound simulations stays below these: of the temperature, and in kT
SAME_TEMPERATURE, SAME_FORCE = 0.01, 0.05


class Deviations(NamedTuple):
    """Means of the identity that should be zero, with standard errors from independent chains."""

    names: tuple[str, ...]
    value: np.ndarray
    stderr: np.ndarray


def target_test(
    v: np.ndarray,
    force: np.ndarray,
    chain: np.ndarray,
    weight: np.ndarray,
    *,
    n_circular: int,
    labels: Sequence[str],
    temperature: float,
) -> dict[str, Any]:
    """What frames say of their temperature and of their forces.

    Args:
        v: frames in coordinates ``(n, dim)``, the circular ones first.
        force: -du/dv ``(n, dim)``, the volume of the coordinates included.
        chain: the chain, or block of time, of each frame ``(n,)``.
        weight: of each frame ``(n,)``.
        n_circular: number of circular coordinates.
        labels: of the coordinates.
        temperature: of the target, K.

    Returns:
        ``temperature`` of the frames in K and its ``temperature_stderr``; the coordinate whose mean force differs
        most clearly, ``coordinate``, by ``deviation`` +- ``deviation_stderr`` in kT (per standard deviation of f);
        and the ``reasons`` why they are not of the target, empty where nothing speaks against it.
    """
    share, at = weight / weight.mean(), _Chains(chain, weight)
    lines = v[:, n_circular:] - np.average(v[:, n_circular:], axis=0, weights=share)
    equal = 1.0 + lines * force[:, n_circular:]
    mean, error = at.mean(-equal.mean(axis=1, keepdims=True))
    warmer, stderr = float(mean[0]), float(error[0])
    found = {
        "temperature": temperature * (1 + warmer),
        "temperature_stderr": temperature * stderr,
    }
    reasons = []
    if abs(warmer) > SAME_TEMPERATURE + at.quantile(1) * stderr:
        reasons.append(
            f"bonds, angles and stiff torsions of the frames have {found['temperature']:.0f} +- "
            f"{found['temperature_stderr']:.0f} K, the target {temperature:g} K: choose --temperature as in their "
            "simulation"
        )
    worst = {"coordinate": None, "deviation": None, "deviation_stderr": None}
    clearest, others = 0.0, []
    of_lines = Deviations(tuple(labels[n_circular:]), *at.mean(equal + warmer))
    of_angles = _waves(v[:, :n_circular], force[:, :n_circular], share, labels, at, warmer)
    for kind in (of_lines, of_angles):
        if not len(kind.names):
            continue
        beyond = (np.abs(kind.value) - SAME_FORCE) / kind.stderr
        k = int(np.argmax(beyond))
        ratio = float(beyond[k] / at.quantile(len(kind.names)))
        if worst["coordinate"] is not None and ratio <= clearest:
            continue
        clearest, name = ratio, kind.names[k]
        value, error = float(kind.value[k]), float(kind.stderr[k])
        worst = {"coordinate": name, "deviation": value, "deviation_stderr": error}
        told = (
            f"the mean force along {name} is {abs(value):.2f} +- {error:.2f} kT from that of the target: the "
            "frames are of another force field, solvent model or protonation, or of a biased simulation without "
            "its weights"
        )
        others = [told] if ratio > 1 else []
    reasons += others
    return found | worst | {"reasons": reasons}


class _Chains:
    """Weighted means over frames, with errors as ratios of sums over chains."""

    def __init__(self, chain: np.ndarray, weight: np.ndarray):
        _, self.of = np.unique(chain, return_inverse=True)
        self.n = int(self.of.max()) + 1
        self.weight = weight
        self.total = np.bincount(self.of, weight, self.n)

    def mean(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means of ``values (n, m)`` and their standard errors, ``(m,)`` each."""
        sums = np.stack(
            [np.bincount(self.of, self.weight * column, self.n) for column in values.T], axis=1
        )
        mean = sums.sum(axis=0) / self.total.sum()
        rest = sums - mean * self.total[:, None]
        squares = np.sum(rest**2, axis=0) * self.n / max(self.n - 1, 1)
        return mean, np.maximum(np.sqrt(squares) / self.total.sum(), 1e-12)

    def quantile(self, n_compared: int) -> float:
        """Errors that a mean is off by with half of CHANCE on either side, by any of so many comparisons."""
        return float(stats.t.ppf(1 - CHANCE / 2 / n_compared, max(self.n - 1, 1)))


def _waves(
    angles: np.ndarray,
    force: np.ndarray,
    share: np.ndarray,
    labels: Sequence[str],
    at: _Chains,
    warmer: float,
) -> Deviations:
    """The identity for waves on every angle, over the standard deviation of the wave.

    Args:
        angles: ``(n, m)``. force: along them.
        share: of each frame, of mean 1.
        labels: of the angles.
        at: means over chains.
        warmer: the frames' temperature over the target's, less 1: slopes grow with it.
    """
    names, columns = [], []
    for k in range(angles.shape[1]):
        for m in ORDERS:
            cos, sin = np.cos(m * angles[:, k]), np.sin(m * angles[:, k])
            for wave, slope in ((cos, -m * sin), (sin, m * cos)):
                off = wave - np.average(wave, weights=share)
                spread = np.sqrt(np.average(off**2, weights=share))
                columns.append(((1 + warmer) * slope + off * force[:, k]) / max(spread, 1e-3))
                names.append(labels[k])
    if not columns:
        return Deviations((), np.zeros(0), np.zeros(0))
    return Deviations(tuple(names), *at.mean(np.stack(columns, axis=1)))
