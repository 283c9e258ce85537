"""Means over weighted samples: what is known exactly, and how often intervals hold the truth."""

import numpy as np
import pytest

from jbg.analysis import chain_mean, free_energy_difference, weighted_mean
from jbg.interfaces import ConfigError


def normal(rng, n):
    """From N(0, 1) to N(0.7, 1): the mean is 0.7."""
    x = rng.normal(size=n)
    return x, 0.7 * x


def inside(k):
    """From N(0, 1) to a wider one, weights with a Pareto tail of shape k; f says whether |x| > 1.5."""

    def draw(rng, n):
        x = rng.normal(size=n)
        return np.abs(x) > 1.5, 0.5 * k * x**2

    return draw


def apart(k):
    """Pareto weights of shape k that say nothing of f, whose mean is 0.3."""

    def draw(rng, n):
        return rng.normal(size=n) + (rng.random(n) < 0.3), np.log(rng.pareto(1 / k, n) + 1)

    return draw


def squares(k):
    """Weights with a tail of shape k times x^2, which makes it heavier; the mean is 1 / (1 - k)."""

    def draw(rng, n):
        x = rng.normal(size=n)
        return x**2, 0.5 * k * x**2

    return draw


def outside(k):
    from scipy.stats import norm

    return 2 * norm.sf(1.5 * np.sqrt(1 - k))


CASES = {
    "normal": (normal, 0.7, 0.95),
    "inside 0.5": (inside(0.5), outside(0.5), 0.9),
    "inside 0.8": (inside(0.8), outside(0.8), 0.5),
    "apart 0.8": (apart(0.8), 0.3, 0.2),
    "squares 0.5": (squares(0.5), 2.0, 0.2),
    "squares 0.8": (squares(0.8), 5.0, 0.0),
}


def coverage(draw, truth, n, repeats):
    """How many means were given, how many of their intervals hold the truth, and how many of plain ones."""
    given = held = plain = 0
    for seed in range(repeats):
        f, log_w = draw(np.random.default_rng(seed), n)
        w = np.exp(log_w - log_w.max())
        mean = np.sum(w * f) / w.sum()
        plain += abs(mean - truth) < 1.96 * np.sqrt(np.sum((w * (f - mean)) ** 2)) / w.sum()
        found = weighted_mean(f, log_w, seed=seed)
        if found.value is not None:
            given += 1
            held += found.interval95[0] <= truth <= found.interval95[1]
    return given, held, plain


@pytest.mark.parametrize("name", CASES)
def test_intervals_hold_the_truth_or_nothing_is_given(name):
    draw, truth, least = CASES[name]
    given, held, _ = coverage(draw, truth, 2000, 40)
    assert given >= least * 40, given
    # 95 % of 40 with a standard deviation of 1.4
    assert given - held <= 2 + 0.12 * given, (given, held)


def test_a_plain_error_misses_where_the_tail_is_heavy():
    given, held, plain = coverage(*CASES["inside 0.8"][:2], 2000, 40)
    assert plain <= 32
    assert held >= 0.88 * given


def test_for_an_indicator_it_is_the_interval_of_the_free_energy():
    rng = np.random.default_rng(1)
    log_w, f = rng.normal(size=20_000), rng.random(20_000) < 0.1
    mean, free = weighted_mean(f, log_w), free_energy_difference(log_w, ~f, f)
    assert mean.value == pytest.approx(1 / (1 + np.exp(free.value)))
    ends = [1 / (1 + np.exp(end)) for end in reversed(free.interval95)]
    np.testing.assert_allclose(mean.interval95, ends, rtol=4e-3)


def test_shifts_and_scales_carry_over():
    rng = np.random.default_rng(2)
    f, log_w = normal(rng, 3000)
    plain, moved = weighted_mean(f, log_w), weighted_mean(100 - 3 * f, log_w)
    assert moved.value == pytest.approx(100 - 3 * plain.value)
    assert moved.stderr == pytest.approx(3 * plain.stderr, rel=0.1)
    assert plain.n_effective == moved.n_effective


def test_constants_have_no_error():
    found = weighted_mean(np.full(100, 3.0), np.zeros(100))
    assert (found.value, found.stderr) == (3.0, 0.0)


REFUSED = {
    "few": (np.arange(20.0), np.zeros(20), "20.0 effective samples, need 50"),
    "none": (np.zeros(5), np.full(5, -np.inf), "no sample has a weight"),
    "one": (np.arange(2000.0), np.where(np.arange(2000) == 3, 5.5, 0.0), "one sample holds 11%"),
    "rare": ((np.arange(2000) < 9).astype(float), np.zeros(2000), "above the mean rest on 9.0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trusted_has_a_reason(name):
    f, log_w, reason = REFUSED[name]
    found = weighted_mean(f, log_w)
    assert (found.value, found.stderr, found.interval95) == (None, None, None)
    assert reason in found.reason


def test_samples_without_weight_may_have_no_value():
    f, log_w = normal(np.random.default_rng(0), 500)
    f, log_w = np.append(f, np.nan), np.append(log_w, -np.inf)
    assert weighted_mean(f, log_w).value == pytest.approx(weighted_mean(f[:-1], log_w[:-1]).value)
    with pytest.raises(ConfigError, match="1 of 501 samples have a weight and no finite value"):
        weighted_mean(f, np.append(log_w[:-1], 0.0))
    with pytest.raises(ConfigError, match=r"must both be \(n,\)"):
        weighted_mean(f, log_w[:-1])


def test_chains():
    rng = np.random.default_rng(0)
    values = rng.normal(2.0, 1.0, size=(16, 500))
    found = chain_mean(values)
    assert abs(found.value - 2.0) < 4 * found.stderr
    assert found.stderr == pytest.approx(1 / np.sqrt(8000), rel=0.5)
    assert chain_mean(values[:2]).reason == "2 chains, need 3"
    stuck = values + np.arange(16)[:, None]
    assert "split-R-hat of the values is" in chain_mean(stuck).reason
