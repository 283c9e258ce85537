"""Averages over chains: by hand, and errors that cover with frames as correlated as can be."""

import numpy as np
import pytest

from jbg.analysis.chain_averages import chain_averages


def test_by_hand():
    found = chain_averages([[1.0, 3.0], [5.0, 7.0]])
    assert (found.mean, found.mean_stderr) == (4.0, pytest.approx(2.0))
    assert found.variance == pytest.approx(5.0 + 4.0)  # about 4, and the error of the mean squared
    assert (found.drift, found.drift_stderr) == (2.0, 0.0)


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
