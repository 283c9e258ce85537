"""The gap is KL(p|q), with an error that covers; without overlap it says why it is not known."""

import numpy as np
import pytest

from jbg.analysis import StateSamples
from jbg.studies.gap import mean_log_weight_gap

DIM = 5


def log_normal(x, width=1.0):
    return -0.5 * (x**2).sum(-1) / width**2 - DIM * np.log(width) - 0.5 * DIM * np.log(2 * np.pi)


def samples_of(rng, shift, n=20_000, chains=8, frames=200, log_z=7.0):
    """q = N(0, 1), p = N(shift, 1) in five dimensions, with a normaliser; chains are correlated."""
    x = rng.normal(size=(n, DIM))
    noise, walk = rng.normal(size=(chains, frames, DIM)), np.zeros((chains, frames, DIM))
    walk[:, 0] = noise[:, 0]
    for i in range(1, frames):
        walk[:, i] = 0.8 * walk[:, i - 1] + 0.6 * noise[:, i]
    y = walk + shift
    u = lambda x: -log_normal(x - shift) - log_z
    return StateSamples(log_normal(x), u(x), n, log_normal(y), u(y), None)


def test_it_is_the_kullback_leibler_divergence_and_its_error_covers():
    shift, errors = 0.4, []
    for seed in range(60):
        found = mean_log_weight_gap(samples_of(np.random.default_rng(seed), shift), seed=seed)
        errors.append((found["value"] - 0.5 * DIM * shift**2) / found["stderr"])
    assert abs(np.mean(errors)) < 3 / np.sqrt(60)
    assert 0.7 < np.std(errors) < 1.4


def test_frames_that_do_not_count_change_nothing():
    given = samples_of(np.random.default_rng(1), 0.4)
    inside = np.ones((8, 200), bool)
    inside[:, 150:] = False
    spoilt = np.where(inside, given.simulated_log_q, -np.inf)
    found = mean_log_weight_gap(
        given._replace(simulated_log_q=spoilt, simulated_inside=inside), seed=0
    )
    assert found["frames"] == 1200
    assert found["value"] == pytest.approx(0.4, abs=4 * found["stderr"])


def test_without_overlap_there_is_a_reason():
    found = mean_log_weight_gap(samples_of(np.random.default_rng(2), 8.0), seed=0)
    assert found["value"] is None
    assert found["reason"].startswith("ln Z by BAR: ")


def test_a_single_chain_has_no_error():
    given = samples_of(np.random.default_rng(3), 0.4, chains=1)
    assert mean_log_weight_gap(given, seed=0)["reason"] == "needs frames of two chains or more"
