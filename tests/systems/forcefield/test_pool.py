"""The compiled potential in place of OpenMM's contexts: the same numbers, the same trajectories."""

import numpy as np
import openmm
import pytest

from jbg.interfaces import ConfigError
from jbg.systems.forcefield.pool import CompiledPool
from jbg.systems.openmm_pool import ContextPool

MASSES = np.linspace(2.0, 16.0, 22)


@pytest.fixture(scope="module")
def molecule(alanine_dipeptide):
    return alanine_dipeptide


@pytest.fixture(scope="module")
def pool(molecule):
    return CompiledPool(molecule.system_xml, masses=MASSES)


@pytest.fixture(scope="module")
def frames(molecule):
    noise = 0.005 * np.random.default_rng(0).normal(size=(3, 22, 3))
    return (molecule.positions + noise).astype(np.float32).astype(float)


@pytest.mark.openmm
def test_numbers_and_trajectories_are_those_of_openmm(molecule, pool, frames):
    velocity = np.random.default_rng(1).normal(size=frames.shape)
    with ContextPool(molecule.system_xml, n_workers=1, masses=MASSES) as expected:
        energy, force = expected.energies_and_forces(frames)
        end = expected.leapfrog(frames, velocity, force, 0.001, 5)
    np.testing.assert_allclose(pool.energies(frames), energy, atol=2e-3)
    found = pool.energies_and_forces(frames)
    np.testing.assert_allclose(found[0], energy, atol=2e-3)
    np.testing.assert_allclose(found[1], force, atol=0.5)  # of 3e3
    found = pool.leapfrog(frames, velocity, force, 0.001, 5)
    for name, mine, theirs, tolerance in zip(
        ("x", "v", "u", "f"), found, end, (2e-6, 1e-3, 5e-3, 2.0), strict=True
    ):
        assert mine.dtype == np.float64
        np.testing.assert_allclose(mine, theirs, atol=tolerance, err_msg=name)


def test_one_program_for_every_length(pool, frames):
    force = pool.energies_and_forces(frames)[1]
    for n_steps in (1, 2, 7):
        pool.leapfrog(frames, 0 * frames, force, 0.0005, n_steps)
    assert pool._leapfrog._cache_size() == 1


def test_what_is_refused(molecule, pool, frames):
    with pytest.raises(ValueError, match="masses must be 22 positive numbers"):
        CompiledPool(molecule.system_xml, masses=-MASSES)
    with pytest.raises(ValueError, match=r"expected shape \(B, 22, 3\), got \(3, 66\)"):
        pool.energies(frames.reshape(3, -1))
    with pytest.raises(ConfigError, match="no particles"):
        CompiledPool(openmm.XmlSerializer.serialize(openmm.System()))
