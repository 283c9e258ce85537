"""Umbrella sampling and MBAR together against quadrature, and runs that must be refused."""

import dataclasses

import jax
import numpy as np
import pytest

from jbg.analysis.mbar import umbrella_weights
from jbg.analysis.mbar_estimates import mbar_difference
from jbg.interfaces import CollectiveVariable, ConfigError, State, System
from jbg.simulation.umbrella import UmbrellaConfig
from jbg.studies.dimer.umbrella_reference import DIMER_UMBRELLA, filled_ladder, umbrella_reference
from jbg.systems import double_well, lj_dimer, mueller_brown
from jbg.targets.quadrature import (
    find_bounds,
    free_energy_difference_quadrature,
    profile_quadrature,
)

TAUS = (0.5, 1.0, 2.0)
CONFIG = {"n_replicas": 8, "n_pull": 100, "n_burn_in": 200, "stride": 3, "frame_stride": 15}


def exact_difference(system, states, tau):
    bounds = find_bounds(system.potential, system.start, tau=tau)
    a, b = (state.contains for state in states)
    return free_energy_difference_quadrature(system.potential, bounds, a, b, n=1000, tau=tau)


def check_against_quadrature(system, found, *, error):
    for one in found.by_tau:
        assert one.difference.value is not None, one.difference.reason
        exact = exact_difference(system, found.states, one.tau)
        # Student's t of 7 degrees of freedom: 6 is passed once in 2000
        assert abs(one.difference.value - exact) < 6 * one.difference.stderr
        assert one.difference.stderr < error


@pytest.fixture(scope="module")
def well():
    config = UmbrellaConfig(n_windows=18, force_constant=24.0, n_steps=450, **CONFIG)
    system = double_well()
    return system, umbrella_reference(jax.random.key(1), system, TAUS, config=config)


def test_double_well_against_quadrature(well):
    system, found = well
    check_against_quadrature(system, found, error=0.5)
    assert [one.tau for one in found.by_tau] == list(TAUS)
    np.testing.assert_allclose(found.samples.taus, [0.5, 0.5**0.5, 1, 2**0.5, 2])


def test_profile_against_quadrature(well):
    system, found = well
    for one in found.by_tau:
        bounds = find_bounds(system.potential, system.start, tau=one.tau)
        edges, f, stderr = one.profile
        exact = profile_quadrature(system.potential, bounds, edges, tau=one.tau)
        known = np.isfinite(stderr)
        assert known.sum() > 80
        # neighbouring bins err together; Student's t of 7 degrees over a hundred bins
        assert np.all(np.abs(f - exact)[known] < 10 * stderr[known])


def test_frames_are_the_equilibrium_of_their_state(well):
    system, found = well
    one = found.by_tau[1]
    grid = np.stack(np.meshgrid(np.linspace(-4, 4, 4001), [0.0], indexing="ij"))
    density = np.exp(-system.potential(grid))
    for state, frames in zip(found.states, one.frames, strict=True):
        assert len(frames) > 300
        assert len(np.unique(frames, axis=0)) == len(frames)
        assert np.all(state.contains(frames.T))
        inside = density * state.contains(grid)
        mean = (grid[0] * inside).sum() / inside.sum()
        width = np.sqrt((grid[0] ** 2 * inside).sum() / inside.sum() - mean**2)
        # weights of finite samples err a little more than independent draws
        assert abs(frames[:, 0].mean() - mean) < 6 * width / np.sqrt(len(frames))
        assert abs(frames[:, 0].std() - width) < 6 * width / np.sqrt(2 * len(frames))
        assert abs((frames[:, 1] ** 2).mean() - 1) < 6 * np.sqrt(2 / len(frames))


def test_mueller_brown_against_quadrature(key):
    system = mueller_brown()
    config = UmbrellaConfig(n_windows=18, force_constant=80.0, n_steps=450, **CONFIG)
    found = umbrella_reference(key, system, TAUS, config=config)  # y is no coordinate of the states
    check_against_quadrature(system, found, error=0.5)


def test_an_unscaled_bias_fails_at_half_the_temperature(well):
    """The same windows analysed as if their bias had not been divided by tau."""
    system, found = well
    samples = found.samples
    values, (left, right) = samples.values[:, 0], samples.in_state[:, :, 0].swapaxes(0, 1)
    wrong = umbrella_weights(values, samples.centres, samples.force_constant, tau=1.0)
    difference = mbar_difference(wrong, left, right)
    exact = exact_difference(system, found.states, 0.5)
    assert abs(difference.value - exact) > max(10 * difference.stderr, 0.3 * exact)


def test_replicas_that_remember_where_they_came_from_are_refused(key):
    """A second barrier of 40 kT along y, where x favours the other sign."""
    system = System(
        name="two channels",
        dim=2,
        potential=lambda x: 0.5 * (x[0] - 0.5 * x[1]) ** 2 + 40 * (x[1] ** 2 - 1) ** 2,
        energy_unit="kT",
        start=np.array([[-0.5, -1.0], [0.5, 1.0]]),
        states=(
            State(name="left", contains=lambda x: x[0] < 0, definition="x < 0"),
            State(name="right", contains=lambda x: x[0] >= 0, definition="x >= 0"),
        ),
        collective_variable=CollectiveVariable(name="x", of=lambda x: x[0], bounds=(-2.0, 2.0)),
    )
    config = UmbrellaConfig(n_windows=18, force_constant=8.0, n_steps=450, **CONFIG)
    one = umbrella_reference(key, system, config=config).by_tau[0]
    assert one.difference.value is None
    assert "different starting configurations differ by" in one.difference.reason
    # each channel by itself is a Gaussian about +-0.5: F = -+ ln(p / (1 - p)), p = Phi(1/2)
    assert abs(one.hysteresis[0] + 2 * np.log(0.6914625 / 0.3085375)) < 6 * one.hysteresis[1] + 0.02


def test_ladder_is_filled_and_keeps_what_was_asked_for():
    ladder = filled_ladder(np.array([0.5, 1.0, 2.0, 3.0]))
    np.testing.assert_allclose(ladder, [0.5, 0.5**0.5, 1, 2**0.5, 2, 3])
    assert {0.5, 1.0, 2.0, 3.0} < set(ladder.tolist())
    np.testing.assert_array_equal(filled_ladder(np.array([1.0])), [1.0])


def test_systems_that_cannot_be_run_are_named(key):
    bare = dataclasses.replace(double_well(), collective_variable=None)
    with pytest.raises(ConfigError, match="double-well has no collective variable"):
        umbrella_reference(key, bare)
    lonely = dataclasses.replace(double_well(), states=())
    with pytest.raises(ConfigError, match="needs two states"):
        umbrella_reference(key, lonely)
    with pytest.raises(ConfigError, match="must rise without repeats"):
        umbrella_reference(key, double_well(), (1.0, 0.5))


@pytest.mark.slow
def test_dimer_halves_and_origins_agree(key):
    config = dataclasses.replace(DIMER_UMBRELLA, n_replicas=8, n_steps=1800)
    found = umbrella_reference(key, lj_dimer(), (0.5, 1.0, 2.0, 3.0), config=config)
    for one in found.by_tau:
        assert one.difference.value is not None, one.difference.reason
        assert one.difference.stderr < 0.3
    falling = [one.difference.value for one in found.by_tau]
    assert all(np.diff(falling) < 0)  # the tilt of 4.5 kT favours closed, less so as it warms
    assert np.all(np.isfinite(found.by_tau[0].frames[0]))
