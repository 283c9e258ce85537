"""The dimer in its bath against energies of the published code and a plain double loop."""

import itertools

import jax
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from jbg.coords import in_cell
from jbg.flows.symmetrise import apply_all, check_group
from jbg.interfaces import ConfigError
from jbg.systems import dimer_distance, lj_dimer
from jbg.systems.dimer import DIMER_TERMS, lattice, symmetries
from jbg.systems.soft_discs import CLOSEST, SIGMA, soft_discs


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
    with jax.enable_x64():
        found = jax.jit(system.potential)(x)
        with_gradient, _ = jax.vjp(system.potential, jax.numpy.asarray(x))
    np.testing.assert_allclose(found, expected + bond, rtol=1e-10)
    np.testing.assert_allclose(with_gradient, expected + bond, rtol=1e-10)


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


@pytest.mark.parametrize("n", [2, 5, 38])
def test_repulsion_s_own_gradient_is_that_of_autodiff(n, x64):
    """Of a plain sum over pairs, for one configuration and for a batch, through vmap and weighted."""

    def plain_sum(xs, ys):
        i, j = np.triu_indices(n, 1)
        i, j = i[1:], j[1:]  # (0, 1) comes first
        return (SIGMA**12 / ((xs[i] - xs[j]) ** 2 + (ys[i] - ys[j]) ** 2) ** 6).sum(0)

    xs, ys = np.random.default_rng(n).uniform(-3, 3, (2, n, 5))
    weights = np.arange(1.0, 6.0)
    gradients = [
        jax.jit(jax.grad(lambda xs, ys, f=f: (weights * f(xs, ys)).sum(), argnums=(0, 1)))(xs, ys)
        for f in (soft_discs, plain_sum, jax.vmap(soft_discs, 1))
    ]
    for gradient in (gradients[0], gradients[2]):
        for found, expected in zip(gradient, gradients[1], strict=True):
            scale = np.abs(expected).max() if n > 2 else 1.0
            np.testing.assert_allclose(found / scale, expected / scale, rtol=1e-9, atol=1e-14)
    one = jax.grad(soft_discs)(xs[:, 0], ys[:, 0])
    np.testing.assert_allclose(one, gradients[0][0][:, 0], rtol=1e-12)


def test_float32_force_agrees_with_float64():
    system = lj_dimer(relax=False)
    x = lattice(36, 0.95)[:, None] + 0.05 * np.random.default_rng(0).normal(size=(76, 50))
    force = jax.jit(jax.grad(lambda x: system.potential(x).sum()))
    found = np.asarray(force(x.astype(np.float32)))
    with jax.enable_x64():
        exact = np.asarray(force(x.astype(np.float32).astype(float)))
    # each of some forty terms is rounded a dozen times
    np.testing.assert_array_less(np.abs(found - exact) / np.abs(exact).max(0), 500 * 6e-8)


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


@pytest.mark.parametrize(("both", "n"), [(False, 4), (True, 8)])
def test_symmetries_are_a_group_that_leaves_energy_and_label_cell(both, n, x64):
    group = symmetries(both_orientations=both)
    check_group(group)
    assert group.index.shape == group.sign.shape == (n, 76)
    system, rng = lj_dimer(relax=False), np.random.default_rng(0)
    # most of the first half are in the cell; the second half are so disordered that none is
    near = system.start[rng.integers(2, size=40)] + 0.3 * rng.normal(size=(40, 76))
    x = np.concatenate([near, lattice(36, 1.5) + rng.normal(size=(40, 76))]).T
    images = np.asarray(apply_all(group, x))
    energies = np.asarray(system.potential(images))
    np.testing.assert_allclose(energies, np.tile(system.potential(x), (n, 1)), rtol=1e-9)
    movable = np.arange(2, 38)
    inside = in_cell(x.T, lattice(36, 1.5), movable)
    assert 0 < inside[:40].sum() < 40
    for g in range(n):
        np.testing.assert_array_equal(in_cell(images[:, g].T, lattice(36, 1.5), movable), inside)
    # particle 0 stays on its side in each element of the four, in half of the eight
    kept = np.all((images[0] < images[2]) == (x[0] < x[2]), axis=1)
    assert kept.sum() == 4
    np.testing.assert_allclose(dimer_distance(images), np.tile(dimer_distance(x), (n, 1)))


def test_symmetries_reflect_positions_and_carry_each_disc_to_a_site():
    """The set of positions is mirrored; the lattice itself, labels included, is left as it is."""
    group, start = symmetries(), lattice(36, 1.5)
    signs = {(s[0], s[1]) for s in group.sign}
    assert signs == {(1, 1), (-1, 1), (1, -1), (-1, -1)}
    x = start + 0.3 * np.random.default_rng(1).normal(size=76)
    for index, sign in zip(*group, strict=True):
        np.testing.assert_allclose(sign * start[index], start, atol=1e-12)
        mirrored = x.reshape(38, 2) * sign[:2]
        image = (sign * x[index]).reshape(38, 2)
        np.testing.assert_allclose(np.sort(image, 0), np.sort(mirrored, 0))


@pytest.mark.parametrize("n_solvent", [0, 4, 9])
def test_symmetries_of_smaller_baths(n_solvent):
    group = symmetries(n_solvent)
    check_group(group)
    system = lj_dimer(n_solvent=n_solvent, relax=False)
    x = np.random.default_rng(0).uniform(-3.2, 3.2, (system.dim, 5))
    energies = system.potential(np.asarray(apply_all(group, x)))
    np.testing.assert_allclose(energies, np.tile(system.potential(x), (4, 1)), rtol=1e-4)


@pytest.mark.parametrize("n_solvent", [1, 5, 35])
def test_a_lattice_without_the_symmetry_is_refused(n_solvent):
    with pytest.raises(ConfigError, match="use a square number of discs"):
        symmetries(n_solvent)
