"""The JAX callback gives OpenMM's numbers for any batch, transformation and two devices."""

import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg.systems.openmm_callback import openmm_potential
from jbg.systems.openmm_pool import ContextPool

pytestmark = pytest.mark.openmm


class CountingPool:
    """Counts the host calls of each kind."""

    def __init__(self, pool):
        self.pool, self.n_atoms = pool, pool.n_atoms
        self.calls = {"energies": 0, "forces": 0}

    def energies(self, x):
        self.calls["energies"] += 1
        return self.pool.energies(x)

    def energies_and_forces(self, x):
        self.calls["forces"] += 1
        return self.pool.energies_and_forces(x)


@pytest.fixture(scope="module")
def molecule(alanine_dipeptide):
    return alanine_dipeptide


@pytest.fixture(scope="module")
def pool(molecule):
    with ContextPool(molecule.system_xml, platform="Reference", n_workers=2) as pool:
        yield pool


@pytest.fixture(scope="module")
def x(molecule):
    rng = np.random.default_rng(0)
    frames = molecule.positions + 0.005 * rng.normal(size=(12, 22, 3))
    return frames.reshape(12, 66).T.astype(np.float32)


@pytest.fixture(scope="module")
def expected(pool, x):
    """Energies (12,) and gradients (66, 12) at the positions as rounded to float32."""
    energy, force = pool.energies_and_forces(x.T.astype(np.float64).reshape(12, 22, 3))
    return energy, -force.reshape(12, 66).T


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("shape", [(), (1,), (12,), (3, 4), (2, 3, 2), (0,), (0, 3), (3, 0)])
def test_any_batch_shape(pool, x, expected, shape, jit):
    potential = openmm_potential(pool)
    potential = jax.jit(potential) if jit else potential
    n = int(np.prod(shape))
    batch = jnp.asarray(x[:, :n].reshape(66, *shape))
    energy = potential(batch)
    assert energy.dtype == jnp.float32
    np.testing.assert_allclose(energy, expected[0][:n].reshape(shape), rtol=1e-6)
    gradient = jax.grad(lambda x: potential(x).sum())(batch)
    np.testing.assert_allclose(
        gradient, expected[1][:, :n].reshape(66, *shape), rtol=1e-6, atol=1e-3
    )


def test_vmap_over_any_axis(pool, x, expected):
    potential = openmm_potential(pool)
    np.testing.assert_allclose(jax.vmap(potential, in_axes=1)(x), expected[0], rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(potential)(x.T), expected[0], rtol=1e-6)
    nested = jax.vmap(jax.vmap(potential, in_axes=1), in_axes=1)(x.reshape(66, 3, 4))
    np.testing.assert_allclose(nested, expected[0].reshape(3, 4), rtol=1e-6)
    partly = jax.vmap(potential, in_axes=2, out_axes=1)(x.reshape(66, 3, 4))
    np.testing.assert_allclose(partly, expected[0].reshape(3, 4), rtol=1e-6)
    energy, gradient = jax.vmap(jax.value_and_grad(potential), in_axes=1, out_axes=(0, 1))(x)
    np.testing.assert_allclose(energy, expected[0], rtol=1e-6)
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-6, atol=1e-3)


def test_cotangents_multiply(pool, x, expected):
    weights = np.linspace(-1, 2, 12).astype(np.float32)
    potential = openmm_potential(pool)
    gradient = jax.jit(jax.grad(lambda x: (weights * potential(x)).sum()))(x)
    np.testing.assert_allclose(gradient, weights * expected[1], rtol=1e-5, atol=1e-2)


def test_float64(pool, x, expected):
    with jax.enable_x64(True):
        x = jnp.asarray(x, jnp.float64)
        energy, gradient = jax.value_and_grad(lambda x: openmm_potential(pool)(x).sum())(x)
        assert energy.dtype == gradient.dtype == jnp.float64
        np.testing.assert_allclose(openmm_potential(pool)(x), expected[0], rtol=1e-14)
        np.testing.assert_allclose(gradient, expected[1], rtol=1e-14)


def test_one_host_call_for_a_batch_and_forces_only_when_differentiated(pool, x):
    counting = CountingPool(pool)
    potential = openmm_potential(counting)
    jax.block_until_ready(jax.jit(jax.vmap(potential, in_axes=1))(x))
    assert counting.calls == {"energies": 1, "forces": 0}
    jax.block_until_ready(jax.jit(jax.grad(lambda x: potential(x).sum()))(x))
    assert counting.calls == {"energies": 1, "forces": 1}


def test_bad_configurations_have_infinite_energy_and_no_gradient(pool, x, expected):
    bad = x.copy()
    bad[:, 1], bad[:, 2], bad[0, 3], bad[3:6, 4] = np.nan, 0.0, 1e30, x[0:3, 4]
    potential = openmm_potential(pool)
    energy, pull_back = jax.vjp(potential, jnp.asarray(bad))
    (gradient,) = pull_back(jnp.ones(12))
    assert (np.asarray(energy[1:5]) == np.inf).all()
    assert (np.asarray(gradient[:, 1:5]) == 0).all()
    good = [0, *range(5, 12)]
    np.testing.assert_allclose(energy[np.array(good)], expected[0][good], rtol=1e-6)
    np.testing.assert_allclose(
        gradient[:, np.array(good)], expected[1][:, good], rtol=1e-6, atol=1e-3
    )


def test_batch_on_the_wrong_axis_is_refused(pool, x):
    with pytest.raises(ValueError, match=r"expected shape \(66"):
        openmm_potential(pool)(x.T)


def test_large_batches_do_not_deadlock(pool, x):
    many = jnp.tile(
        jnp.asarray(x), (1, 200)
    )  # 158 000 floats; JAX calls in a callback hang from 1e5
    energy = jax.jit(lambda x: openmm_potential(pool)(2.0 * x / 2.0))(many)
    np.testing.assert_array_equal(energy[:12], energy[-12:])


def test_two_devices_send_their_own_slices(molecule, tmp_path):
    (tmp_path / "system.xml").write_text(molecule.system_xml)
    np.save(tmp_path / "start.npy", molecule.positions)
    code = """
        import jax, jax.numpy as jnp, numpy as np
        from jax.sharding import AxisType, PartitionSpec as P
        from jbg.systems.openmm_callback import openmm_potential
        from jbg.systems.openmm_pool import ContextPool
        assert jax.device_count() == 2
        pool = ContextPool(open("system.xml").read(), platform="Reference", n_workers=2)
        sizes = []
        class Spy:
            n_atoms = 22
            def energies(self, x):
                sizes.append(len(x))
                return pool.energies(x)
            def energies_and_forces(self, x):
                sizes.append(len(x))
                return pool.energies_and_forces(x)
        u = openmm_potential(Spy())
        noise = 0.005 * np.random.default_rng(0).normal(size=(8, 22, 3))
        x = jnp.asarray((np.load("start.npy") + noise).reshape(8, 66).T, jnp.float32)
        energy, force = pool.energies_and_forces(np.asarray(x, float).T.reshape(8, 22, 3))
        mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
        split = dict(mesh=mesh, in_specs=P(None, "data"))
        got = jax.jit(jax.shard_map(u, out_specs=P("data"), **split))(x)
        np.testing.assert_allclose(got, energy, rtol=1e-6)
        assert sizes == [4, 4], sizes
        def loss(x):
            return jax.lax.pmean(u(x).mean(), "data")
        step = jax.shard_map(jax.value_and_grad(loss), out_specs=(P(), P(None, "data")), **split)
        value, gradient = jax.jit(step)(x)
        np.testing.assert_allclose(value, energy.mean(), rtol=1e-6)
        np.testing.assert_allclose(gradient, -force.reshape(8, 66).T / 8, rtol=1e-5, atol=1e-3)
    """
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        env={**os.environ, **flags},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
