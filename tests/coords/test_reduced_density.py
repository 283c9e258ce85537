"""The density on a slice, sampled by hybrid Monte Carlo in its coordinates, against quadrature."""

import jax
import jax.numpy as jnp
import numpy as np

from jbg.coords import fit_reduced, reduced_from_fit
from jbg.coords.whitening import whitening
from jbg.generator import pull_back
from jbg.interfaces import Target
from jbg.simulation.hmc_ladder import HmcLadder, initial_ladders, make_block
from tests.coords.test_internal import place_plainly
from tests.coords.test_reduced_fit import FIVE, five_atoms

SETTINGS = HmcLadder(
    taus=(1.0, 1.7), n_ladders=96, n_rounds=400, n_burn_in=100, block=100, stride=5, n_leapfrog=5, n_jumps=0
)  # fmt: skip


def energy(x):
    """kT of flat positions ``(15, *batch)``: a wide angle at CA, two torsions by the distances that they set."""
    x = x.reshape(5, 3, *x.shape[1:])
    far = lambda i, j: ((x[i] - x[j]) ** 2).sum(0)
    angle = 900 * (far(1, 3) - 0.045) ** 2  # of (1, 3) two bonds apart: theta about 1.6, broad
    volume = (jnp.cross(x[1] - x[0], x[2] - x[1], axis=0) * (x[3] - x[2])).sum(0)  # the sign of phi
    torsions = 25 * far(0, 3) - 300 * volume + 900 * (far(1, 4) - 0.08) ** 2
    return angle + torsions + 12 * far(0, 4)


def grid(zmatrix, n):
    """Kept angles (theta, phi, psi) on midpoints, energies there by a placement of its own, shape ``(3, n^3)``."""
    theta = np.pi * (np.arange(n) + 0.5) / n
    turn = 2 * np.pi * (np.arange(n) + 0.5) / n - np.pi
    angles = np.stack(np.meshgrid(theta, turn, turn, indexing="ij")).reshape(3, -1)
    rows = np.argsort([tuple(sorted(row))[0] for row in np.stack(zmatrix, 1)[3:, [0, 3]].tolist()])
    middle = [k for k in range(3) if zmatrix.bond[k + 2] == 2][0]

    def at(theta, phi, psi):
        y = jnp.full(9, 0.15).at[4:7].set(1.9).at[4 + middle].set(theta)
        return energy(place_plainly(zmatrix, y.at[7 + rows].set(jnp.stack([phi, psi]))))

    return angles, np.asarray(jax.jit(jax.vmap(at))(*angles))


def histogram(values, edges, weights=None):
    """Shares of cells, angle by angle; values ``(3, n)``."""
    found = [
        np.histogram(v, edge, weights=weights)[0] for v, edge in zip(values, edges, strict=True)
    ]
    return np.concatenate([h / h.sum() for h in found])


def test_density_of_a_slice_is_the_boltzmann_density_given_what_is_fixed(key):
    rng = np.random.default_rng(0)
    zmatrix, frames = five_atoms(
        rng.uniform(-np.pi, np.pi, 400),
        rng.normal(0, 0.9, 400).clip(-2, 2),
        rng.normal(1.6, 0.3, 400),
    )
    c = reduced_from_fit(FIVE, fit_reduced(FIVE, zmatrix, frames))
    assert (c.n_circular, c.n_linear) == (1, 2)
    slice_ = pull_back(Target(dim=15, reduced_energy=energy), c.bijector)
    start = np.zeros((1, 3))
    block = make_block(slice_, SETTINGS)
    state, kept = initial_ladders(slice_, SETTINGS, start), []
    for _ in range(SETTINGS.total_rounds // SETTINGS.block):
        state, frames = block(state, key)
        kept.append(np.asarray(frames.v))
    v = np.concatenate(kept[SETTINGS.n_burn_in // SETTINGS.block :])  # (n, 3, ladders)
    flat = v.transpose(1, 0, 2).reshape(3, -1)
    assert np.abs(flat[0]).max() > np.pi  # trajectories pass the cut of the circle

    rows = np.argsort([tuple(sorted(row))[0] for row in np.stack(zmatrix, 1)[3:, [0, 3]].tolist()])
    middle = [k for k in range(3) if zmatrix.bond[k + 2] == 2][0]
    order = [c.fit.kept.tolist().index(i) for i in (4 + middle, 7 + rows[0], 7 + rows[1])]
    values = np.asarray(whitening(c.fit.whitening).forward((), jnp.asarray(flat))[0])[order]
    turned = values[1:] + c.fit.centre[rows][:, None]
    found = np.stack([values[0], *(np.mod(turned + np.pi, 2 * np.pi) - np.pi)])

    angles, u = grid(zmatrix, 50)
    edges = [np.pi / 50 * np.array([0, 20, 24, 27, 30, 50]), *[np.linspace(-np.pi, np.pi, 7)] * 2]
    by_ladder = np.stack([histogram(a, edges) for a in found.reshape(3, -1, 96).transpose(2, 0, 1)])
    error = by_ladder.std(0, ddof=1) / np.sqrt(96) + 2e-4

    def deviation(power):
        """Largest of all cells from the density with sin(theta) to this power, in standard errors."""
        expected = histogram(angles, edges, np.exp(-u + u.min()) * np.sin(angles[0]) ** power)
        return np.abs((by_ladder.mean(0) - expected) / error).max()

    assert deviation(1) < 4.5
    assert deviation(0) > 7
    assert deviation(-1) > 8
    assert error.max() < 0.01
