"""MBAR over harmonic windows drawn directly from their Gaussians, where every answer is known."""

import subprocess
import sys

import jax
import numpy as np
import pytest
from scipy import stats

from jbg.analysis.mbar import umbrella_log_weights, umbrella_weights
from jbg.analysis.mbar_estimates import mbar_difference, mbar_profile, umbrella_drift
from jbg.interfaces import ConfigError, RunError

K = 8.0
CENTRES = np.linspace(-1.5, 3.0, 6)
SPLIT = 1.5


def drawn(seed, tau, *, n=100, n_replicas=16, k=K, centres=CENTRES):
    """Independent samples ``(n, W, R)`` of exp(-(x^2/2 + k/2 (x - c)^2) / tau)."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n, len(centres), n_replicas))
    return k * centres[:, None] / (1 + k) + np.sqrt(tau / (1 + k)) * noise


def exact_difference(tau):
    p = stats.norm.cdf(SPLIT, scale=np.sqrt(tau))
    return float(np.log(p / (1 - p)))


@pytest.mark.parametrize("tau", [0.5, 2.0])
def test_difference_and_its_error(tau):
    found = []
    for seed in range(5):
        x = drawn(seed, tau)
        weights = umbrella_weights(x, CENTRES, K, tau=tau)
        found.append(mbar_difference(weights, x < SPLIT, x >= SPLIT))
    deviations = [(f.value - exact_difference(tau)) / f.stderr for f in found]
    assert max(np.abs(deviations)) < 5  # Student's t of 15 degrees of freedom
    assert all(0.01 < f.stderr < 0.2 for f in found)
    # the error stated is that seen over seeds: chi-squared of 4 degrees of freedom over 4
    seen = np.var([f.value for f in found], ddof=1)
    assert 0.02 < seen / np.mean([f.stderr**2 for f in found]) < 5


def test_a_bias_not_divided_by_tau_is_wrong_by_many_errors():
    """Chains of exp(-u/tau - b), as if the bias were outside of the temperature."""
    tau = 0.5
    x = drawn(0, tau, k=K * tau)
    weights = umbrella_weights(x, CENTRES, K, tau=tau)
    found = mbar_difference(weights, x < SPLIT, x >= SPLIT)
    assert abs(found.value - exact_difference(tau)) > max(10 * found.stderr, 0.5)


def test_weights_make_the_unbiased_ensemble():
    x = drawn(1, 1.0)
    weights = umbrella_weights(x, CENTRES, K, tau=1.0)
    w = np.exp(weights.log_w)
    assert abs(w.sum() - 1) < 1e-9
    np.testing.assert_allclose(np.exp(weights.log_w_by_replica).sum((0, 1)), 1, rtol=1e-9)
    assert abs((w * x).sum()) < 0.09  # five standard errors of some 3000 effective samples
    assert abs((w * x**2).sum() - 1) < 0.13
    # f of a window against no bias: -ln <exp(-b)> = k c^2 / (2 (1 + k)) + ln(1 + k) / 2
    exact = 0.5 * K * CENTRES**2 / (1 + K) + 0.5 * np.log1p(K)
    np.testing.assert_allclose(weights.free_energies, exact, atol=0.15)
    np.testing.assert_allclose(weights.overlap.sum(1), 1, atol=1e-4)
    np.testing.assert_allclose(
        umbrella_log_weights(weights, x, CENTRES, K, tau=1.0) - weights.log_w,
        np.full(x.shape, umbrella_log_weights(weights, x[:1], CENTRES, K, tau=1.0)[0, 0, 0]
                - weights.log_w[0, 0, 0]),
        atol=1e-9,
    )  # fmt: skip


def test_profile_is_that_of_the_gaussian_and_adds_up():
    x = drawn(2, 2.0)
    weights = umbrella_weights(x, CENTRES, K, tau=2.0)
    edges = np.linspace(-2, 3.5, 23)
    profile = mbar_profile(weights, x, edges)
    exact = -np.log(np.diff(stats.norm.cdf(edges, scale=np.sqrt(2))) / np.diff(edges))
    assert np.all(np.abs(profile.free_energy - exact) < 5.5 * profile.stderr)
    assert np.nanmax(profile.stderr) < 0.2
    share = np.exp(weights.log_w)[(x >= edges[0]) & (x < edges[-1])].sum()
    assert abs(np.sum(np.exp(-profile.free_energy) * np.diff(edges)) - share) < 1e-9
    outside = mbar_profile(weights, x, [50.0, 51.0])
    assert np.isnan(outside.free_energy[0])
    assert np.isnan(outside.stderr[0])


def test_drift_is_seen():
    x = drawn(3, 1.0)
    parts = (x < SPLIT, x >= SPLIT, CENTRES, K)
    error = 2 * mbar_difference(umbrella_weights(x, CENTRES, K, tau=1.0), *parts[:2]).stderr
    assert abs(umbrella_drift(x, *parts, tau=1.0)) < 4 * error
    x[:50, 2:4] += 0.15  # windows about the split are not where they will be
    assert abs(umbrella_drift(x, x < SPLIT, x >= SPLIT, *parts[2:], tau=1.0)) > 6 * error


def test_windows_that_do_not_overlap_are_named():
    centres = np.array([-0.6, 0.0, 6.0, 6.6])
    x = drawn(4, 1.0, k=10.0, centres=centres, n=50, n_replicas=4)
    with pytest.raises(RunError, match=r"windows 1 and 2 at 0 and 6 overlap by .*add windows"):
        umbrella_weights(x, centres, 10.0, tau=1.0)


def test_a_state_without_samples_has_a_reason():
    x = drawn(5, 1.0)
    weights = umbrella_weights(x, CENTRES, K, tau=1.0)
    found = mbar_difference(weights, x < SPLIT, x > 99)
    assert found.value is None
    assert "16 replicas have no sample in the second state" in found.reason


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (np.zeros((5, 3, 4)), r"values must be \(n, 6, n_replicas\)"),
        (np.zeros((5, 6)), r"values must be \(n, 6, n_replicas\)"),
        (np.zeros((0, 6, 4)), r"values must be \(n, 6, n_replicas\)"),
        (np.zeros((5, 6, 1)), "one replica gives no error"),
        (np.full((5, 6, 4), np.nan), "a value or centre is not finite"),
    ],
)
def test_bad_values_are_named(values, what):
    with pytest.raises(ConfigError, match=what):
        umbrella_weights(values, CENTRES, K, tau=1.0)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"tau": 0.0}, "must be > 0"),
        ({"tau": np.nan}, "must be > 0"),
        ({"force_constant": -1.0}, "must be > 0"),
        ({"centres": CENTRES[:1], "values": np.zeros((5, 1, 4))}, "one window has nothing"),
    ],
)
def test_bad_settings_are_named(settings, what):
    given = {"values": np.zeros((5, 6, 4)), "centres": CENTRES, "force_constant": K, "tau": 1.0}
    with pytest.raises(ConfigError, match=what):
        umbrella_weights(**(given | settings))


def test_pymbar_says_nothing_and_leaves_jax_in_32_bits():
    code = (
        "import jax, numpy as np\n"
        "from jbg.analysis.mbar import umbrella_weights\n"
        "x = np.random.default_rng(0).normal(size=(20, 2, 2)) + np.array([0, 1.0])[:, None]\n"
        "umbrella_weights(x, np.array([0, 1.0]), 1.0, tau=1.0)\n"
        "assert not jax.config.jax_enable_x64\n"
        "assert jax.numpy.zeros(1).dtype == 'float32'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr + done.stdout


def test_64_bits_stay_on_where_they_were(x64):
    umbrella_weights(drawn(6, 1.0), CENTRES, K, tau=1.0)
    assert jax.numpy.zeros(1).dtype == "float64"
