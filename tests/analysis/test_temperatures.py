"""Free energy, energy, entropy and heat capacity at other temperatures, against integrals on a grid."""

import numpy as np
import pytest

from jbg.analysis.temperatures import at_temperature, difference_at_temperature
from jbg.interfaces import ConfigError

X = np.linspace(-6, 6, 20001)


def energy(x):
    """A double well in kT of the run, its right well higher."""
    return 0.25 * (x**2 - 4) ** 2 + 0.4 * x


def exact(tau, inside=slice(None)):
    """ln Z, U and C of a part of the line."""
    x = X[inside]
    w = np.exp(-energy(x) / tau)
    z = np.sum(w) * (X[1] - X[0])
    u = np.sum(w * energy(x)) / np.sum(w)
    c = np.sum(w * (energy(x) - u) ** 2) / np.sum(w) / tau**2
    return np.log(z), u, c


def samples(n, seed=0, spread=0.7):
    """Of a mixture that covers both wells: energies, log-weights and where they are."""
    rng = np.random.default_rng(seed)
    x = np.where(rng.random(n) < 0.5, -2.0, 2.0) + spread * rng.normal(size=n)
    q = sum(np.exp(-0.5 * ((x - c) / spread) ** 2) for c in (-2, 2)) / spread
    return energy(x), -energy(x) - np.log(q), x


def near(found, truth, most=3.5):
    assert found.value is not None, found.reason
    assert abs(found.value - truth) <= most * found.stderr + 1e-9, (found, truth)
    assert found.interval95[0] <= found.value <= found.interval95[1]


@pytest.mark.parametrize("tau", [0.8, 1.0, 1.3])
def test_all_configurations(tau):
    u, log_w, _ = samples(40_000)
    found = at_temperature(log_w, u, tau)
    (ln_z, mean, heat), (ln_z_own, mean_own, _) = exact(tau), exact(1.0)
    free = tau * (mean_own - (ln_z - ln_z_own))
    near(found.energy, mean)
    near(found.heat_capacity, heat)
    near(found.free_energy, free)
    near(found.entropy_term, mean - free)
    assert 0 < found.free_energy.stderr < 0.05
    if tau == 1.0:
        assert found.free_energy.value == pytest.approx(found.energy.value, rel=1e-9)
        assert found.entropy_term.value == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("tau", [0.8, 1.0, 1.3])
def test_two_states(tau):
    u, log_w, x = samples(40_000)
    found = difference_at_temperature(log_w, u, (x < 0, x >= 0), tau)
    (z_a, u_a, _), (z_b, u_b, _) = exact(tau, X < 0), exact(tau, X >= 0)
    near(found.free_energy, -tau * (z_b - z_a))
    near(found.energy, u_b - u_a)
    near(found.entropy_term, u_b - u_a + tau * (z_b - z_a))


def test_errors_are_those_of_repeated_samples():
    tau, z = 1.3, {"free_energy": [], "entropy_term": [], "energy": [], "heat_capacity": []}
    (ln_z, mean, heat), (ln_z_own, mean_own, _) = exact(tau), exact(1.0)
    free = tau * (mean_own - (ln_z - ln_z_own))
    truth = {
        "free_energy": free,
        "energy": mean,
        "entropy_term": mean - free,
        "heat_capacity": heat,
    }
    for seed in range(40):
        u, log_w, _ = samples(3000, seed)
        found = at_temperature(log_w, u, tau, seed=seed)
        for name, scores in z.items():
            estimate = getattr(found, name)
            scores.append((estimate.value - truth[name]) / estimate.stderr)
    for name, scores in z.items():
        assert 0.6 < np.std(scores) < 1.3, (name, np.std(scores))


def test_clashes_have_no_say():
    u, log_w, _ = samples(5000)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = at_temperature(np.append(log_w, -1e5), np.append(u, 1e5), 1.2)
    known = at_temperature(log_w, u, 1.2)
    for name in ("free_energy", "energy", "entropy_term", "heat_capacity"):
        assert getattr(found, name).value == pytest.approx(getattr(known, name).value)
        assert getattr(found, name).stderr == pytest.approx(getattr(known, name).stderr, rel=0.1)


def test_far_from_the_run_there_is_no_value():
    u, log_w, x = samples(200, spread=0.1)
    found = at_temperature(log_w, u, 30.0)
    assert found.energy.value is None
    assert found.free_energy.reason
    pair = difference_at_temperature(log_w, u, (x < 0, x > 100), 1.0)
    assert pair.free_energy.value is None
    assert "effective samples in the first state" in pair.entropy_term.reason


def test_bad_input_is_one_line():
    with pytest.raises(ConfigError, match=r"must both be \(n,\)"):
        at_temperature(np.zeros(3), np.zeros(4), 1.0)
    with pytest.raises(ConfigError, match="tau must be positive"):
        at_temperature(np.zeros(3), np.zeros(3), 0.0)
