"""Configurations without dynamics: soft torsions anywhere, the rest relaxed and vibrating harmonically.

Where a simulation would start to learn what a molecule looks like, its force field already tells: bonds, angles
and torsions with high barriers stay near the values that minimise the energy, with covariance kT / H for a
Hessian H; torsions with low barriers go all the way round. Frames drawn so have no Boltzmann weight of their
own. They are what coordinates are fitted to (`coords.fit_coordinates`) when nothing was simulated, and a flow
that is the identity in these coordinates starts a few kT from its target everywhere.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jbg.coords import ZMatrix, internal
from jbg.coords.torsions import TorsionCells, sibling_leads, torsion_variables
from jbg.interfaces import ConfigError
from jbg.simulation.torsion_rotation import RotatableBond
from jbg.units import K_B

CLIMB = 50.0  # kJ/mol that a soft torsion may climb: at 300 K a matter of a tenth of a millisecond
SCAN, BACKGROUNDS = 24, 8  # angles of a scan, and conformations that it is made in
ITERATIONS, STEP = 60, 0.3  # of the relaxation: damped Newton steps with the Hessian of the minimum
LONGEST = 0.5  # of a step, per degree of freedom, in standard deviations of the vibration
SOFTEST = 1.0  # kJ/mol/rad^2, the least curvature that is believed
KEEP = 30.0  # kT above the lowest relaxed energy, up to which a frame is kept; never less than half of them
TURNED = 0.5 * np.pi  # rad from the minimum: a torsion that is not soft was pushed over its barrier
PIECE = SCAN * BACKGROUNDS  # configurations at once, bounds memory
CROWDED = (
    "data none: no conformation with a finite energy at random torsions; the molecule is too crowded, use "
    "simulated data"
)
TURNED_OVER = "data none: at random torsions other torsions turn over too; use simulated data"
LENGTH_STEP, ANGLE_STEP = 1e-4, 1e-3  # nm and rad, of the finite differences


class HarmonicFrames(NamedTuple):
    """``frames (n, atoms, 3)`` nm with their potential ``energies (n,)`` in kJ/mol, and what they cost."""

    frames: np.ndarray
    energies: np.ndarray
    evaluations: int


def harmonic_frames(
    potential: Callable[[Array], Array],
    zmatrix: ZMatrix,
    minimum: np.ndarray,
    bonds: Sequence[RotatableBond],
    *,
    temperature: float,
    n: int,
    seed: int,
) -> HarmonicFrames:
    """Up to n frames: soft torsions uniform, the other coordinates relaxed, with harmonic noise at a temperature.

    Among the torsions about ``bonds``, those are soft that get round more than half of their circle in a relaxed
    scan without climbing CLIMB, in the minimum or in one of some random conformations that are not strained
    (somewhere in the scan their energy is within CLIMB of the minimum's). Frames of high relaxed
    energy are left out, of a crowded molecule as many as half; and those whose relaxation turned another torsion
    over, such as a peptide bond to cis: what is not soft stays where the minimum has it.

    Args:
        potential: ``(3N, *batch)`` nm -> ``(*batch,)`` kJ/mol with a gradient, such as `compiled_potential`'s.
        zmatrix: from `build_zmatrix`.
        minimum: ``(N, 3)`` nm, energy-minimised.
        bonds: from `rotatable_bonds`.
        temperature: K.
        n: frames drawn.
        seed: of the random numbers.

    Raises:
        ConfigError: no frame, or none that stayed on its side of the stiff torsions, has a finite energy.
    """
    rng, kt = np.random.default_rng(seed), K_B * temperature
    model = _Vibrations(potential, zmatrix, np.asarray(minimum, float), kt)
    soft = model.soft(_turning(zmatrix, bonds), rng)
    s = np.repeat(model.minimum[:, None], n, axis=1)
    s[soft] = rng.uniform(-np.pi, np.pi, (len(soft), n))
    s = model.relax(s, soft)
    relaxed = model.evaluate(s).energy
    stayed = model.stayed(s, soft) & np.isfinite(relaxed)
    if not stayed.any():
        raise ConfigError(TURNED_OVER if np.isfinite(relaxed).any() else CROWDED)
    s, relaxed = s[:, stayed], relaxed[stayed]
    limit = max(relaxed.min() + KEEP * kt, np.median(relaxed))
    s = model.vibrate(s[:, relaxed <= limit], soft, rng)
    found = model.evaluate(s)
    usable = model.stayed(s, soft) & np.isfinite(found.energy)
    if not usable.any():
        raise ConfigError(CROWDED)
    frames = found.x.T.reshape(len(usable), -1, 3)[usable]
    return HarmonicFrames(frames, found.energy[usable], model.evaluations)


def harmonic_evaluations(n: int) -> int:
    """Least number of energies that n harmonic frames cost; each rotatable bond adds PIECE (ITERATIONS + 1)."""
    return n * (ITERATIONS + 2)


def _turning(zmatrix: ZMatrix, bonds: Sequence[RotatableBond]) -> list[int]:
    """Places, among bonds, angles and torsions, of the lead torsion about each rotatable bond."""
    axes = {frozenset(bond.axis) for bond in bonds}
    rows = zip(zmatrix.bond[3:].tolist(), zmatrix.angle[3:].tolist(), strict=True)
    leads = sibling_leads(zmatrix)
    start = 2 * zmatrix.n_atoms - 3
    return [start + t for t, pair in enumerate(rows) if leads[t] == t and frozenset(pair) in axes]


class _Evaluated(NamedTuple):
    """Positions ``(3N, n)``, energies ``(n,)`` and their gradient ``(dim, n)``."""

    x: np.ndarray
    energy: np.ndarray
    gradient: np.ndarray


class _Vibrations:
    """The molecule about its minimum, in bonds, angles, lead torsions and offsets of their siblings.

    Everything is computed PIECE configurations at a time, so that two programs are compiled in all.
    """

    def __init__(self, potential, zmatrix: ZMatrix, minimum: np.ndarray, kt: float):
        self.kt, self.evaluations, self.n_atoms = kt, 0, zmatrix.n_atoms
        n_torsions = zmatrix.n_atoms - 3
        whole_circles = TorsionCells(np.zeros(n_torsions), np.full(n_torsions, np.pi))
        variables, bent = torsion_variables(zmatrix, (), whole_circles), internal(zmatrix)

        def evaluate(s: Array) -> tuple[Array, Array, Array]:
            place = lambda s: bent.forward((), variables.forward((), s)[0])[0]
            x, pull_x = jax.vjp(place, s)
            u, pull_u = jax.vjp(potential, x)
            return x, u, pull_x(pull_u(jnp.ones_like(u))[0])[0]

        self._evaluate = jax.jit(evaluate)
        self._relax = jax.jit(functools.partial(_descend, lambda s: evaluate(s)[2]))
        x = jnp.asarray(minimum.reshape(-1, 1), jnp.float32)
        self.minimum = np.asarray(variables.inverse((), bent.inverse((), x)[0])[0][:, 0], float)
        self.hessian = self._hessian()

    def _hessian(self) -> np.ndarray:
        dim = len(self.minimum)
        h = np.where(np.arange(dim) < self.n_atoms - 1, LENGTH_STEP, ANGLE_STEP)
        steps = np.concatenate([np.diag(h), -np.diag(h)], axis=1)
        g = self.evaluate(self.minimum[:, None] + steps).gradient
        hessian = (g[:, :dim] - g[:, dim:]) / (2 * h)
        return 0.5 * (hessian + hessian.T)

    def _modes(self, held: Sequence[int]) -> np.ndarray:
        """Columns: displacements by one standard deviation of each vibration, some coordinates held."""
        free = np.setdiff1d(np.arange(len(self.minimum)), held)
        curvature, modes = np.linalg.eigh(self.hessian[np.ix_(free, free)])
        columns = np.zeros((len(self.minimum), len(free)))
        columns[free] = modes * np.sqrt(self.kt / np.maximum(curvature, SOFTEST))
        return columns

    def evaluate(self, s: np.ndarray) -> _Evaluated:
        self.evaluations += s.shape[1]
        return _Evaluated(*_in_pieces(self._evaluate, s))

    def relax(self, s: np.ndarray, held: Sequence[int]) -> np.ndarray:
        """``(dim, n)`` towards lower energy, with the coordinates ``held`` where they are."""
        self.evaluations += ITERATIONS * s.shape[1]
        modes = np.zeros(self.hessian.shape, np.float32)
        modes[:, : len(modes) - len(held)] = self._modes(held)
        return _in_pieces(lambda s: self._relax(s, modes, self.kt), s)

    def vibrate(self, s: np.ndarray, soft: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        modes = self._modes(soft)
        return s + modes @ rng.normal(size=(modes.shape[1], s.shape[1]))

    def stayed(self, s: np.ndarray, soft: Sequence[int]) -> np.ndarray:
        """Which of ``(dim, n)`` have every torsion that is not soft on the side where the minimum has it."""
        stiff = np.setdiff1d(np.arange(2 * self.n_atoms - 3, len(s)), soft)
        offset = s[stiff] - self.minimum[stiff, None]
        return np.all(np.abs(np.angle(np.exp(1j * offset))) < TURNED, axis=0)

    def soft(self, turning: list[int], rng: np.random.Generator) -> list[int]:
        """Those torsions that get round more than half of their circle, in some conformation of ``turning``."""
        return [torsion for torsion in turning if self._reach(torsion, turning, rng) > 0.5]

    def _reach(self, torsion: int, turning: list[int], rng: np.random.Generator) -> float:
        s = np.tile(self.minimum[:, None, None], (1, BACKGROUNDS, SCAN))
        anywhere = rng.uniform(-np.pi, np.pi, (len(turning), BACKGROUNDS - 1, 1))
        s[turning, 1:] = anywhere  # the first conformation is the minimum itself
        s[torsion] = np.linspace(-np.pi, np.pi, SCAN, endpoint=False)
        u = self.evaluate(self.relax(s.reshape(len(s), -1), [torsion])).energy
        scans = u.reshape(BACKGROUNDS, SCAN)
        lowest = np.nanmin(scans[0])
        return max(_reached(scan) for scan in scans if not np.nanmin(scan) > lowest + CLIMB)


def _in_pieces(run: Callable, s: np.ndarray) -> Any:
    """``run`` on ``(dim, n)``, PIECE columns at a time, the last piece filled up; float64 on the host."""
    n = s.shape[1]
    pieces = [s[:, np.minimum(np.arange(i, i + PIECE), n - 1)] for i in range(0, n, PIECE)]
    parts = [run(jnp.asarray(piece, jnp.float32)) for piece in pieces]
    join = lambda *parts: np.concatenate([np.asarray(p, float) for p in parts], axis=-1)[..., :n]
    return jax.tree.map(join, *parts)


def _reached(u: np.ndarray) -> float:
    """Share of the circular scan ``u`` connected to its lowest place below CLIMB."""
    u = np.where(np.isfinite(u), u, np.inf)
    if not np.isfinite(u.min()):
        return 0.0
    below = np.roll(u - u.min() < CLIMB, -int(np.argmin(u)))
    if below.all():
        return 1.0
    return float(np.argmin(below) + np.argmin(below[::-1])) / len(u)


def _descend(gradient: Callable, s: Array, modes: Array, kt: float) -> Array:
    """Damped Newton steps along ``modes``, each at most LONGEST standard deviations per degree of freedom."""
    longest = LONGEST * jnp.sqrt(jnp.count_nonzero(modes.any(0)).astype(s.dtype))

    def step(_, s):
        g = gradient(s)
        along = modes.T @ jnp.where(jnp.isfinite(g), g, 0.0) / kt
        length = STEP * jnp.linalg.norm(along, axis=0)
        scale = jnp.minimum(1.0, longest / jnp.maximum(length, 1e-6))
        return s - STEP * modes @ (along * scale[None])

    return jax.lax.fori_loop(0, ITERATIONS, step, s)
