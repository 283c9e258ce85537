"""Metropolis chains against the harmonic oscillator and the double well's exact populations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg.interfaces import ConfigError, Target
from jbg.simulation.metropolis import metropolis
from jbg.systems import double_well
from jbg.targets import make_target, restrict

HARMONIC = Target(dim=1, reduced_energy=lambda x: 0.5 * jnp.sum(x**2, axis=0))


def variance_and_error(frames):
    """<x^2> and its standard error over independent chains."""
    by_chain = np.mean(np.asarray(frames, np.float64) ** 2, axis=(1, 2))
    return by_chain.mean(), by_chain.std(ddof=1) / np.sqrt(len(by_chain))


@pytest.mark.parametrize("tau", [0.5, 1.0, 3.0])
def test_harmonic_variance_is_tau(key, tau):
    start = np.sqrt(tau) * jax.random.normal(key, (200, 1))
    frames = metropolis(key, HARMONIC, start, step=2.5, n_steps=4000, stride=1, tau=tau)
    value, error = variance_and_error(frames)
    assert abs(value - tau) < 4 * error < 0.05 * tau


def test_dropping_rejected_repeats_would_be_wrong(key):
    frames = metropolis(
        key, HARMONIC, jax.random.normal(key, (200, 1)), step=2.5, n_steps=4000, stride=1
    )
    chains = np.asarray(frames)[:, :, 0]
    moved = np.diff(chains, axis=1) != 0
    assert 0.2 < moved.mean() < 0.8
    accepted = np.array([np.mean(c[1:][m] ** 2) for c, m in zip(chains, moved, strict=True)])
    error = accepted.std(ddof=1) / np.sqrt(len(accepted))
    assert abs(accepted.mean() - 1.0) > 10 * error


def test_frames_are_every_stride_th_state_and_chunks_join(key):
    start = jnp.zeros((3, 1))
    every = metropolis(key, HARMONIC, start, step=1.0, n_steps=60, stride=1)
    tenth = metropolis(key, HARMONIC, start, step=1.0, n_steps=60, stride=10)
    assert tenth.shape == (3, 6, 1)
    np.testing.assert_array_equal(tenth, every[:, 9::10])


def test_a_run_in_chunks_can_be_resumed_at_any_of_them(key):
    def run(first, state, n_chunks):
        for chunk in range(first, n_chunks):
            chunk_key = jax.random.fold_in(key, chunk)
            frames = metropolis(chunk_key, HARMONIC, state, step=1.0, n_steps=20, stride=5)
            state = frames[:, -1]
        return np.asarray(state)

    halfway = run(0, jnp.zeros((4, 1)), 2)
    np.testing.assert_array_equal(run(2, halfway, 4), run(0, jnp.zeros((4, 1)), 4))


def test_double_well_within_one_well_and_over_both(key):
    system = double_well(a2=3.0, a1=0.3)  # a barrier that chains cross
    target = make_target(system)
    start = jnp.asarray(system.start.repeat(100, axis=0), jnp.float32)
    frames = metropolis(key, target, start, step=0.8, n_steps=6000, stride=5)
    in_left = np.asarray(system.states[0].contains(np.moveaxis(np.asarray(frames), -1, 0)))
    by_chain = in_left[:, 200:].mean(axis=1)
    x = np.linspace(-4, 4, 80_001)
    p = np.exp(-(x**4 - 3 * x**2 + 0.3 * x))
    exact = p[system.states[0].contains(np.stack([x, 0 * x]))].sum() / p.sum()
    assert abs(by_chain.mean() - exact) < 4 * by_chain.std(ddof=1) / np.sqrt(len(by_chain))
    kept = metropolis(
        key,
        restrict(target, system.states[0].contains),
        start[:100],
        step=0.8,
        n_steps=600,
        stride=5,
    )
    assert np.all(np.asarray(system.states[0].contains(np.moveaxis(np.asarray(kept), -1, 0))))


def test_moves_to_undefined_energies_are_rejected(key):
    target = Target(dim=1, reduced_energy=lambda x: jnp.log(x[0]) ** 2)  # NaN for x < 0
    frames = metropolis(key, target, jnp.ones((50, 1)), step=1.0, n_steps=500, stride=1)
    assert np.all(np.asarray(frames) > 0)


POSITIVE = restrict(HARMONIC, lambda x: x[0] > 0)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"step": 0.0}, "step and tau must be > 0"),
        ({"tau": -1.0}, "step and tau must be > 0"),
        ({"tau": np.inf}, "step and tau must be > 0"),
        ({"n_steps": 25}, "multiple of stride"),
        ({"n_steps": 0}, "multiple of stride"),
        ({"stride": 30}, "multiple of stride"),
        ({"stride": 0}, "multiple of stride"),
        ({"start": np.zeros((2, 3))}, r"start must be \(n_chains, 1\)"),
        ({"start": np.zeros((0, 1))}, r"start must be \(n_chains, 1\)"),
        ({"start": np.full((2, 1), np.nan)}, "2 of 2 starting"),
        ({"start": np.array([[0.5], [-0.5]]), "target": POSITIVE}, "1 of 2 starting"),
    ],
)
def test_bad_settings_are_named(key, change, what):
    settings = {"start": np.zeros((2, 1)), "step": 1.0, "n_steps": 20, "stride": 10} | change
    target = settings.pop("target", HARMONIC)
    with pytest.raises(ConfigError, match=what):
        metropolis(key, target, settings.pop("start"), **settings)
