"""Averages over chains: by hand, and errors that cover with frames as correlated as can be."""

import numpy as np
import pytest

from jbg.analysis.chain_averages import apart_by_chance, chain_averages


def test_by_hand():
    found = chain_averages([[1.0, 3.0], [5.0, 7.0]])
    assert (found.mean, found.mean_stderr) == (4.0, pytest.approx(2.0))
    assert found.variance == pytest.approx(5.0 + 4.0)  # about 4, and the error of the mean squared
    assert (found.drift, found.drift_stderr) == (2.0, 0.0)


def test_the_error_of_the_variance_is_the_jackknife_s():
    chains = np.random.default_rng(0).normal(size=(5, 7)) + np.arange(5)[:, None]
    without = [chain_averages(np.delete(chains, i, axis=0)).variance for i in range(5)]
    assert chain_averages(chains).variance_stderr == pytest.approx(2.0 * np.std(without))
    assert np.isnan(chain_averages(chains[:2]).variance_stderr)


def test_frames_that_repeat_tell_nothing():
    rng = np.random.default_rng(0)
    draws = rng.normal(2.0, 3.0, size=(2000, 40))  # experiments, chains
    found = [chain_averages(np.repeat(chains[:, None], 10, axis=1)) for chains in draws]
    off = [(f.mean - 2.0) / f.mean_stderr for f in found]
    assert np.std(off) == pytest.approx(1.0, abs=0.06)  # 1.03 for 40 chains, within 2 %
    # 1 % of statistical error; without the error of the mean 2.5 % too small
    assert np.mean([f.variance for f in found]) == pytest.approx(9.0, rel=0.015)


def test_a_single_chain_has_no_error():
    found = chain_averages([[1.0, 2.0, 6.0]])
    assert (found.mean, found.drift) == (3.0, 5.0)
    assert found.variance == pytest.approx(14 / 3)
    assert np.isnan([found.mean_stderr, found.variance_stderr, found.drift_stderr]).all()
    assert np.isnan(chain_averages([[1.0]]).drift)


def stationary(rng, n_experiments, n_chains, n_frames, memory):
    """AR(1) chains of variance 1, (n_experiments, n_chains, n_frames), correlated by ``memory`` a frame."""
    x = rng.normal(size=(n_frames, n_experiments, n_chains))
    x[1:] *= np.sqrt(1 - memory**2)
    for i in range(1, n_frames):
        x[i] += memory * x[i - 1]
    return np.moveaxis(x, 0, -1)


@pytest.mark.parametrize(("n_frames", "memory"), [(10, 1.0), (60, 0.9)])
def test_the_error_of_the_variance_knows_that_chains_share_their_mean(n_frames, memory):
    rng = np.random.default_rng(0)
    draws = stationary(rng, 2000, 8, n_frames, memory)
    found = np.array([chain_averages(chains)[2:4] for chains in draws])
    true = found[:, 0].std()
    assert true > 0.1
    assert found[:, 0].mean() == pytest.approx(1.0, abs=3 * true / np.sqrt(2000))
    # of eight chains: over by up to 8 % in the square, short by the scatter of the square
    assert np.sqrt(np.mean(found[:, 1] ** 2)) == pytest.approx(true, rel=0.12)
    assert found[:, 1].mean() == pytest.approx(true, rel=0.1)


@pytest.mark.parametrize("n_chains", [2, 3, 4, 8, 64])
def test_chains_in_equilibrium_drift_by_chance_as_often_as_said(n_chains):
    rng, n = np.random.default_rng(n_chains), 2500
    draws = stationary(rng, n, n_chains, 40, 0.8)
    found = [chain_averages(chains) for chains in draws]
    alarms = sum(not apart_by_chance(f.drift, f.drift_stderr, n_chains, 0.05) for f in found)
    assert alarms / n == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / n))
    rare = sum(not apart_by_chance(f.drift, f.drift_stderr, n_chains, 0.005) for f in found)
    assert rare <= 0.005 * n + 4 * np.sqrt(0.005 * n)
    # four standard errors, whatever the number of chains, would be false in 16 % of runs with two
    if n_chains == 2:
        assert np.mean([abs(f.drift) > 4 * f.drift_stderr for f in found]) > 0.1


def test_a_drift_is_seen():
    rng = np.random.default_rng(0)
    chains = stationary(rng, 1, 8, 100, 0.5)[0] + np.linspace(3.0, 0.0, 100)
    found = chain_averages(chains)
    assert not apart_by_chance(found.drift, found.drift_stderr, 8, 0.005)
    assert apart_by_chance(found.drift, np.nan, 1, 0.005)  # one chain tells no errors
