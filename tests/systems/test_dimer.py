"""The dimer in its bath against energies of the published code and a plain double loop."""

import itertools

import jax
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from jbg.interfaces import ConfigError
from jbg.systems import dimer_distance, lj_dimer
from jbg.systems.dimer import (
    CLOSEST,
    DIMER_TERMS,
    SIGMA,
    _repulsion,
    _ring_sum,
    lattice,
)


@pytest.mark.parametrize(
    ("dimer", "energies"),
    [
        ("tilted", [2508.586, 4878.307, 3320.327, 344.251]),
        ("default", [2512.411, 4880.820, 3319.952, 340.989]),
    ],
)
def test_lattice_energies_are_those_of_the_published_code(dimer, energies):
    potential = lj_dimer(dimer=dimer, relax=False).potential
    x = np.stack([lattice(36, d) for d in (0.7, 0.95, 1.5, 2.05)], axis=1)
    np.testing.assert_allclose(potential(x), energies, atol=6e-4)
    np.testing.assert_allclose(jax.jit(potential)(x.astype(np.float32)), energies, rtol=1e-5)


def plain(x, n, wall=200.0):
    """The energy without the dimer's bond, pair by pair."""
    p = x.reshape(n, 2)
    u = 20 * ((p[0, 0] + p[1, 0]) ** 2 + p[0, 1] ** 2 + p[1, 1] ** 2)
    for i, j in itertools.combinations(range(n), 2):
        if (i, j) != (0, 1):
            u += (SIGMA / np.linalg.norm(p[i] - p[j])) ** 12
    return u + wall * (np.maximum(np.abs(x) - 3, 0) ** 2).sum()


@pytest.mark.parametrize("n_solvent", [0, 1, 2, 5, 36])
def test_every_pair_counts_once_and_the_dimer_s_own_never(n_solvent):
    system = lj_dimer(n_solvent=n_solvent, dimer="hsu-fobe", wall=100.0, relax=False)
    n = n_solvent + 2
    x = np.random.default_rng(n).uniform(-3.5, 3.5, (2 * n, 4))
    t = dimer_distance(x) - 1.5
    bond = -0.5 * t - 5 * t**2 + 6.25 * t**4
    expected = [plain(x[:, i], n, wall=100.0) for i in range(4)]
    np.testing.assert_allclose(system.potential(x), expected + bond, rtol=1e-10)


def test_wells_and_barriers_of_the_bond():
    """Noé et al. 2019, code with slope +2: wells 0.9312 and 2.0487, top 1.5200, barriers 17.92 and 13.45."""
    linear, quadratic, quartic = DIMER_TERMS["tilted"]
    bond = lambda d: linear * (d - 1.5) + quadratic * (d - 1.5) ** 2 + quartic * (d - 1.5) ** 4
    closed, opened = (
        minimize_scalar(bond, bounds=b, method="bounded", options={"xatol": 1e-9})
        for b in ((0.5, 1.4), (1.6, 2.5))
    )
    top = minimize_scalar(
        lambda d: -bond(d), bounds=(1.4, 1.6), method="bounded", options={"xatol": 1e-9}
    )
    np.testing.assert_allclose([closed.x, opened.x, top.x], [0.9312, 2.0487, 1.5200], atol=1e-4)
    barriers = [-top.fun - closed.fun, -top.fun - opened.fun]
    np.testing.assert_allclose(barriers, [17.92, 13.45], atol=0.01)


def test_start_is_relaxed_and_lies_in_its_states():
    system = lj_dimer()
    closed, opened = system.states
    np.testing.assert_array_equal(closed.contains(system.start.T), [True, False])
    np.testing.assert_array_equal(opened.contains(system.start.T), [False, True])
    assert np.all(system.potential(system.start.T) < 50)
    with jax.enable_x64():
        force = jax.grad(system.potential)(jax.numpy.asarray(system.start[0]))
    assert np.abs(force).max() < 1


def test_wall_acts_on_each_coordinate_beyond_three():
    system = lj_dimer(n_solvent=1, relax=False)
    x = np.array([-0.75, 0, 0.75, 0, 2.9, 3.5])
    inside = np.array([-0.75, 0, 0.75, 0, 2.9, 3.0])
    repulsion = lambda y: sum((SIGMA / np.hypot(2.9 + s * 0.75, y)) ** 12 for s in (-1, 1))
    found = system.potential(x) - system.potential(inside) - repulsion(3.5) + repulsion(3.0)
    np.testing.assert_allclose(found, 200 * 0.25, rtol=1e-9)


def test_coincident_particles_have_a_finite_energy_and_gradient():
    system = lj_dimer(relax=False)
    x = system.start[0].copy().astype(np.float32)
    x[4:6], x[2:4] = x[6:8], x[0:2]  # two discs on each other, and the dimer's two
    energy, gradient = jax.value_and_grad(system.potential)(jax.numpy.asarray(x))
    assert np.isfinite(energy)
    assert energy > 1e20
    assert np.all(np.isfinite(gradient))
    assert np.isfinite((SIGMA / CLOSEST) ** 12)


def test_gradient_agrees_with_differences(x64):
    system = lj_dimer(n_solvent=9, relax=False)
    rng = np.random.default_rng(0)
    x = system.start[0] + 0.02 * rng.normal(size=system.dim)
    gradient = np.asarray(jax.grad(system.potential)(jax.numpy.asarray(x)))
    for i in range(system.dim):
        step = 1e-6 * np.eye(system.dim)[i]
        numeric = (system.potential(x + step) - system.potential(x - step)) / 2e-6
        np.testing.assert_allclose(gradient[i], numeric, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n_solvent", [0, 1, 6])
def test_derivatives_are_those_of_the_plain_sum(x64, n_solvent):
    n = n_solvent + 2
    plain = lambda x: _ring_sum(jax.numpy, x[0::2], x[1::2], n)
    closed = lambda x: _repulsion(jax.numpy, x[0::2], x[1::2], n)
    start = lattice(n_solvent, 1.0) + 0.02 * np.random.default_rng(n).normal(size=(3, 2 * n))
    x = jax.numpy.asarray(start.T)  # (dim, 3)
    expected = jax.grad(lambda x: plain(x).sum())(x)
    np.testing.assert_allclose(jax.grad(lambda x: closed(x).sum())(x), expected, atol=1e-9)
    np.testing.assert_allclose(jax.jacfwd(closed)(x[:, 0]), expected[:, 0], atol=1e-9)
    hessian = jax.hessian(plain)(x[:, 0])
    np.testing.assert_allclose(jax.hessian(closed)(x[:, 0]), hessian, rtol=1e-9, atol=1e-7)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"dimer": "tited"}, "choose one of tilted, default, printed, hsu-fobe"),
        ({"n_solvent": -1}, "n_solvent must be 0 or more"),
        ({"wall": 0.0}, "wall must be > 0"),
    ],
)
def test_bad_options_are_named(options, what):
    with pytest.raises(ConfigError, match=what):
        lj_dimer(**options)
