"""The mean of heavy-tailed weights: intervals cover, also of the runs that drew no heavy sample."""

import numpy as np
import pytest

from jbg.analysis import free_energy_difference, mean_weight, mean_weight_difference

N = 1500  # in the state, of 50 times as many


def lognormal(sigma):
    return lambda rng, n: sigma * rng.normal(size=n) - sigma**2 / 2


def pareto(k):
    """ln of Pareto weights of shape k, of mean 1."""
    return lambda rng, n: -k * np.log(rng.random(n)) + np.log(1 - k)


@pytest.mark.parametrize(
    ("draw", "given_at_least", "wider_at_most"),
    [(lognormal(1.0), 0.95, 1.3), (lognormal(2.0), 0.2, 9.0), (pareto(0.7), 0.3, 9.0)],
)
def test_given_intervals_cover_a_known_mean(draw, given_at_least, wider_at_most):
    """Of a state beside one of equal weights; also the runs whose heaviest sample is small."""
    given, wider = [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        log_w = draw(rng, rng.poisson(N))
        rest = np.zeros(rng.poisson(49 * N))
        inside = np.arange(len(log_w) + len(rest)) < len(log_w)
        found = free_energy_difference(np.append(log_w, rest), ~inside, inside, seed=seed)
        if found.value is None:
            assert "kT wide" in found.reason or "effective" in found.reason or "%" in found.reason
            continue
        w = np.exp(log_w)
        low, high = found.interval95
        assert low <= found.value <= high
        given.append((low <= np.log(49) <= high, w.max() / w.sum() < 0.05))
        wider.append((high - low) / (2 * 1.96 * np.sqrt(np.sum(w**2)) / w.sum()))
    covered, quiet = np.array(given).T
    assert len(given) >= given_at_least * 150
    assert np.mean(wider) < wider_at_most
    # binomial: four standard errors below 95 %
    for rows in (covered, covered[quiet]):
        assert rows.mean() > 0.95 - 4 * np.sqrt(0.05 * 0.95 / len(rows))


def test_the_set_or_the_state_alone():
    """At n fixed, equal weights of all samples have no error; those of a state in a set are Poisson."""
    rng, even = np.random.default_rng(0), np.zeros(400)
    assert np.std(mean_weight(even, 400, rng, of_set=False).draws) < 1e-12
    assert np.std(mean_weight(even, 400, rng, of_set=True).draws) == pytest.approx(0.05, rel=0.1)
    half = mean_weight(even, 800, rng, of_set=False)  # the other half outside: (1 / p - 1) / n
    assert np.std(half.draws) == pytest.approx(np.sqrt(1 / 800), rel=0.1)
    assert half.value == pytest.approx(np.log(0.5))
    log_w = lognormal(0.5)(rng, 4000)
    alone = mean_weight(log_w, 4000, rng, of_set=False)
    assert np.std(alone.draws) == pytest.approx(np.sqrt(np.expm1(0.25) / 4000), rel=0.1)
    assert 0 < alone.unseen < 0.05
    assert mean_weight(np.full(9, np.nan), 9, rng, of_set=True).value == -np.inf


def test_two_generators_cover():
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        a, b = lognormal(0.8)(rng, 2000), lognormal(0.5)(rng, 3000)
        b[rng.random(3000) < 0.3] = -np.inf  # outside of the state
        low, high = mean_weight_difference(a, b, seed=seed).interval95
        covered += low <= -np.log(0.7) <= high
    assert covered >= 88


def test_a_thin_part_that_was_not_drawn_cannot_be_seen_and_one_that_was_is_refused():
    """What the weights of 2000 samples know of a tenth of the state that is 3000 times too rare: nothing."""
    rng = np.random.default_rng(0)
    seen = np.concatenate([np.full(2000, np.log(0.9)), np.zeros(50_000)])
    inside = np.arange(len(seen)) < 2000
    found = free_energy_difference(seen + 0.1 * rng.normal(size=len(seen)), ~inside, inside, seed=0)
    assert found.value is not None
    heavy = seen.copy()
    heavy[0] = np.log(3000 * 0.9)
    refused = free_energy_difference(heavy, ~inside, inside, seed=0)
    assert "effective samples in the second state" in refused.reason
