"""Configurations without dynamics: soft torsions anywhere, the rest relaxed and vibrating harmonically.

Where a simulation would start to learn what a molecule looks like, its force field already tells: bonds, angles
and torsions with high barriers stay near the values that minimise the energy, with covariance kT / H for a
Hessian H; torsions with low barriers go all the way round. Frames drawn so have no Boltzmann weight of their
own. They are what coordinates are fitted to (`coords.fit_coordinates`) when nothing was simulated, and a flow
that is the identity in these coordinates starts a few kT from its target everywhere.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jbg.coords import ZMatrix, internal
from jbg.coords.torsions import TorsionCells, sibling_leads, torsion_variables
from jbg.sampling.torsion_rotation import RotatableBond
from jbg.units import K_B

CLIMB = 50.0  # kJ/mol that a soft torsion may climb: at 300 K a matter of a tenth of a millisecond
SCAN, BACKGROUNDS = 24, 4  # angles of a scan, and conformations that it is made in
ITERATIONS, STEP = 60, 0.3  # of the relaxation: damped Newton steps with the Hessian of the minimum
LONGEST = 0.5  # of a step, per degree of freedom, in standard deviations of the vibration
SOFTEST = 1.0  # kJ/mol/rad^2, the least curvature that is believed
KEEP = 30.0  # kT above the lowest relaxed energy, up to which a frame is kept; never less than half of them
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
    scan without climbing CLIMB, in the minimum or in one of some random conformations. Frames of high relaxed
    energy are left out, of a crowded molecule as many as half.

    Args:
        potential: ``(3N, *batch)`` nm -> ``(*batch,)`` kJ/mol with a gradient, such as `compiled_potential`'s.
        zmatrix: from `build_zmatrix`.
        minimum: ``(N, 3)`` nm, energy-minimised.
        bonds: from `rotatable_bonds`.
        temperature: K.
        n: frames drawn.
        seed: of the random numbers.
    """
    rng, kt = np.random.default_rng(seed), K_B * temperature
    model = _Vibrations(potential, zmatrix, np.asarray(minimum, float), kt)
    turning = _turning(zmatrix, bonds)
    soft = [t for t in turning if model.reach(t, turning, rng) > 0.5]
    s = np.repeat(model.minimum[:, None], n, axis=1)
    s[soft] = rng.uniform(-np.pi, np.pi, (len(soft), n))
    s = model.relax(s, soft)
    relaxed = model.energy(s)
    relaxed = np.where(np.isfinite(relaxed), relaxed, np.inf)
    limit = max(relaxed.min() + KEEP * kt, np.median(relaxed))
    s = model.vibrate(s[:, relaxed <= limit], soft, rng)
    energies = model.energy(s)
    usable = np.isfinite(energies)
    frames = model.positions(s[:, usable])
    return HarmonicFrames(frames, energies[usable], model.evaluations)


def _turning(zmatrix: ZMatrix, bonds: Sequence[RotatableBond]) -> list[int]:
    """Places, among bonds, angles and torsions, of the lead torsion about each rotatable bond."""
    axes = {frozenset(bond.axis) for bond in bonds}
    rows = zip(zmatrix.bond[3:].tolist(), zmatrix.angle[3:].tolist(), strict=True)
    leads = sibling_leads(zmatrix)
    start = 2 * zmatrix.n_atoms - 3
    return [start + t for t, pair in enumerate(rows) if leads[t] == t and frozenset(pair) in axes]


class _Vibrations:
    """The molecule about its minimum, in bonds, angles, lead torsions and offsets of their siblings."""

    def __init__(self, potential, zmatrix: ZMatrix, minimum: np.ndarray, kt: float):
        self.kt, self.evaluations, self.n_atoms = kt, 0, zmatrix.n_atoms
        n_torsions = zmatrix.n_atoms - 3
        whole_circles = TorsionCells(np.zeros(n_torsions), np.full(n_torsions, np.pi))
        variables, bent = torsion_variables(zmatrix, (), whole_circles), internal(zmatrix)

        def place(s: Array) -> Array:
            return bent.forward((), variables.forward((), s)[0])[0]

        def energy_and_gradient(s: Array) -> tuple[Array, Array]:
            u, pull_back = jax.vjp(lambda s: potential(place(s)), s)
            return u, pull_back(jnp.ones_like(u))[0]

        self._place = jax.jit(place)
        self._energy = jax.jit(lambda s: potential(place(s)))
        self._gradient = jax.jit(lambda s: energy_and_gradient(s)[1])
        self._relax = jax.jit(functools.partial(_descend, energy_and_gradient))
        x = jnp.asarray(minimum.reshape(-1, 1), jnp.float32)
        self.minimum = np.asarray(variables.inverse((), bent.inverse((), x)[0])[0][:, 0], float)
        self.hessian = self._hessian()

    def _hessian(self) -> np.ndarray:
        dim = len(self.minimum)
        h = np.where(np.arange(dim) < self.n_atoms - 1, LENGTH_STEP, ANGLE_STEP)
        steps = np.concatenate([np.diag(h), -np.diag(h)], axis=1)
        at = jnp.asarray(self.minimum[:, None] + steps, jnp.float32)
        g = np.asarray(self._gradient(at), float)
        self.evaluations += 2 * dim
        hessian = (g[:, :dim] - g[:, dim:]) / (2 * h)
        return 0.5 * (hessian + hessian.T)

    def _modes(self, soft: Sequence[int]) -> np.ndarray:
        """Columns: displacements by one standard deviation of each vibration, soft torsions held."""
        free = np.setdiff1d(np.arange(len(self.minimum)), soft)
        curvature, modes = np.linalg.eigh(self.hessian[np.ix_(free, free)])
        spread = np.sqrt(self.kt / np.maximum(curvature, SOFTEST))
        columns = np.zeros((len(self.minimum), len(free)))
        columns[free] = modes * spread
        return columns

    def relax(self, s: np.ndarray, held: Sequence[int]) -> np.ndarray:
        """``(dim, n)`` towards lower energy, with the coordinates ``held`` where they are."""
        self.evaluations += ITERATIONS * s.shape[1]
        modes = jnp.asarray(self._modes(held), jnp.float32)
        return np.asarray(self._relax(jnp.asarray(s, jnp.float32), modes, self.kt), float)

    def vibrate(self, s: np.ndarray, soft: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        modes = self._modes(soft)
        return s + modes @ rng.normal(size=(modes.shape[1], s.shape[1]))

    def energy(self, s: np.ndarray) -> np.ndarray:
        self.evaluations += s.shape[1]
        return np.asarray(self._energy(jnp.asarray(s, jnp.float32)), float)

    def positions(self, s: np.ndarray) -> np.ndarray:
        x = np.asarray(self._place(jnp.asarray(s, jnp.float32)), float)
        return x.T.reshape(s.shape[1], -1, 3)

    def reach(self, torsion: int, turning: Sequence[int], rng: np.random.Generator) -> float:
        """Share of its circle that a torsion gets to from the minimum of a relaxed scan, at most CLIMB above it.

        The largest of those found in several conformations of the torsions ``turning``.
        """
        s = np.tile(self.minimum[:, None, None], (1, BACKGROUNDS, SCAN))
        anywhere = rng.uniform(-np.pi, np.pi, (len(turning), BACKGROUNDS - 1, 1))
        s[turning, 1:] = anywhere  # the first is the minimum itself
        s[torsion] = np.linspace(-np.pi, np.pi, SCAN, endpoint=False)
        u = self.energy(self.relax(s.reshape(len(s), -1), [torsion]))
        return max(_reached(scan) for scan in u.reshape(BACKGROUNDS, SCAN))


def _reached(u: np.ndarray) -> float:
    """Share of the circular scan ``u`` connected to its lowest place below CLIMB."""
    below = np.roll(u - u.min() < CLIMB, -int(np.argmin(u)))
    if below.all():
        return 1.0
    return float(np.argmin(below) + np.argmin(below[::-1])) / len(u)


def _descend(energy_and_gradient, s: Array, modes: Array, kt: float) -> Array:
    """Damped Newton steps along ``modes``, each at most LONGEST standard deviations per degree of freedom."""

    def step(_, s):
        g = energy_and_gradient(s)[1]
        along = modes.T @ jnp.where(jnp.isfinite(g), g, 0.0) / kt
        length = STEP * jnp.linalg.norm(along, axis=0)
        longest = LONGEST * jnp.sqrt(float(modes.shape[1]))
        return s - STEP * modes @ (along * jnp.minimum(1.0, longest / jnp.maximum(length, 1e-6)))

    return jax.lax.fori_loop(0, ITERATIONS, step, s)
