"""Weights against Gaussian integrals, closed forms and the generalised Pareto law itself."""

import math

import numpy as np
import pytest
from scipy import stats

from jbg import reweighting as rw
from jbg.interfaces import RunError
from jbg.systems import double_well
from jbg.targets import make_target


def gaussian_weights(n, *, width, tau=1.0, seed=0):
    """q = N(0, width^2), u = x^2 / 2: ln Z = ln(2 pi tau) / 2."""
    x = np.random.default_rng(seed).normal(size=n) * width
    return rw.log_weights(0.5 * x**2, stats.norm.logpdf(x, scale=width), tau=tau)


@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
def test_mean_weight_is_the_partition_function(tau):
    estimate = rw.log_z_estimate(gaussian_weights(100_000, width=1.8, tau=tau))
    assert abs(estimate.value - 0.5 * math.log(2 * math.pi * tau)) < 4 * estimate.stderr
    assert estimate.stderr < 0.01
    assert estimate.n_non_finite == 0


def test_double_well_weights_integrate_to_the_quadrature():
    target = make_target(double_well())
    rng = np.random.default_rng(1)
    left = rng.random(200_000) < 0.9
    x = rng.normal(size=(2, left.size)) * [[0.3], [1.1]] + [np.where(left, -1.77, 1.69), 0 * left]
    log_q = np.logaddexp(
        np.log(0.9) + stats.norm.logpdf(x[0], -1.77, 0.3),
        np.log(0.1) + stats.norm.logpdf(x[0], 1.69, 0.3),
    ) + stats.norm.logpdf(x[1], 0, 1.1)
    estimate = rw.log_z_estimate(rw.log_weights(target.reduced_energy(x), log_q))
    assert abs(estimate.value - target.log_z(1.0)) < 4 * estimate.stderr < 0.03


def test_a_pool_of_several_densities_is_weighed_as_one():
    """ln Z at tau = 0.1 from few narrow and many wide samples; no weight above N / n_k of that of q_k alone."""
    rng, widths, counts = np.random.default_rng(4), np.array([[0.15], [3.0]]), (5000, 20_000)
    x = np.concatenate([rng.normal(size=n) * w[0] for n, w in zip(counts, widths, strict=True)])
    log_q = stats.norm.logpdf(x, scale=widths)
    pool = rw.mixture_log_q(log_q, counts)
    np.testing.assert_allclose(np.exp(pool), np.exp(log_q).T @ [0.2, 0.8], rtol=1e-12)
    log_w = rw.log_weights(0.5 * x**2, pool, tau=0.1)
    estimate = rw.log_z_estimate(log_w)
    assert abs(estimate.value - 0.5 * math.log(2 * math.pi * 0.1)) < 4 * estimate.stderr
    alone = rw.log_weights(0.5 * x**2, log_q, tau=0.1)
    assert (log_w <= alone + np.log([[5.0], [1.25]]) + 1e-12).all()
    # 0.15 is narrower than 0.1^0.5: its own weights have no finite variance, those of the pool have
    assert rw.pareto_k(alone[0, :5000]) > 0.7 > 0.5 > rw.pareto_k(log_w)
    np.testing.assert_array_equal(rw.mixture_log_q([[0.0], [-np.inf]], (1, 3)), [-math.log(4)])


def test_restricted_weights_integrate_over_the_region_alone():
    x = np.random.default_rng(3).normal(size=50_000)
    log_w = rw.log_weights(0.5 * x**2, stats.norm.logpdf(x))
    log_w[x > 2] = np.nan  # an invalid sample stays one, inside or outside
    inside = x > 1
    found, outside_share = rw.restrict_log_weights(log_w, inside)
    assert outside_share == np.mean(x <= 1)
    np.testing.assert_array_equal(found[~inside], -np.inf)
    np.testing.assert_array_equal(found[inside], log_w[inside])
    # the integral over 1 < x < 2; each sample weighs sqrt(2 pi), so the share alone is binomial
    p = stats.norm.cdf(2) - stats.norm.cdf(1)
    error = math.sqrt((1 - p) / (p * x.size))
    assert abs(rw.log_z_estimate(found).value - math.log(p * math.sqrt(2 * math.pi))) < 4 * error


def test_stderr_is_the_spread_over_repeats():
    repeats = [rw.log_z_estimate(gaussian_weights(2000, width=1.5, seed=s)) for s in range(300)]
    spread = np.std([r.value for r in repeats])
    # the spread of 300 repeats is itself known to 4 %
    assert np.mean([r.stderr for r in repeats]) == pytest.approx(spread, rel=0.17)


def test_ess_closed_forms():
    assert rw.ess_fraction(np.full(10, 123.0)) == pytest.approx(1.0)
    assert rw.ess_fraction([0.0, -np.inf, -np.inf, -np.inf]) == pytest.approx(0.25)
    assert rw.ess_fraction(np.log([3.0, 1.0])) == pytest.approx(16 / (2 * 10))
    # Gaussians: <w>^2 / <w^2> = sqrt(2 s^2 - 1) / s^2 for a proposal wider by s
    assert rw.ess_fraction(gaussian_weights(400_000, width=1.5)) == pytest.approx(
        math.sqrt(2 * 1.5**2 - 1) / 1.5**2, rel=0.01
    )


def test_ess_survives_energies_of_any_size():
    log_w = np.array([1e6, 1e6 - 1, -1e9])
    assert rw.ess_fraction(log_w) == pytest.approx(rw.ess_fraction(log_w - 1e6))


def test_non_finite_weights_count_as_zero_and_are_counted():
    log_w = np.array([0.0, np.nan, np.inf, -np.inf])
    assert rw.ess_fraction(log_w) == pytest.approx(0.25)
    estimate = rw.log_z_estimate(log_w)
    assert estimate.value == pytest.approx(math.log(0.25))
    assert estimate.n_non_finite == 3
    assert rw.largest_weight_share(log_w) == 1.0
    nothing = np.full(5, np.nan)
    assert rw.ess_fraction(nothing) == 0.0
    assert rw.largest_weight_share(nothing) == 0.0
    assert rw.log_z_estimate(nothing) == (-math.inf, math.inf, 5)


def test_clipping_lowers_the_top_share_to_its_smallest():
    log_w = np.log(np.arange(1.0, 11.0))
    np.testing.assert_allclose(np.exp(rw.clip_log_weights(log_w, share=0.3)), [*range(1, 9), 8, 8])
    np.testing.assert_array_equal(rw.clip_log_weights(log_w, share=1e-4), log_w)
    heavy = np.zeros(100_000)
    heavy[:9] = 30.0
    assert rw.ess_fraction(heavy) < 1e-3
    assert rw.ess_fraction(rw.clip_log_weights(heavy)) == pytest.approx(1.0)  # ten are clipped


def test_clipping_biases_the_partition_function_and_not_clipping_does_not():
    exact = 0.5 * math.log(2 * math.pi)
    plain, clipped = [], []
    for seed in range(40):
        log_w = gaussian_weights(20_000, width=0.8, seed=seed)
        plain.append(rw.log_z_estimate(log_w).value - exact)
        clipped.append(rw.log_mean_exp(rw.clip_log_weights(log_w, share=0.01)) - exact)
    standard_error = np.std(plain) / math.sqrt(40)
    assert abs(np.mean(plain)) < 4 * standard_error
    assert np.mean(clipped) < -10 * standard_error


def test_resampling_gives_each_sample_its_share():
    rng = np.random.default_rng(0)
    w = rng.gamma(0.5, size=50)
    counts = np.bincount(rw.resample(rng, np.log(w), 10_000), minlength=50)
    assert counts.sum() == 10_000
    assert np.all(np.abs(counts - 10_000 * w / w.sum()) < 1.0 + 1e-9)


def test_resampling_never_returns_a_weightless_sample():
    rng = np.random.default_rng(0)
    log_w = [-np.inf, 0.0, np.nan, 0.0, -np.inf]
    assert set(rw.resample(rng, log_w, 999)) == {1, 3}
    with pytest.raises(RunError, match="no finite weight"):
        rw.resample(rng, [np.nan, -np.inf], 10)


@pytest.mark.parametrize("shape", [0.1, 0.5, 1.0])
def test_pareto_k_recovers_the_shape_of_the_tail(shape):
    w = stats.genpareto.rvs(shape, size=200_000, random_state=3)
    # 1342 tail samples: standard error (1 + k) / sqrt(1342)
    assert rw.pareto_k(np.log(w)) == pytest.approx(shape, abs=4 * (1 + shape) / math.sqrt(1342))


def test_pareto_k_of_a_proposal_too_narrow_warns():
    assert rw.pareto_k(gaussian_weights(50_000, width=1.3)) < 0.5
    assert rw.pareto_k(gaussian_weights(50_000, width=0.5)) > 0.6


def test_pareto_k_without_a_tail_is_nan():
    assert math.isnan(rw.pareto_k(np.zeros(1000)))
    assert math.isnan(rw.pareto_k([0.0, 1.0]))
