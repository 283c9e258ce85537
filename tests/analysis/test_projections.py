"""PCA against numpy, TICA on a known slow direction, and numbers that compare maps and torsions."""

import numpy as np
import pytest

from jbg.analysis import (
    fit_pca,
    fit_tica,
    implied_timescales,
    map_overlap,
    ramachandran_distance,
    torsion_distance,
    torsion_features,
)
from jbg.interfaces import ConfigError


def autoregressive(decays, n_chains, n_frames, seed):
    """Independent components of variance 1, ``decays`` their correlation after one frame: (chains, frames, k)."""
    rng, decays = np.random.default_rng(seed), np.asarray(decays)
    x = np.empty((n_chains, n_frames, len(decays)))
    x[:, 0] = rng.normal(size=x[:, 0].shape)
    noise = np.sqrt(1 - decays**2) * rng.normal(size=x.shape)
    for t in range(1, n_frames):
        x[:, t] = decays * x[:, t - 1] + noise[:, t]
    return x


def test_pca_is_the_singular_value_decomposition():
    x = np.random.default_rng(0).normal(size=(200, 6)) * [1, 5, 2, 0.5, 3, 1] + 4.0
    found = fit_pca(x, n=3)
    _, s, vt = np.linalg.svd(x - x.mean(0))
    np.testing.assert_allclose(found.values, s[:3] ** 2 / 199)
    np.testing.assert_allclose(np.abs(np.sum(found.components * vt[:3].T, 0)), 1.0)
    assert np.all(found.components.max(0) == np.abs(found.components).max(0))
    on_map = found.of(x)
    np.testing.assert_allclose(on_map.mean(0), 0.0, atol=1e-12)
    np.testing.assert_allclose(np.cov(on_map.T), np.diag(found.values), atol=1e-10)
    with pytest.raises(ConfigError, match="expected features"):
        fit_pca(x[:, :1], n=2)


def test_tica_finds_the_slow_directions_and_their_times():
    """Mixed at random, the slowest one narrow; one feature is a copy of another."""
    sources = autoregressive([0.98, 0.8, 0.3, 0.0], 8, 4000, 1)
    rng = np.random.default_rng(2)
    mix = np.diag([0.1, 1.0, 3.0, 10.0]) @ rng.normal(size=(4, 4))
    x = (sources @ mix).reshape(-1, 4) + 7.0
    x = np.column_stack([x, x[:, 0]])
    chain = np.repeat(np.arange(8), 4000)
    found = fit_tica(x, chain, 5)
    on_map = found.of(x)
    for k, decay in enumerate((0.98, 0.8)):
        correlation = np.corrcoef(on_map[:, k], sources[..., k].ravel())[0, 1]
        assert abs(correlation) > 0.98
        np.testing.assert_allclose(found.values[k], decay**5, atol=0.03)
        np.testing.assert_allclose(on_map[:, k].var(), 1.0, rtol=0.05)
    np.testing.assert_allclose(implied_timescales(found, 5)[0], -1 / np.log(0.98), rtol=0.3)
    slow = np.abs(np.corrcoef(fit_pca(x).of(x)[:, 0], sources[..., 0].ravel())[0, 1])
    assert slow < 0.5  # PCA follows the widest


def test_tica_pairs_frames_of_one_chain_only():
    """Two chains that stay where they are: their frames are correlated for ever, at any lag within them."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3))
    x[:, 0] += 10 * np.repeat([-1, 1], 200)
    interleaved = np.arange(400).reshape(2, 200).T.ravel()
    for order in (np.arange(400), interleaved):
        found = fit_tica(x[order], np.repeat([0, 1], 200)[order], 3)
        assert found.values[0] > 0.97
    assert fit_tica(x[interleaved], np.zeros(400), 1).values[0] < 0.1
    with pytest.raises(ConfigError, match="expected a chain of more than lag = 200 frames"):
        fit_tica(x, np.repeat([0, 1], 200), 200)
    with pytest.raises(ConfigError, match="expected 2 directions that vary, got 1"):
        fit_tica(np.column_stack([x[:, 0], x[:, 0]]), np.zeros(400), 1)


def test_timescales_are_none_where_there_is_no_decay():
    found = fit_pca(np.eye(3))._replace(values=np.array([np.exp(-0.5), -0.1]))
    np.testing.assert_allclose(implied_timescales(found, 4), [8.0, np.nan])


def test_features_are_cosines_and_sines():
    angles = np.array([[0.0, np.pi / 2]])
    np.testing.assert_allclose(torsion_features(angles), [[1, 0, 0, 1]], atol=1e-15)


def test_map_overlap_tells_missing_states_from_new_ones():
    rng = np.random.default_rng(0)
    centre = np.array([[-3.0, 0.0], [3.0, 0.0]])
    at = lambda state, n: centre[state] + 0.5 * rng.normal(size=(n, 2))
    data = np.concatenate([at(0, 3000), at(1, 1000)])
    chain = np.tile(np.arange(8), 500)
    both = map_overlap(np.concatenate([at(0, 3000), at(1, 1000)]), data, chain)
    for name in ("overlap", "covered", "beyond"):
        assert getattr(both, name) == pytest.approx(getattr(both, f"floor_{name}"), abs=0.05)
    assert both.overlap > 0.85
    half = map_overlap(at(0, 4000), data, chain)
    assert half.overlap == pytest.approx(0.75, abs=0.05)
    assert half.covered == pytest.approx(0.75, abs=0.03)
    assert half.beyond < 0.02
    beside = np.concatenate([data, at(0, 1000) + [0.0, 40.0], np.full((10, 2), np.nan)])
    more = map_overlap(beside, data, chain)
    assert more.beyond == pytest.approx(1010 / 5010)
    assert more.covered == 1.0
    assert more.overlap == pytest.approx(4000 / 5010)
    with pytest.raises(ConfigError, match=r"expected \(n, 2\) and \(m, 2\)"):
        map_overlap(data[:, :1], data, chain)


def test_torsions_differ_by_what_they_differ_by():
    """The second torsion of the generated frames misses a rotamer, the third flips a symmetric ring."""
    rng = np.random.default_rng(0)
    chain, n = np.repeat(np.arange(10), 1000), 10_000
    draw = lambda shares: (
        np.array([-1.0, 1.0])[rng.choice(2, n, p=shares)] + 0.3 * rng.normal(size=n)
    )
    data = np.stack([draw([0.5, 0.5]), draw([0.7, 0.3]), draw([1.0, 0.0])], 1)
    own = np.stack([draw([0.5, 0.5]), draw([1.0, 0.0]), draw([1.0, 0.0])], 1)
    own[::2, 2] += np.pi
    found = torsion_distance(own, data, chain, folds=[1, 1, 2])
    np.testing.assert_allclose(found.total_variation[[0, 2]], found.floor[[0, 2]], rtol=0.6)
    assert found.total_variation[1] == pytest.approx(0.3, abs=0.03)
    assert found.floor.max() < 0.05
    assert torsion_distance(own, data, chain).total_variation[2] == pytest.approx(0.5, abs=0.03)
    weighted = torsion_distance(
        own[:, :1], data[:, :1], chain, log_w=np.where(own[:, 0] > 0, 0.0, -99)
    )
    assert weighted.total_variation[0] == pytest.approx(0.5, abs=0.03)
    pairs = ramachandran_distance(own[:, None, :2], data[:, None, :2], chain, bins=20)
    assert pairs.total_variation[0] == pytest.approx(0.3, abs=0.05)
    assert 0 < pairs.floor[0] < 0.1
    with pytest.raises(ConfigError, match="a chain for each of these"):
        torsion_distance(own, data[:, :2], chain)
