"""Distance distortion against brute force, its floor, and W2^2 of data against data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg.analysis import (
    distance_distortion,
    distortion_floor,
    frame_distances,
    gaussian_w2,
    wasserstein_floor,
)
from jbg.interfaces import ConfigError
from jbg.losses import pair_distances, squared_wasserstein

ATOMS = np.array([0, 2, 3, 5])
SHAPE = np.cumsum(np.random.default_rng(1).normal(0.0, 0.15, (6, 3)), 0)


def frames(n, seed, width=0.02, scale=1.0):
    return scale * SHAPE + width * np.random.default_rng(seed).normal(size=(n, 6, 3))


def chains(n_chains, n_frames, seed, apart=0.0):
    """Frames of chains whose mean structures differ by ``apart`` nm for each coordinate, and their labels."""
    rng = np.random.default_rng(seed)
    centre = SHAPE + apart * rng.normal(size=(n_chains, 1, 6, 3))
    x = centre + 0.02 * rng.normal(size=(n_chains, n_frames, 6, 3))
    return x.reshape(-1, 6, 3), np.repeat(np.arange(n_chains), n_frames)


def mean_difference(a, b):
    """Mean |a_i - b_j| over all pairs of rows, for each column, averaged."""
    return np.mean([np.abs(p - q).mean() for p in a for q in b])


def test_distances_are_the_loss_s(monkeypatch):
    monkeypatch.setattr("jbg.analysis.distances.CHUNK", 12)
    x = frames(7, 0).astype(np.float32)
    found = frame_distances(x, ATOMS)
    of_loss = pair_distances(jnp.asarray(x.reshape(7, -1).T), ATOMS)
    assert found.shape == (7, 6)
    np.testing.assert_allclose(found, of_loss.T, rtol=1e-5)
    np.testing.assert_allclose(found[3, 1], np.linalg.norm(x[3, 0] - x[3, 3]), rtol=1e-6)


@pytest.mark.parametrize(("n", "m", "chunk"), [(20, 20, 2**21), (25, 15, 40)])
def test_distortion_is_that_of_a_loop(n, m, chunk, monkeypatch):
    monkeypatch.setattr("jbg.analysis.distances.CHUNK", chunk)
    generated, data = frames(n, 0, 0.03, 1.05), frames(m, 1)
    generated = np.round(generated, 2)  # with ties
    found = distance_distortion(generated, data, ATOMS, batch=15)
    rng = np.random.default_rng(0)
    order = [rng.permutation(k)[:15] for k in (n, m)]
    a, b = (frame_distances(x[i], ATOMS) for x, i in zip((generated, data), order, strict=True))
    printed = mean_difference(a, b)
    np.testing.assert_allclose(found.printed, printed, rtol=1e-10)
    own = (mean_difference(a, a) + mean_difference(b, b)) / 2 * 15 / 14  # different frames
    np.testing.assert_allclose(found.excess, printed - own, rtol=1e-8)
    np.testing.assert_allclose(found.of_means, np.abs(a.mean(0) - b.mean(0)).mean(), rtol=1e-10)
    assert (found.n_batches, found.batch) == (1, 15)
    assert np.isnan(found.printed_std)


def test_a_perfect_model_has_the_spread_of_the_simulation_and_no_excess():
    data, other = frames(4000, 0), frames(4000, 1)
    found = distance_distortion(other, data, ATOMS, batch=1000)
    assert found.n_batches == 4
    # distances of a width of 0.02 sqrt(2) at most, times 2 / sqrt(pi)
    assert 0.02 < found.printed < 0.0325
    assert abs(found.excess) < 1e-3 * found.printed
    # the mean of |normal| with a variance of 2 x 8e-4 / 1000
    np.testing.assert_allclose(found.of_means, np.sqrt(2 / np.pi * 1.6e-6), rtol=0.4)
    assert 0 < found.printed_std < 0.05 * found.printed
    wrong = distance_distortion(frames(4000, 1, scale=1.1), data, ATOMS, batch=1000)
    shift = np.abs(0.1 * frame_distances(SHAPE[None], ATOMS)).mean()
    np.testing.assert_allclose(wrong.of_means, shift, rtol=0.05)
    assert wrong.excess > 100 * abs(found.excess)


def test_floor_holds_what_chains_differ_by():
    alike, label = chains(8, 200, 0)
    far, _ = chains(8, 200, 0, apart=0.05)
    low, high = (distortion_floor(x, ATOMS, label, batch=500) for x in (alike, far))
    assert high.of_means > 5 * low.of_means
    assert high.printed > 1.3 * low.printed
    assert low.batch == 500
    assert low.n_batches == 5
    # halves of four chains with means 0.05 sqrt(2) apart: |normal| of variance 2 (5e-3 / 4), all pairs alike
    np.testing.assert_allclose(high.of_means, np.sqrt(2 / np.pi * 2.5e-3), rtol=0.4)
    with pytest.raises(ConfigError, match="expected two independent chains or more, got 1"):
        distortion_floor(alike, ATOMS, np.zeros(1600), batch=500)
    with pytest.raises(ConfigError, match="one label for each of 1600 frames"):
        distortion_floor(alike, ATOMS, np.zeros(3), batch=500)
    with pytest.raises(
        ConfigError, match="expected two frames of both kinds and two atoms or more"
    ):
        distance_distortion(alike, far, ATOMS[:1])


def test_w2_of_the_host_is_that_of_the_loss():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(30, 12)), 0.3 + 1.4 * rng.normal(size=(20, 12))
    with jax.enable_x64(True):
        expected = float(squared_wasserstein(jnp.asarray(a.T), jnp.asarray(b.T)))
    np.testing.assert_allclose(gaussian_w2(a, b), expected, rtol=1e-9)
    np.testing.assert_allclose(gaussian_w2(a, a), 0.0, atol=1e-12)
    np.testing.assert_allclose(gaussian_w2(a + [1.0] * 12, a), 12.0)
    with pytest.raises(ConfigError, match="two rows or more each"):
        gaussian_w2(a, b[:, :3])


def test_wasserstein_floor_falls_with_the_batch_and_holds_what_chains_differ_by():
    x, label = chains(8, 200, 3, apart=0.03)
    small, large = (wasserstein_floor(x, ATOMS, batch) for batch in (20, 400))
    assert small.mean > 5 * large.mean
    assert small.std > 0
    between = wasserstein_floor(x, ATOMS, 400, chain=label)
    assert between.mean > 3 * large.mean
    direct = [
        gaussian_w2(*(frame_distances(part, ATOMS) for part in (frames(20, s), frames(20, s + 50))))
        for s in range(30)
    ]
    alike, _ = chains(8, 200, 3)
    floor = wasserstein_floor(alike, ATOMS, 20, repeats=30)
    # two means over 30 pairs of batches
    error = np.hypot(floor.std, np.std(direct)) / np.sqrt(30)
    assert abs(floor.mean - np.mean(direct)) < 4.5 * error
    with pytest.raises(ConfigError, match="two disjoint batches of 801"):
        wasserstein_floor(x, ATOMS, 801)
