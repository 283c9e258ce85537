"""The low-energy fraction of perfect, wide and narrow generators, against chi-square laws."""

import numpy as np
import pytest
from scipy.stats import chi2

from jbg.analysis import latent_low_energy_fraction, low_energy_fraction
from jbg.interfaces import ConfigError

DIM = 8


def harmonic(rng, n, width=1.0):
    return 0.5 * np.sum((width * rng.normal(size=(n, DIM))) ** 2, axis=1)


@pytest.mark.parametrize("width", [1.0, 1.2, 0.8])
def test_share_is_that_of_the_chi_square_law(width):
    rng = np.random.default_rng(0)
    found = low_energy_fraction(harmonic(rng, 20_000, width), harmonic(rng, 20_000))
    exact = chi2.cdf(chi2.ppf(0.99, DIM) / width**2, DIM)
    assert abs(found.value - exact) < 4 * found.stderr < 0.03
    assert found.threshold == pytest.approx(0.5 * chi2.ppf(0.99, DIM), rel=0.05)


def test_the_error_is_the_spread_of_repeats():
    """Few data: the quantile's error is the larger part."""
    rng, found = np.random.default_rng(1), []
    for _ in range(300):
        found.append(low_energy_fraction(harmonic(rng, 3000, 1.2), harmonic(rng, 1000)))
    spread = np.std([f.value for f in found], ddof=1)
    assert np.mean([f.stderr for f in found]) == pytest.approx(spread, rel=0.2)
    assert spread > 2 * np.sqrt(0.9 * 0.1 / 3000)


def test_energies_that_are_not_finite_are_not_low():
    data = np.linspace(0, 1, 101)
    found = low_energy_fraction([0.5, np.inf, np.nan, -np.inf, 2.0], data)
    assert found.value == pytest.approx(0.2)
    assert low_energy_fraction(np.zeros(100), data).stderr > 0


@pytest.mark.parametrize(("tau", "width"), [(1.0, 1.0), (2.0, np.sqrt(2.0)), (1.0, 1.2)])
def test_latent_share_is_exact_for_normal_codes(tau, width):
    z = width * np.random.default_rng(2).normal(size=(40_000, DIM))
    found = latent_low_energy_fraction(z, tau=tau)
    exact = chi2.cdf(chi2.ppf(0.99, DIM) * tau / width**2, DIM)
    assert abs(found.value - exact) < 4 * found.stderr < 0.02
    assert found.threshold == 0.5 * chi2.ppf(0.99, DIM)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: low_energy_fraction([], [1.0]), "needs samples"),
        (lambda: low_energy_fraction([1.0], []), "u_data must be"),
        (lambda: low_energy_fraction([1.0], [np.inf]), "u_data must be"),
        (lambda: low_energy_fraction([1.0], [1.0], quantile=99.0), "a quantile in"),
        (lambda: latent_low_energy_fraction(np.zeros(3)), "needs z"),
        (lambda: latent_low_energy_fraction(np.zeros((3, 2)), tau=0.0), "tau > 0"),
    ],
)
def test_bad_input_is_one_line(call, message):
    with pytest.raises(ConfigError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
