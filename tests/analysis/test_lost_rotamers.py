"""Lost rotamers on made-up torsions: planted losses are found, slow chains of one density set off nothing."""

import numpy as np
import pytest

from jbg.analysis import lost_rotamers
from jbg.interfaces import ConfigError

CENTRES = np.deg2rad([-60.0, 175.0, 60.0])  # the second at the cut of the circle
WIDTH = np.deg2rad(12.0)
TORSIONS = 30
FRAMES = 150


def angles(rng, rotamers):
    """Torsions in [-pi, pi) about the centres of rotamers of any shape."""
    wide = CENTRES[rotamers] + WIDTH * rng.normal(size=rotamers.shape)
    return (wide + np.pi) % (2 * np.pi) - np.pi


def chains(rng, shares, frames, *, n, torsions=TORSIONS):
    """Frames ``(n * FRAMES, torsions)`` of stationary chains with these shares, which leave rotamer r once in
    ``frames[r]`` frames, and their labels."""
    shares, frames = np.asarray(shares, float), np.asarray(frames, float)
    first, entered = np.cumsum(shares), np.cumsum(shares / frames)
    now = np.searchsorted(first / first[-1], rng.random((n, torsions)))
    path = []
    for _ in range(FRAMES):
        path.append(now)
        leaves = rng.random(now.shape) < 1 / frames[now]
        entry = np.searchsorted(entered / entered[-1], rng.random(now.shape))
        now = np.where(leaves, entry, now)
    rotamers = np.stack(path, 1).reshape(n * FRAMES, torsions)
    return angles(rng, rotamers), np.repeat(np.arange(n), FRAMES)


def independent(rng, shares, n, torsions=TORSIONS):
    return angles(rng, rng.choice(len(shares), p=shares, size=(n, torsions)))


def test_a_planted_loss_is_found_with_its_share_and_no_other():
    rng, shares = np.random.default_rng(0), [0.6, 0.3, 0.1]
    known, chain = chains(rng, shares, [3, 3, 3], n=16)
    samples = independent(rng, shares, 2000)
    samples[:, 4] = independent(rng, [0.88, 0.02, 0.1], 2000, 1)[:, 0]
    samples[:, 7] = independent(rng, [0.65, 0.35, 0.0], 2000, 1)[:, 0]
    samples[:, 9] = independent(rng, [0.8, 0.1, 0.1], 2000, 1)[:, 0]  # a third: wrong, not lost
    found = lost_rotamers(samples, known, chain)
    assert list(np.flatnonzero(found.lost)) == [4, 7]
    assert found.share[4] == pytest.approx(0.3, abs=0.06)
    assert found.share[7] == pytest.approx(0.1, abs=0.03)
    assert found.chains[4] > 12
    assert found.floor.max() < 0.05
    assert found.share[9] < 0.05


@pytest.mark.parametrize(
    ("shares", "slow", "pooled"),
    [
        ([0.90, 0.08, 0.02], 3, 0),
        ([0.90, 0.08, 0.02], 15, 0),
        ([0.90, 0.08, 0.02], 150, 15),
        ([0.97, 0.02, 0.01], 50, 15),
        ([0.60, 0.30, 0.10], 50, 0),
        ([0.80, 0.15, 0.05], 150, 2),
    ],
)
def test_slow_chains_of_the_same_density_set_off_nothing(shares, slow, pooled):
    """40 cases each, 240 together, with 30 torsions that are all slow: rotamers last up to the whole chain.

    The chains pooled lose more than 5 % of a torsion in up to half of the cases, in ``pooled`` of 40 at least:
    only the comparison of chains keeps silent.
    """
    rng, alarms, loud = np.random.default_rng(1), 0, 0
    for _ in range(40):
        known, chain = chains(rng, shares, [slow / 2 + 1, slow + 1, slow + 1], n=16)
        found = lost_rotamers(independent(rng, shares, 2000), known, chain)
        alarms += found.lost.any()
        loud += (found.share > 0.05).any()
    assert alarms == 0
    assert loud >= pooled


def test_one_chain_that_stays_in_a_rare_rotamer_is_no_loss():
    rng = np.random.default_rng(2)
    rotamers = np.zeros((6, FRAMES, 1), int)
    rotamers[0] = 2  # a sixth of all frames
    known, chain = angles(rng, rotamers.reshape(-1, 1)), np.repeat(np.arange(6), FRAMES)
    found = lost_rotamers(angles(rng, np.zeros((2000, 1), int)), known, chain)
    assert found.share[0] == pytest.approx(1 / 6, abs=0.01)
    assert found.floor[0] > 0.1
    assert found.chains[0] == 0
    assert not found.lost[0]


def test_a_narrow_rotamer_off_by_a_few_degrees_is_not_lost():
    """At the edge of a bin, where one grid alone sees half of the reference gone."""
    rng = np.random.default_rng(3)
    known = np.deg2rad(2.0) * rng.normal(size=(4000, 1)) + np.deg2rad(1.5)
    samples = np.deg2rad(2.0) * rng.normal(size=(4000, 1)) - np.deg2rad(8.0)
    chain = np.arange(4000) % 4
    assert lost_rotamers(samples, known, chain).share[0] < 0.01
    far = lost_rotamers(samples - np.deg2rad(60.0), known, chain)
    assert far.share[0] > 0.99
    assert far.lost[0]


def test_a_turn_more_changes_nothing():
    rng = np.random.default_rng(4)
    known, chain = chains(rng, [0.6, 0.3, 0.1], [3, 3, 3], n=4)
    samples = independent(rng, [0.7, 0.3, 0.0], 1000)
    found = lost_rotamers(samples, known, chain)
    turned = lost_rotamers(samples + 2 * np.pi, known - 2 * np.pi, chain)
    np.testing.assert_allclose(found.share, turned.share, atol=1e-3)


def test_few_samples_say_nothing_of_small_bins():
    rng = np.random.default_rng(5)
    known, chain = chains(rng, [0.9, 0.08, 0.02], [2, 2, 2], n=16)
    without = np.zeros((2000, TORSIONS), int)
    assert lost_rotamers(angles(rng, without), known, chain).lost.all()
    assert not lost_rotamers(angles(rng, without[:50]), known, chain).lost.any()
    assert lost_rotamers(angles(rng, without[:9]), known, chain).share.max() == 0


def test_samples_that_are_not_finite_are_left_out():
    rng = np.random.default_rng(6)
    known, chain = chains(rng, [0.6, 0.3, 0.1], [3, 3, 3], n=4)
    samples = independent(rng, [0.6, 0.3, 0.1], 1000)
    found = lost_rotamers(samples, known, chain)
    more = lost_rotamers(np.concatenate([samples, samples * np.nan]), known, chain)
    np.testing.assert_array_equal(found.share, more.share)


def test_no_torsions_give_empty_arrays():
    found = lost_rotamers(np.zeros((10, 0)), np.zeros((20, 0)), np.arange(20) % 2)
    assert [each.shape for each in found] == [(0,)] * 4


@pytest.mark.parametrize(
    ("samples", "known", "chain", "message"),
    [
        (np.zeros((5, 2)), np.zeros((6, 3)), np.arange(6), r"the same torsions .* \(5, 2\)"),
        (np.zeros(5), np.zeros((6, 1)), np.arange(6), "the same torsions"),
        (np.zeros((5, 1)), np.zeros((6, 1)), np.zeros(6), "5 samples and 1 chains"),
        (np.full((5, 1), np.nan), np.zeros((6, 1)), np.arange(6), "0 samples and 6 chains"),
        (np.zeros((5, 1)), np.zeros((6, 1)), np.zeros(5), "one label for each of 6 frames"),
    ],
)
def test_bad_arrays_are_one_line(samples, known, chain, message):
    with pytest.raises(ConfigError, match=message):
        lost_rotamers(samples, known, chain)
