"""Parallel tempering against the harmonic oscillator and the double well's quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg.interfaces import ConfigError, Target
from jbg.simulation.parallel_tempering import HmcConfig, parallel_tempering
from jbg.systems import double_well
from jbg.targets import make_target
from jbg.targets.quadrature import find_bounds, free_energy_difference_quadrature

HARMONIC = Target(dim=3, reduced_energy=lambda x: 0.5 * jnp.sum(x**2, axis=0))
TAUS = (0.5, 1.0, 2.0, 4.0)


def counts(n_burn_in: int = 500, **numbers) -> HmcConfig:
    return HmcConfig(n_burn_in=n_burn_in, n_leapfrog=6, **numbers)


def mean_and_error(by_ladder):
    by_ladder = np.asarray(by_ladder, np.float64)
    return by_ladder.mean(), by_ladder.std(ddof=1) / np.sqrt(len(by_ladder))


def test_harmonic_energies_and_swaps_at_every_temperature(key):
    start = jax.random.normal(key, (64, 3))
    found = parallel_tempering(
        key, HARMONIC, start, taus=TAUS, n_ladders=64, config=counts(n_steps=1000, stride=2)
    )
    assert found.frames.shape == (4, 64, 500, 3)
    np.testing.assert_allclose(found.energies, 0.5 * (found.frames**2).sum(-1), rtol=1e-5)
    for tau, energies in zip(TAUS, found.energies, strict=True):
        value, error = mean_and_error(energies.mean(1))
        assert abs(value - 1.5 * tau) < 4 * error < 0.05 * tau
    # energies of both rungs are gamma distributed: the mean of min(1, ratio) by drawing from them
    rng = np.random.default_rng(0)
    low, high = rng.gamma(1.5, 1.0, (2, 1_000_000))
    for i in range(3):
        gain = (1 / TAUS[i] - 1 / TAUS[i + 1]) * (TAUS[i] * low - TAUS[i + 1] * high)
        exact = np.mean(np.exp(np.minimum(gain, 0)))
        # at most 64 ladders x 500 tries, counted as an eighth of that for their correlation
        assert abs(found.swap_acceptance[i] - exact) < 4 * np.sqrt(exact * (1 - exact) / 4000)
    np.testing.assert_allclose(found.acceptance, 0.8, atol=0.12)


def test_double_well_at_every_temperature_from_one_well(key):
    system = double_well()
    taus = (0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 4.0)
    found = parallel_tempering(
        key,
        make_target(system),
        system.start[:1],  # barriers of 21 and 14 kT at tau = 0.5 hold a plain chain for ever
        taus=taus,
        n_ladders=64,
        config=counts(n_steps=2500, stride=4, n_burn_in=1000),
    )
    left, right = system.states
    for t in (0, 2, 4):
        bounds = find_bounds(system.potential, system.start, tau=taus[t])
        exact = free_energy_difference_quadrature(
            system.potential, bounds, left.contains, right.contains, tau=taus[t]
        )
        p = 1 / (1 + np.exp(exact))
        inside = right.contains(np.moveaxis(found.frames[t], -1, 0)).mean(1)
        value, error = mean_and_error(inside)
        assert abs(value - p) < 4 * error, (taus[t], value, p, error)
        assert error < 0.25 * p


def test_the_lowest_rung_alone_never_leaves_its_well(key):
    system = double_well()
    config = counts(n_steps=500, stride=5)
    found = parallel_tempering(
        key, make_target(system), system.start[:1], taus=[0.5], n_ladders=16, config=config
    )
    assert found.frames[..., 0].max() < 0
    assert found.swap_acceptance.shape == (0,)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"taus": (2.0, 1.0)}, "must rise"),
        ({"taus": (1.0, 1.0)}, "must rise"),
        ({"taus": (0.0, 1.0)}, "must be numbers > 0"),
        ({"taus": (1.0, np.nan)}, "must be numbers > 0"),
        ({"start": np.zeros((2, 2))}, r"start must be \(n, 3\)"),
        ({"start": np.zeros((0, 3))}, r"start must be \(n, 3\)"),
        ({"start": np.full((1, 3), np.nan)}, "not finite"),
        ({"n_steps": 15}, "multiple of stride"),
        ({"n_steps": 0}, "multiple of stride"),
        ({"stride": 30}, "multiple of stride"),
        ({"n_ladders": 0}, "at least 1"),
        ({"step": -1.0}, "step and tau must be > 0"),
    ],
)
def test_bad_settings_are_named(key, change, what):
    settings = {
        "start": np.zeros((1, 3)), "taus": (1.0,), "n_ladders": 2, "n_steps": 20, "stride": 10,
    } | change  # fmt: skip
    numbers = {name: settings.pop(name) for name in ("n_steps", "stride")}
    with pytest.raises(ConfigError, match=what):
        parallel_tempering(
            key, HARMONIC, settings.pop("start"), config=HmcConfig(**numbers), **settings
        )
