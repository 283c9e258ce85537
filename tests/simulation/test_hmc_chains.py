"""Hybrid Monte-Carlo chains: closed forms, regions that are not left, bad input."""

import jax
import numpy as np
import pytest

from jbg.interfaces import ConfigError, Target
from jbg.simulation.hmc_chains import HmcConfig, hmc_chains
from jbg.systems import double_well
from jbg.targets import make_target, restrict

OSCILLATOR = Target(dim=3, reduced_energy=lambda x: 0.5 * (x * x).sum(0))


@pytest.mark.parametrize("tau", [0.5, 2.0])
def test_variance_of_an_oscillator_is_the_temperature(key, tau):
    start = np.random.default_rng(0).normal(size=(200, 3)) * np.sqrt(tau)
    config = HmcConfig(n_steps=200, stride=10)
    frames, acceptance = hmc_chains(key, OSCILLATOR, start, config=config, step=0.3, tau=tau)
    assert frames.shape == (200, 20, 3)
    assert 0.6 < acceptance < 0.95
    squares = (frames**2).mean((1, 2)) / tau  # one number of each independent chain
    assert abs(squares.mean() - 1) < 4 * squares.std(ddof=1) / np.sqrt(len(squares))


def test_a_restricted_target_keeps_chains_in_their_region(key):
    system = double_well()
    target = make_target(system)
    start = np.repeat(system.start, 20, axis=0)
    for i, state in enumerate(system.states):
        frames, _ = hmc_chains(
            jax.random.fold_in(key, i),
            restrict(target, state.contains),
            start[20 * i : 20 * (i + 1)],
            config=HmcConfig(n_steps=200, stride=20),
            step=0.1,
            tau=3.0,
        )
        assert state.contains(frames.reshape(-1, 2).T).all()
        assert frames[..., 1].std() == pytest.approx(np.sqrt(3), rel=0.25)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": np.zeros((4, 2))}, r"start must be \(n_chains, 3\)"),
        ({"start": np.full((4, 3), np.nan)}, "4 of 4 starting configurations is not finite"),
        ({"start": np.zeros((0, 3))}, r"start must be \(n_chains, 3\)"),
        ({"stride": 7}, "multiple of stride"),
        ({"stride": 0}, "multiple of stride"),
        ({"stride": 30}, "multiple of stride"),
        ({"n_steps": 0}, "multiple of stride"),
        ({"n_leapfrog": 0}, "n_leapfrog must be at least 1"),
        ({"n_burn_in": -1}, "n_burn_in not negative"),
        ({"step": 0.0}, "step and tau must be > 0"),
        ({"step": np.inf}, "step and tau must be > 0"),
        ({"tau": -1.0}, "step and tau must be > 0"),
    ],
)
def test_bad_input_is_one_line(key, options, message):
    given = {"start": np.zeros((4, 3)), "n_steps": 20, "stride": 10} | options
    start, own = given.pop("start"), {k: given.pop(k) for k in ("step", "tau") if k in given}
    with pytest.raises(ConfigError, match=message):
        hmc_chains(key, OSCILLATOR, start, config=HmcConfig(**given), **own)
