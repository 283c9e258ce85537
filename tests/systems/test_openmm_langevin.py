"""OpenMM's chains: the ensemble of particles on springs, and what a seed decides."""

import numpy as np
import openmm
import pytest

from jbg.systems.langevin_config import LangevinConfig
from jbg.systems.openmm_langevin import openmm_langevin
from jbg.units import K_B

pytestmark = pytest.mark.openmm


def settings(n_steps: int, **changes) -> dict:
    numbers = {"stride": 50, "friction": 10.0, "timestep_ps": 0.005} | changes
    return {"temperature": 350.0, "config": LangevinConfig(n_steps=n_steps, **numbers)}


def springs(n: int) -> str:
    """n particles, omega = 20 / ps with the 4 dalton of `heavy`, not with the 1 dalton that the System has."""
    system = openmm.System()
    force = openmm.CustomExternalForce("800 * (x^2 + y^2 + z^2)")
    for i in range(n):
        system.addParticle(1.0)
        force.addParticle(i, [])
    system.addForce(force)
    return openmm.XmlSerializer.serialize(system)


def heavy(n: int) -> np.ndarray:
    return np.full(n, 4.0)


@pytest.mark.parametrize("n", [90, 110])  # Reference and CPU platform
def test_potential_and_kinetic_energy_are_those_of_the_temperature(n):
    start = np.zeros((4, 3 * n))
    found = openmm_langevin(
        springs(n), start, masses=heavy(n), seeds=[5, 6, 7, 8], **settings(3000)
    )
    assert found.positions.shape == (4, 60, 3 * n)
    np.testing.assert_allclose(found.energies, 800 * (found.positions**2).sum(2), rtol=1e-5)
    expected = 1.5 * n * K_B * 350.0
    # relative errors of 4 * 50 nearly independent frames, (2 / 3n / 200)^1/2 = 0.6 %
    assert found.energies[:, 10:].mean() == pytest.approx(expected, rel=0.025)
    assert found.temperatures.mean() == pytest.approx(350.0, rel=0.025)


@pytest.mark.parametrize("n", [3, 110])
def test_seeds_decide_and_it_goes_on_exactly(n):
    xml, start = springs(n), np.zeros((2, 3 * n))
    first, again, other = (
        openmm_langevin(xml, start, masses=heavy(n), seeds=seeds, **settings(100))
        for seeds in ([1, 2], [1, 2], [1, 3])
    )
    np.testing.assert_array_equal(first.positions, again.positions)
    np.testing.assert_array_equal(first.positions[0], other.positions[0])
    assert np.abs(first.positions[1] - other.positions[1]).max() > 1e-3
    # without friction, in two parts as in one
    x, v = first.positions[:, -1], first.velocities
    whole = openmm_langevin(
        xml, x, masses=heavy(n), velocities=v, seeds=[1, 2], **settings(100, friction=0.0)
    )
    half = openmm_langevin(
        xml, x, masses=heavy(n), velocities=v, seeds=[1, 2], **settings(50, friction=0.0)
    )
    rest = openmm_langevin(
        xml,
        half.positions[:, -1],
        masses=heavy(n),
        velocities=half.velocities,
        seeds=[3, 4],
        **settings(50, friction=0.0),
    )
    np.testing.assert_allclose(rest.positions[:, -1], whole.positions[:, -1], atol=1e-6)


def test_what_blows_up_is_nan():
    found = openmm_langevin(
        springs(2),
        np.full((1, 6), 0.1),
        masses=heavy(2),
        seeds=[1],
        **settings(2000, timestep_ps=1),
    )
    assert np.isnan(found.energies[0, -1])
    assert np.isnan(found.positions[0, -1]).all()
