"""Free energies with errors: known truths, coverage over repeats, and what must be refused."""

import time

import numpy as np
import pytest
from scipy.stats import norm

from jbg.analysis import free_energy_difference, reference_free_energy, weighted_profile
from jbg.interfaces import ConfigError


def shifted_gaussian(rng, n, *, mean=0.5, width=1.2):
    """Samples of N(0, width^2) with the log-weights of N(mean, 1), up to a constant."""
    x = rng.normal(size=n) * width
    return x, -0.5 * (x - mean) ** 2 + 0.5 * (x / width) ** 2 + 7.0


EXACT = np.log(norm.cdf(-0.5) / norm.cdf(0.5))  # F(x >= 0) - F(x < 0) for mean 0.5


def test_difference_is_the_known_one_with_the_right_sign():
    x, log_w = shifted_gaussian(np.random.default_rng(0), 200_000)
    result = free_energy_difference(log_w, x < 0, x >= 0, seed=1)
    assert result.reason is None
    assert EXACT < 0  # x >= 0 is the likelier state
    assert abs(result.value - EXACT) < 4 * result.stderr < 0.05
    swapped = free_energy_difference(log_w, x >= 0, x < 0, seed=1)
    assert swapped.value == pytest.approx(-result.value)


@pytest.mark.parametrize("width", [1.2, 0.9])
def test_intervals_cover_the_truth_as_often_as_they_say(width):
    rng = np.random.default_rng(2)
    covered, values, errors = 0, [], []
    for repeat in range(200):
        x, log_w = shifted_gaussian(rng, 3000, width=width)
        result = free_energy_difference(log_w, x < 0, x >= 0, seed=repeat)
        low, high = result.interval95
        covered += low <= EXACT <= high
        values.append(result.value)
        errors.append(result.stderr)
    # binomial: 95 % +- 1.5 %; three of those, and the tail that was not drawn is added to the interval
    assert 0.9 < covered / 200 <= 0.995
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.15)


def test_the_error_of_well_behaved_weights_is_that_of_the_linearised_ratio():
    """Of 100 000 samples; what a light tail may add is next to nothing."""
    x, log_w = shifted_gaussian(np.random.default_rng(3), 100_000)
    w = np.exp(log_w - log_w.max())
    a, b = w * (x < 0), w * (x >= 0)
    linear = np.sqrt(np.sum((a / a.sum() - b / b.sum()) ** 2))
    result = free_energy_difference(log_w, x < 0, x >= 0, seed=0)
    assert result.stderr == pytest.approx(linear, rel=0.12)


def test_a_million_samples_take_seconds():
    x, log_w = shifted_gaussian(np.random.default_rng(4), 1_000_000)
    started = time.process_time()
    free_energy_difference(log_w, x < 0, x >= 0, seed=0)
    assert time.process_time() - started < 5.0


@pytest.mark.parametrize(
    ("log_w", "in_b", "reason"),
    [
        (np.zeros(1000), np.zeros(1000, bool), "no weight in the second state"),
        (np.zeros(1000), np.arange(1000) < 30, "30.0 effective samples in the second state"),
        (np.where(np.arange(1000) == 0, 4.7, 0.0), np.arange(1000) < 900, "of the weight of the"),
        (np.full(1000, np.nan), np.arange(1000) < 500, "no weight in the first state"),
    ],
)
def test_what_cannot_be_trusted_is_null_with_a_reason(log_w, in_b, reason):
    result = free_energy_difference(log_w, ~in_b, in_b, seed=0)
    assert (result.value, result.stderr, result.interval95) == (None, None, None)
    assert reason in result.reason


def test_reference_intervals_cover_with_few_correlated_chains():
    rng = np.random.default_rng(5)
    covered = 0
    for repeat in range(400):
        share = rng.beta(6.0, 24.0, size=8)  # chains differ by far more than their 1000 frames say
        n_b = rng.binomial(1000, share)
        result = reference_free_energy(1000 - n_b, n_b, seed=repeat, n_bootstrap=200)
        low, high = result.interval95
        covered += low <= np.log(24 / 6) <= high
    assert 0.90 < covered / 400 < 0.985


@pytest.mark.parametrize(
    ("counts_a", "counts_b", "reason"),
    [
        ([10, 10], [0, 0], "never visited the second state"),
        ([0, 0], [10, 10], "never visited the first state"),
        ([10], [5], "single chain"),
        ([10] * 8, [5, 5, 0, 0, 0, 0, 0, 0], "only 2 of 8 chains visited the second"),
        ([10, 0], [5, 5], "only 1 of 2 chains visited the first"),
    ],
)
def test_reference_is_refused_without_independent_visits(counts_a, counts_b, reason):
    result = reference_free_energy(counts_a, counts_b, seed=0)
    assert result.value is None
    assert reason in result.reason


def test_profile_is_minus_the_log_density():
    x, log_w = shifted_gaussian(np.random.default_rng(6), 300_000)
    edges = np.linspace(-2.0, 3.0, 51)
    profile = weighted_profile(x, log_w, edges, seed=0)
    exact = -np.log(np.diff(norm.cdf(edges, loc=0.5)) / np.diff(edges))
    deviation = (profile.free_energy - exact) / profile.stderr
    assert np.max(np.abs(deviation)) < 4.5  # 50 bins
    assert 0.7 < np.std(deviation) < 1.3
    # its sums are the probabilities of the states
    inside = np.sum(np.exp(-profile.free_energy) * np.diff(edges))
    assert inside == pytest.approx(norm.cdf(2.5) - norm.cdf(-2.5), abs=2e-3)


def test_profile_leaves_out_what_it_does_not_know():
    values = np.concatenate([np.full(500, 0.5), np.full(500, 1.5), [2.5]])
    log_w = np.concatenate([np.zeros(1000), [np.log(1e-3)]])
    profile = weighted_profile(values, log_w, [0.0, 1.0, 2.0, 3.0, 4.0], seed=0)
    np.testing.assert_array_equal(np.isnan(profile.free_energy), [False, False, True, True])
    np.testing.assert_allclose(profile.free_energy[:2], np.log(2.0), rtol=1e-5)
    once = weighted_profile(values, np.zeros(1001), [0.0, 1.0, 2.0, 3.0], seed=0)
    assert np.isfinite(once.free_energy[2])
    assert np.isnan(once.stderr[2])  # a single sample has no error


def test_profile_leaves_out_bins_of_few_effective_samples():
    values = np.repeat([0.5, 1.5, 2.5], [500, 20, 20])
    log_w = np.concatenate(
        [np.zeros(520), [5.0], np.zeros(19)]
    )  # one of the last bin's outweighs it
    options = {"seed": 0, "min_effective": 10.0}
    profile = weighted_profile(values, log_w, [0.0, 1.0, 2.0, 3.0, 4.0], **options)
    np.testing.assert_array_equal(np.isnan(profile.free_energy), [False, False, True, True])


def test_profile_without_weights_is_all_nan():
    profile = weighted_profile(np.zeros(10), np.full(10, -np.inf), [-1.0, 1.0], seed=0)
    assert np.isnan(profile.free_energy).all()
    assert np.isnan(profile.stderr).all()


@pytest.mark.parametrize(
    "mask", [np.array([0, 1, 1]), np.array([True, False]), np.ones((3, 1), bool), np.ones(3), []]
)
def test_masks_are_bool_and_as_many_as_samples(mask):
    good = np.array([True, False, True])
    for masks in ((good, mask), (mask, good)):
        with pytest.raises(ConfigError, match=r"expected a mask \(3,\) of bool, got"):
            free_energy_difference(np.zeros(3), *masks, seed=0)
