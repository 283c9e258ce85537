"""Energies by quantiles, the share that clashes, and errors by leaving out chains."""

import numpy as np
import pytest

from jbg.analysis import energy_quantiles, energy_shares
from jbg.analysis.leave_one_out import chain_labels, halves_of_chains, jackknife_error
from jbg.interfaces import ConfigError


def test_quantiles_are_numpy_s_and_the_paper_s_statistic_leaves_out_the_upper_half():
    u = np.random.default_rng(0).normal(size=1001)
    found = energy_quantiles(u)
    expected = np.quantile(u, [0.025, 0.25, 0.5, 0.75, 0.975], method="inverted_cdf")
    np.testing.assert_array_equal(found.quantiles, expected)
    lower = u[u <= np.median(u)]
    assert found.lower_mean == pytest.approx(lower.mean())
    assert found.lower_std == pytest.approx(lower.std())
    assert (found.n, found.n_non_finite) == (1001, 0)
    # the median of n normals has the error sqrt(pi / 2 n)
    np.testing.assert_allclose(found.quantiles_stderr[2], np.sqrt(np.pi / 2002), rtol=0.5)


def test_a_few_clashes_move_neither_median_nor_the_paper_s_statistic():
    u = np.random.default_rng(0).normal(size=1000)
    broken = u.copy()
    broken[np.argsort(u)[-40:]] = [1e10] * 20 + [np.inf] * 10 + [np.nan] * 10
    found, clean = energy_quantiles(broken), energy_quantiles(u)
    np.testing.assert_array_equal(found.quantiles[:4], clean.quantiles[:4])
    assert found.quantiles[4] == 1e10
    assert found.n_non_finite == 20
    assert found.lower_mean == clean.lower_mean
    assert energy_quantiles(np.full(5, np.nan)).quantiles[2] == np.inf
    with pytest.raises(ConfigError, match="expected one for each frame"):
        energy_quantiles([])


def test_the_clash_share_counts_what_it_says():
    reference = np.linspace(0, 1000, 1001)[np.random.default_rng(0).permutation(1001)]
    high = np.quantile(reference, 0.975, method="inverted_cdf")  # 975
    u = np.concatenate([[high, high + 50.0, high + 50.01, 1e9, np.nan, -np.inf, -5.0], [500.0] * 3])
    found = energy_shares(u, reference)
    assert found.limit == high + 50
    assert found.clashing == pytest.approx(0.4)  # 50.01 above, 1e9 and the two that are not finite
    assert found.usual == pytest.approx(0.4)  # the limit itself, and the three in the middle
    assert energy_shares(u, reference, above=60.0).clashing == pytest.approx(0.3)
    same = energy_shares(reference, reference)
    assert same.clashing == 0
    assert same.usual == pytest.approx(0.95, abs=0.002)


def test_errors_are_those_of_chains():
    """Eight chains, each stuck above or below: the error of a share is that of eight coins."""
    u = np.repeat([0.0, 100.0], 4 * 50)
    chain = np.repeat([f"run {i}" for i in range(8)], 50)
    found = energy_shares(u, np.zeros(10), chain=chain)
    assert found.clashing == 0.5
    np.testing.assert_allclose(found.clashing_stderr, np.sqrt(0.25 / 7))
    assert np.isnan(energy_shares(u, np.zeros(10), chain=np.zeros(400)).clashing_stderr)


def test_jackknife_of_a_mean_is_its_standard_error():
    x = np.random.default_rng(1).normal(size=(12, 2))
    found = jackknife_error(lambda keep: x[keep].mean(0), np.arange(12))
    np.testing.assert_allclose(found, x.std(0, ddof=1) / np.sqrt(12))
    assert chain_labels(None, 45).max() == 19
    np.testing.assert_array_equal(chain_labels(["b", "a", "b"], 3), [1, 0, 1])


def test_halves_share_no_chain():
    chain = np.repeat(np.arange(5), 3)
    for first, second in halves_of_chains(chain, 15, 6, 0):
        assert not set(chain[first]) & set(chain[second])
        assert sorted([*first, *second]) == list(range(15))
        assert len(set(chain[first])) == 2
