"""Kernel profiles against quadrature, scipy's estimator and closed forms of the kernel's bias."""

import time

import numpy as np
import pytest
from scipy.stats import gaussian_kde, norm

from jbg.analysis import cross_validated_bandwidth, kernel_profile, silverman_bandwidth
from jbg.interfaces import ConfigError
from jbg.systems import double_well

SYSTEM = double_well()
FINE = np.linspace(-3.2, 3.2, 20_001)


def energy(x, tilt=0.0):
    """The double well along x, with its tilt changed."""
    return np.asarray(SYSTEM.potential(np.stack([x, np.zeros_like(x)]))) + tilt * x


def density(tilt=0.0):
    p = np.exp(-energy(FINE, tilt))
    return p / np.sum(0.5 * (p[1:] + p[:-1]) * np.diff(FINE))


def draw(rng, n, tilt=0.0):
    """Exact independent samples of the double well along x, by inverse distribution function."""
    p = density(tilt)
    cdf = np.concatenate([[0.0], np.cumsum(0.5 * (p[1:] + p[:-1]) * np.diff(FINE))])
    return np.interp(rng.random(n) * cdf[-1], cdf, FINE)


def smoothed(grid, h):
    """-ln of the exact density convolved with the kernel, by quadrature."""
    kernel = norm.pdf(grid[:, None], FINE, h)
    return -np.log(kernel @ density() * (FINE[1] - FINE[0]))


def test_weighted_profile_is_the_smoothed_density_within_its_errors():
    # samples of a well without tilt (nearly half in each), weighted back to the tilted one
    x = draw(np.random.default_rng(0), 100_000, tilt=-1.0)
    log_w = -x + 3.0
    grid = np.linspace(-2.3, 2.3, 93)
    found = kernel_profile(x, log_w, grid, seed=0, bandwidth=0.05)
    deviation = (found.free_energy - smoothed(grid, 0.05)) / found.stderr
    firm = found.stderr < 0.3  # few samples at the barrier, 11 kT up: -ln is not normal there
    assert firm.sum() > 60
    assert np.max(np.abs(deviation[firm])) < 4.5
    assert 0.7 < np.std(deviation[firm]) < 1.3
    # the kernel's bias, to first order h^2 / 2 (F'' - F'^2)
    exact = -np.log(np.interp(grid, FINE, density()))
    slope, curvature = 4 * grid**3 - 12 * grid + 1, 12 * grid**2 - 12
    bias = 0.5 * 0.05**2 * (curvature - slope**2)
    low = exact < exact.min() + 2
    error = np.abs(found.free_energy - exact - bias)[low]
    assert np.all(error < 4 * found.stderr[low] + 0.3 * np.abs(bias[low]))


def test_profile_is_normalised_over_all_samples():
    x = np.random.default_rng(1).normal(size=200_000)
    grid = np.linspace(0.0, 1.0, 201)
    found = kernel_profile(x, np.zeros_like(x), grid, seed=0, bandwidth=0.1)
    exact = -norm.logpdf(grid, scale=np.sqrt(1 + 0.1**2))
    assert np.max(np.abs(found.free_energy - exact) / found.stderr) < 4
    assert np.max(found.stderr) < 0.02


def test_it_is_scipys_estimator():
    rng = np.random.default_rng(2)
    x, log_w = rng.normal(size=3000), rng.normal(size=3000)
    w = np.exp(log_w)
    h = 0.17
    scale = h / np.sqrt(np.cov(x, aweights=w))
    grid = np.linspace(-2.5, 2.5, 101)
    expected = -np.log(gaussian_kde(x, bw_method=scale, weights=w)(grid))
    found = kernel_profile(x, log_w, grid, seed=0, bandwidth=h)
    # linear binning at h/10 widens the kernel's variance by at most h^2 / 400: 0.25 % of h^2 F'' / 2 and F'^2
    np.testing.assert_allclose(found.free_energy, expected, atol=2e-3)


def test_cross_validation_finds_the_best_bandwidth():
    """For normal samples the least integrated square error is near 1.06 n^(-1/5), Silverman's 0.9."""
    rng = np.random.default_rng(3)
    found = [
        cross_validated_bandwidth(rng.normal(size=4000), np.zeros(4000), seed=s) for s in range(8)
    ]
    best = 1.06 * 4000**-0.2
    assert 0.7 * best < np.median(found) < 1.4 * best
    # two narrow wells far apart: Silverman's rule is far too wide, its data are not
    x = draw(rng, 20_000, tilt=-1.0)
    wells = cross_validated_bandwidth(x, np.zeros_like(x), seed=0)
    assert wells < 0.6 * silverman_bandwidth(x, np.zeros_like(x))
    grid = np.linspace(-2.2, 2.2, 45)
    exact = -np.log(np.interp(grid, FINE, density(-1.0)))
    likely = exact < exact.min() + 4

    def error(h):
        profile = kernel_profile(x, np.zeros_like(x), grid, seed=0, bandwidth=h)
        return np.sqrt(np.mean((profile.free_energy - exact)[likely] ** 2))

    chosen = kernel_profile(x, np.zeros_like(x), grid, seed=0).bandwidth
    assert error(chosen) < 0.5 * error(silverman_bandwidth(x, np.zeros_like(x)))
    assert error(chosen) < 0.5 * error(chosen / 8)


def test_weights_enter_the_folds():
    """Doubling samples by weight or by copying asks for the bandwidth of the weighted density."""
    rng = np.random.default_rng(4)
    narrow, wide = rng.normal(size=2000) * 0.1, rng.normal(size=2000) * 3 + 20
    x = np.concatenate([narrow, wide])
    on_narrow = np.where(np.arange(4000) < 2000, 0.0, -30.0)
    found = cross_validated_bandwidth(x, on_narrow, seed=0)
    assert found == pytest.approx(
        cross_validated_bandwidth(narrow, np.zeros(2000), seed=0), rel=0.6
    )
    other = cross_validated_bandwidth(x, on_narrow[::-1], seed=0)
    assert other > 10 * found


def test_the_error_is_the_spread_of_repeats():
    rng, grid = np.random.default_rng(5), np.linspace(-1.5, 1.5, 7)
    repeats = []
    for seed in range(60):
        x = rng.normal(size=2000) * 1.2
        log_w = -0.5 * x**2 + 0.5 * (x / 1.2) ** 2
        repeats.append(kernel_profile(x, log_w, grid, seed=seed, bandwidth=0.2, n_bootstrap=100))
    spread = np.std([r.free_energy for r in repeats], axis=0, ddof=1)
    mean = np.mean([r.stderr for r in repeats], axis=0)
    np.testing.assert_allclose(mean / spread, 1.0, atol=4 / np.sqrt(2 * 60))


def test_a_million_samples_take_seconds():
    rng = np.random.default_rng(6)
    x = rng.normal(size=1_000_000)
    started = time.perf_counter()
    found = kernel_profile(x, 0.1 * x, np.linspace(-3, 3, 200), seed=0)
    assert time.perf_counter() - started < 20
    assert np.isfinite(found.free_energy).all()


def test_where_nothing_is_known_there_is_no_value():
    x = np.random.default_rng(7).normal(size=5000)
    log_w = np.where(np.arange(5000) == 0, np.nan, 0.0)
    x[1] = np.inf
    found = kernel_profile(x, log_w, np.array([0.0, 50.0, 51.0]), seed=0, bandwidth=0.1)
    np.testing.assert_array_equal(np.isnan(found.free_energy), [False, True, True])
    assert np.isnan(found.stderr[1:]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.0, 1.0], [0.0], [0.0, 1.0]), "values and log_w must be"),
        (([0.0, 1.0], [-np.inf, np.nan], [0.0, 1.0]), "no sample has a weight"),
        (([0.0, 1.0], [0.0, 0.0], [1.0, 0.0]), "grid must be"),
        (([0.0, 1.0], [0.0, 0.0], [0.0, 1.0]), "2 weighted samples within"),
        ((np.zeros(50), np.zeros(50), [0.0, 1.0]), "all samples have one value"),
    ],
)
def test_bad_input_is_one_line(arguments, message):
    with pytest.raises(ConfigError, match=message) as caught:
        kernel_profile(*arguments, seed=0)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="bandwidth must be > 0"):
        kernel_profile([0.0, 1.0], [0.0, 0.0], [0.0, 1.0], seed=0, bandwidth=0.0)
