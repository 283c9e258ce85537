"""Langevin dynamics against what is known of it for harmonic oscillators; wrong settings are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg.interfaces import ConfigError
from jbg.simulation.langevin import LangevinConfig, langevin
from jbg.units import K_B

MASSES = np.array([1.0, 4.0, 16.0])
STIFFNESS = np.array([300.0, 1200.0, 4800.0])  # kJ/mol/nm^2: omega = 17.3 / ps for each
TEMPERATURES = np.array([300.0, 600.0])


def oscillators(x):
    stiffness = jnp.asarray(STIFFNESS, x.dtype).reshape(-1, *[1] * (x.ndim - 1))
    return 0.5 * (stiffness * x**2).sum(0)


@pytest.fixture(scope="module")
def chains():
    """400 chains at each temperature, omega dt = 0.87: far above what dynamics would want."""
    temperature = np.repeat(TEMPERATURES, 400)
    return langevin(
        jax.random.key(1),
        oscillators,
        np.zeros((800, 3)),
        masses=MASSES,
        temperature=temperature,
        config=LangevinConfig(n_steps=2000, stride=20, timestep_ps=0.05, friction=5.0),
    )


@pytest.mark.parametrize("i", [0, 1])
def test_positions_have_the_exact_variance_at_a_large_time_step(chains, i):
    x = chains.positions[400 * i : 400 * (i + 1), 20:]  # the first fifth is warming up
    expected = K_B * TEMPERATURES[i] / STIFFNESS
    of_chains = (x**2).mean(1)
    error = of_chains.std(0, ddof=1) / np.sqrt(400)
    assert (error < 0.01 * expected).all()
    assert (np.abs(of_chains.mean(0) - expected) < 4 * error).all()


@pytest.mark.parametrize("i", [0, 1])
def test_the_kinetic_temperature_is_exact_in_the_middle_of_steps_and_cold_at_their_end(chains, i):
    mine = slice(400 * i, 400 * (i + 1))
    of_chains = chains.temperatures[mine, 20:].mean(1)
    error = of_chains.std(ddof=1) / np.sqrt(400)
    assert abs(of_chains.mean() - TEMPERATURES[i]) < 4 * error < 0.02 * TEMPERATURES[i]
    at_end = (MASSES * chains.velocities[mine] ** 2).mean(1) / K_B
    error = at_end.std(ddof=1) / np.sqrt(400)
    cold = TEMPERATURES[i] * (1 - (17.3205 * 0.05) ** 2 / 4)
    assert abs(at_end.mean() - cold) < 4 * error
    assert TEMPERATURES[i] - cold > 3 * error  # so that the two can be told apart


def test_energies_are_those_of_the_frames(chains):
    np.testing.assert_allclose(
        chains.energies, oscillators(np.moveaxis(chains.positions, -1, 0)), rtol=1e-5
    )


def test_without_friction_energy_is_conserved():
    """f = 0: velocity Verlet. A tenth of the period at a small step, against cos(omega t)."""
    start = np.array([[0.01, 0.02, -0.01]])
    dt, n = 2e-4, 200
    found = langevin(
        jax.random.key(0),
        oscillators,
        start,
        masses=MASSES,
        temperature=300.0,
        config=LangevinConfig(n_steps=n, stride=n, timestep_ps=dt, friction=0.0),
        velocities=np.zeros((1, 3)),
    )
    expected = start * np.cos(np.sqrt(STIFFNESS / MASSES) * dt * n)
    np.testing.assert_allclose(found.positions[:, 0], expected, atol=1e-6)


def of_steps(n: int) -> LangevinConfig:
    return LangevinConfig(n_steps=n, stride=5, timestep_ps=0.01)


def test_it_goes_on_from_its_velocities_and_masses_by_atom():
    one = {"masses": [12.0], "temperature": 300.0, "config": of_steps(10)}
    short = one | {"config": of_steps(5)}
    first = langevin(jax.random.key(0), oscillators, np.zeros((2, 3)), **short)
    kept = {"velocities": first.velocities}
    again = langevin(jax.random.key(1), oscillators, first.positions[:, -1], **one, **kept)
    assert again.positions.shape == (2, 2, 3)
    by_coordinate = langevin(
        jax.random.key(1), oscillators, first.positions[:, -1],
        **(one | {"masses": [12.0] * 3}), **kept,
    )  # fmt: skip
    np.testing.assert_array_equal(again.positions, by_coordinate.positions)


def test_in_parts_it_is_the_same_trajectory():
    one = {"masses": MASSES, "temperature": 300.0}
    key, start = jax.random.key(0), np.zeros((2, 3))
    whole = langevin(key, oscillators, start, config=of_steps(25), **one)
    first = langevin(key, oscillators, start, config=of_steps(10), **one)
    rest = langevin(
        key, oscillators, first.positions[:, -1], config=of_steps(15), **one,
        velocities=first.velocities, first_frame=2,
    )  # fmt: skip
    for name in ("positions", "energies", "temperatures"):
        parts = np.concatenate([getattr(first, name), getattr(rest, name)], axis=1)
        np.testing.assert_allclose(parts, getattr(whole, name), rtol=1e-4, atol=1e-5)
    assert np.abs(rest.positions[:, 0] - first.positions[:, 0]).max() > 1e-3  # other noise


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": np.zeros(3)}, r"start must be \(n_chains, dim\), got \(3,\)"),
        ({"masses": [1.0, 2.0]}, "needs 3 or 1 positive masses"),
        ({"masses": [0.0]}, "needs 3 or 1 positive masses"),
        ({"temperature": -1.0}, "temperature must be positive"),
        ({"temperature": [300.0, 310.0]}, "one or one for each of 1 chains"),
        ({"timestep_ps": 0.0}, "needs timestep_ps > 0"),
        ({"friction": -1.0}, "friction >= 0"),
        ({"stride": 3}, "n_steps must be a multiple of stride >= 1, got 10 and 3"),
        (
            {"start": np.full((1, 3), np.inf)},
            "energy of 1 of 1 starting configurations is not finite",
        ),
        ({"velocities": np.zeros((2, 3))}, r"velocities must be \(1, 3\), got \(2, 3\)"),
    ],
)
def test_settings_that_cannot_be_run(change, message):
    good = {"start": np.zeros((1, 3)), "masses": [1.0], "temperature": 300.0}
    numbers = {"n_steps": 10, "stride": 5, "timestep_ps": 0.001, "friction": 1.0}
    given = good | {k: v for k, v in change.items() if k not in numbers}
    numbers |= {k: v for k, v in change.items() if k in numbers}
    start = given.pop("start")
    with pytest.raises(ConfigError, match=message) as caught:
        langevin(jax.random.key(0), oscillators, start, config=LangevinConfig(**numbers), **given)
    assert "\n" not in str(caught.value)
