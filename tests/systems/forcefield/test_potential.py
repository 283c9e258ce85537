"""The compiled potential as JAX uses it: shapes, chunks, gradients, overlapping atoms."""

import jax
import jax.numpy as jnp
import numpy as np
import openmm
import pytest
from openmm.app.internal import customgbforces

from jbg.interfaces import ConfigError
from jbg.systems.forcefield import compiled_potential, read_system
from jbg.systems.forcefield.born import descreening, neck_integral
from jbg.systems.forcefield.potential import Blocks, choose_blocks, energy_and_gradient
from tests.molecules import peptide


@pytest.fixture(scope="module")
def molecule():
    forcefield = ("amber14-all.xml", "implicit/gbn2.xml")
    return peptide("ACE-ALA-NME", forcefield)


@pytest.fixture(scope="module")
def system():
    """Nine charged atoms in a chain, in solvent: the pair terms, and what is quick to compile of the others."""
    system, bonds = openmm.System(), openmm.HarmonicBondForce()
    charges, solvent = openmm.NonbondedForce(), openmm.GBSAOBCForce()
    for i in range(9):
        system.addParticle(12.0)
        charges.addParticle(0.3 * (-1) ** i, 0.3, 0.4)
        solvent.addParticle(0.3 * (-1) ** i, 0.17, 0.8)
    for i in range(8):
        bonds.addBond(i, i + 1, 0.15, 2e5)
        charges.addException(i, i + 1, 0.0, 0.1, 0.0)
    for force in (bonds, charges, solvent):
        system.addForce(force)
    return system


@pytest.fixture(scope="module")
def potential(system):
    return compiled_potential(system)


def frames(n, seed=0):
    """``(27, n)`` nm."""
    line = np.arange(9)[:, None] * [0.12, 0.06, 0.06]
    return jnp.asarray(
        (line + 0.02 * np.random.default_rng(seed).normal(size=(n, 9, 3))).reshape(n, -1).T
    )


@pytest.mark.parametrize(("n", "atoms", "chunk"), [(13, 2, 4), (33, 4, 16), (9, 8, 64)])
def test_chunks_and_blocks_change_nothing(system, potential, n, atoms, chunk, x64):
    """Chunks of configurations and blocks of the 9 atoms that leave a rest, before and after they are alike."""
    x = frames(n)
    energy, pull_back = jax.vjp(potential, x)
    (gradient,) = pull_back(jnp.ones_like(energy))
    blocks = Blocks(atoms=atoms, configurations=chunk)
    found = jax.jit(lambda x: energy_and_gradient(read_system(system), x, blocks))(x)
    np.testing.assert_allclose(found[0], energy, rtol=1e-12)
    np.testing.assert_allclose(found[1], gradient, rtol=1e-9, atol=1e-8)


def test_any_batch_shape(potential, x64):
    x = frames(6)
    expected = potential(x)
    assert expected.shape == (6,)
    np.testing.assert_allclose(potential(x[:, 0]), expected[0], rtol=1e-12)
    np.testing.assert_allclose(potential(x.reshape(-1, 2, 3)), expected.reshape(2, 3), rtol=1e-12)
    np.testing.assert_allclose(jax.vmap(potential, 1)(x), expected, rtol=1e-12)
    one = jax.vmap(jax.grad(potential), 1, 1)(x)
    np.testing.assert_allclose(one[:, 2], jax.grad(potential)(x[:, 2]), rtol=1e-9, atol=1e-8)
    assert potential(x[:, :0]).shape == (0,)
    with pytest.raises(ValueError, match=r"expected shape \(27, \*batch\), got \(26, 6\)"):
        potential(x[1:])


def test_gradient_is_that_of_the_energy(potential, x64):
    x, direction = frames(1)[:, 0], np.random.default_rng(1).normal(size=27)
    h = 1e-6
    slope = (potential(x + h * direction) - potential(x - h * direction)) / (2 * h)
    gradient = jax.grad(potential)(x)
    np.testing.assert_allclose(gradient @ direction, slope, rtol=1e-6)
    # a cotangent scales it, as where the energy is divided by kT
    np.testing.assert_allclose(
        jax.grad(lambda x: 0.4 * potential(x))(x), 0.4 * gradient, rtol=1e-12
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_overlapping_atoms_and_straight_angles_have_finite_forces(molecule, dtype, x64):
    x = np.array(molecule.positions)
    together, all_together, straight = x.copy(), 0 * x, x.copy()
    together[3] = together[10]
    straight[:, 1:] = 0  # all on one line: no angle, no plane
    bad = np.stack([together, all_together, straight]).reshape(3, -1).T
    energy, pull_back = jax.vjp(compiled_potential(molecule.system_xml), jnp.asarray(bad, dtype))
    (gradient,) = pull_back(jnp.ones_like(energy))
    assert np.isfinite(energy).all()
    assert np.isfinite(gradient).all()
    assert (energy > 1e6).all()


def test_configurations_that_are_none_have_infinite_energy_and_no_gradient(potential):
    x = np.array(frames(4), np.float32)
    x[3, 1], x[7, 2], x[8, 3] = np.nan, np.inf, 1e30
    energy, pull_back = jax.vjp(potential, jnp.asarray(x))
    (gradient,) = pull_back(jnp.ones_like(energy))
    assert np.isfinite(energy[0])
    assert np.isfinite(gradient[:, 0]).all()
    np.testing.assert_array_equal(energy[1:], np.inf)
    np.testing.assert_array_equal(gradient[:, 1:], 0.0)


def test_the_largest_atoms_on_top_of_each_other_in_float32():
    """Two sulphurs of CHARMM: sigma^12 and r^-14 together are near the end of the range."""
    system, force = openmm.System(), openmm.NonbondedForce()
    for _ in range(2):
        system.addParticle(32.0)
        force.addParticle(0.0, 0.3564, 1.88)
    system.addForce(force)
    x = jnp.zeros(6, jnp.float32).at[3].set(1e-3)
    energy, gradient = jax.value_and_grad(compiled_potential(system))(x)
    assert 1e25 < energy < np.inf
    assert np.isfinite(gradient).all()
    assert gradient[0] > 0 > gradient[3]  # they are pushed apart


def test_atoms_without_a_born_radius_weigh_nothing(x64):
    """HCT on a grid of 0.13 nm: 1 / o - I < 0, and OpenMM's energy is not a number."""
    system, force = openmm.System(), customgbforces.GBSAHCTForce()
    for _ in range(27):
        system.addParticle(12.0)
    force.addParticles([[0.3, 0.15, 1.0]] * 27)
    force.finalize()
    system.addForce(force)
    grid = 0.13 * np.stack(np.meshgrid(*3 * [np.arange(3)]), axis=-1).reshape(-1)
    energy, gradient = jax.value_and_grad(compiled_potential(system))(jnp.asarray(grid))
    assert 1e9 < energy < np.inf
    assert np.isfinite(gradient).all()


def test_it_is_compiled_once(potential):
    traces = 0

    @jax.jit
    def energy(x):
        nonlocal traces
        traces += 1
        return potential(x)

    for seed in range(3):
        energy(frames(4, seed)).block_until_ready()
    assert traces == 1


@pytest.mark.parametrize("engulfed", [False, True])
def test_derivatives_of_the_integrals(engulfed, x64):
    r = np.linspace(0.02, 0.7, 35)
    for reduced, scaled in ((0.12, 0.1), (0.08, 0.2), (0.3, 0.1)):
        _, slope, inverse = descreening(r, reduced, scaled, engulfed=engulfed)
        value = lambda r, *radii: descreening(r, *radii, engulfed=engulfed)[0]
        by_r = jax.vmap(jax.grad(value), (0, None, None))(r, reduced, scaled)
        np.testing.assert_allclose(slope, by_r, atol=1e-9)
        np.testing.assert_allclose(inverse * r, 1.0, rtol=1e-12)
    by_r = jax.vmap(jax.grad(lambda r: neck_integral(r, 0.3, 0.5, 0.6)[0]))(r)
    np.testing.assert_allclose(neck_integral(r, 0.3, 0.5, 0.6)[1], by_r, atol=1e-9)


def test_blocks_fit_the_working_memory():
    for n_atoms, n_batch in ((22, 1024), (892, 256), (5000, 8)):
        blocks = choose_blocks(n_atoms, n_batch, 4, 4.0)
        assert 12 * 4 * n_atoms * blocks.atoms * blocks.configurations <= 4 * 2**20
    assert choose_blocks(22, 8, 4, 1e-9) == choose_blocks(22, 1, 4, 1e-9)  # never nothing


def test_working_memory_has_to_be_positive(system):
    with pytest.raises(ConfigError, match="working memory must be positive, got 0 MiB"):
        compiled_potential(system, working_mib=0)
