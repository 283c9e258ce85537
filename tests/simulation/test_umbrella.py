"""Umbrella windows against the harmonic oscillator, whose biased ensembles are known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg.interfaces import CollectiveVariable, ConfigError, State, Target
from jbg.simulation.umbrella import UmbrellaConfig, umbrella_sampling

HARMONIC = Target(dim=2, reduced_energy=lambda x: 0.5 * jnp.sum(x**2, axis=0))
FIRST = CollectiveVariable(name="x", of=lambda x: x[0], bounds=(-1.0, 2.0))
K = 8.0
SMALL = UmbrellaConfig(
    n_windows=4, force_constant=K, n_replicas=16, n_pull=50, n_burn_in=150, n_steps=800,
    stride=2, frame_stride=40,
)  # fmt: skip
START = np.array([[0.0, 0.0], [1.5, 0.0]])
POSITIVE = State(name="positive", contains=lambda x: x[1] > 0, definition="y > 0")


def sampled(**options):
    return umbrella_sampling(
        jax.random.key(0), HARMONIC, FIRST, START, taus=(0.5, 1.0, 2.0), states=(POSITIVE,),
        config=SMALL, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def samples():
    return sampled()


def test_each_window_has_its_mean_and_variance(samples):
    """exp(-(x^2/2 + k/2 (x - c)^2) / tau) is a Gaussian of mean k c / (1 + k), variance tau / (1 + k)."""
    for t, tau in enumerate(samples.taus):
        for w, centre in enumerate(samples.centres):
            v = samples.values[:, t, w].astype(np.float64)  # (n, R)
            for by_replica, exact in (
                (v.mean(0), K * centre / (1 + K)),
                (((v - K * centre / (1 + K)) ** 2).mean(0), tau / (1 + K)),
            ):
                error = by_replica.std(ddof=1) / np.sqrt(v.shape[1])
                # 24 comparisons by Student's t of 15 degrees of freedom
                assert abs(by_replica.mean() - exact) < 5.5 * error < 0.15


def test_energy_not_only_the_variable_has_the_right_temperature(samples):
    y = samples.frames[..., 1].astype(np.float64)  # (m, T, W, R)
    for t, tau in enumerate(samples.taus):
        by_replica = (y[:, t] ** 2).mean((0, 1))
        error = by_replica.std(ddof=1) / np.sqrt(len(by_replica))
        assert abs(by_replica.mean() - tau) < 4.5 * error < 0.25 * tau


def test_frames_values_and_states_belong_together(samples):
    assert samples.values.shape == (400, 3, 4, 16)
    assert samples.frames.shape == (20, 3, 4, 16, 2)
    np.testing.assert_array_equal(samples.frames[..., 0], samples.frame_values)
    np.testing.assert_array_equal(samples.values[19::20], samples.frame_values)
    np.testing.assert_array_equal(samples.in_state[19::20, 0], samples.frames[..., 1] > 0)
    np.testing.assert_array_equal(samples.origin, np.arange(16) % 2)


def test_swaps_along_windows_are_as_often_as_the_gaussians_say(samples):
    rng = np.random.default_rng(0)
    for t, tau in enumerate(samples.taus):
        for w in range(3):
            low, high = samples.centres[w : w + 2]
            x, y = (
                rng.normal(K * c / (1 + K), np.sqrt(tau / (1 + K)), 200_000) for c in (low, high)
            )
            b = lambda x, c: 0.5 * K * (x - c) ** 2
            gain = (b(x, low) + b(y, high) - b(y, low) - b(x, high)) / tau
            exact = np.mean(np.exp(np.minimum(gain, 0)))
            # 16 replicas x 200 tries, half of them counted as independent
            assert abs(samples.window_swaps[t, w] - exact) < 5 * np.sqrt(exact * (1 - exact) / 1600)


def test_time_steps_give_the_acceptance_sought(samples):
    np.testing.assert_allclose(samples.acceptance, 0.8, atol=0.12)


def test_without_exchange_chains_keep_to_their_windows(key):
    config = UmbrellaConfig(
        n_windows=2, bounds=(-2.0, 2.0), force_constant=400.0, n_replicas=2, n_pull=100,
        n_burn_in=50, n_steps=20, stride=1, frame_stride=20, exchange=False,
    )  # fmt: skip
    found = umbrella_sampling(key, HARMONIC, FIRST, START, config=config)
    assert np.all(np.sign(found.values) == np.array([-1, 1])[:, None])
    assert not found.window_swaps.any()
    again = umbrella_sampling(key, HARMONIC, FIRST, START, config=config)
    np.testing.assert_array_equal(found.values, again.values)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("stop", [80, 200, 520])  # while pulling, after burn-in, among the samples
def test_stopped_and_continued_is_the_unbroken_run(samples, stop):
    kept, seen = [], []

    def on_round(state):
        seen.append(state.done)
        if state.done == stop:
            kept.append(jax.tree.map(np.copy, state))  # as a file would: arrays fill up in place
            raise Killed

    with pytest.raises(Killed):
        sampled(on_round=on_round)
    continued = sampled(state=kept[0], on_round=lambda state: seen.append(state.done))
    assert seen == list(range(40, 1001, 40))  # every round once
    for name, values in samples._asdict().items():
        np.testing.assert_array_equal(getattr(continued, name), values, err_msg=name)


def test_a_state_of_another_run_is_refused(key):
    kept = []
    one = UmbrellaConfig(n_windows=2, n_replicas=2, n_pull=1, n_burn_in=1, n_steps=75)
    umbrella_sampling(key, HARMONIC, FIRST, START, config=one, on_round=kept.append)
    with pytest.raises(ConfigError, match=r"x of the state .* shape \(2, 1, 2, 2\), this run"):
        sampled(state=kept[0])


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"bounds": (2.0, -1.0)}, "bounds must be finite and rising"),
        ({"bounds": (1.0, 1.0)}, "bounds must be finite and rising"),
        ({"bounds": (1.0,)}, "bounds must be finite and rising"),
        ({"bounds": (0.0, np.nan)}, "bounds must be finite and rising"),
        ({"n_windows": 1}, "n_windows must be a whole number, at least 2"),
        ({"n_windows": 2.5}, "n_windows must be a whole number"),
        ({"force_constant": 0.0}, "force_constant must be > 0"),
        ({"n_pull": 0}, "n_pull must be a whole number, at least 1"),
        ({"n_steps": 0}, "n_steps must be a whole number, at least 1"),
        ({"stride": 0}, "stride must be a whole number, at least 1"),
        ({"stride": 20_000}, "stride must divide frame_stride"),
        ({"n_steps": 50}, "stride must divide frame_stride"),
    ],
)
def test_bad_settings_are_named(change, what):
    with pytest.raises(ConfigError, match=what):
        UmbrellaConfig(**change)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"taus": (1.0, 0.5)}, "must rise without repeats"),
        ({"taus": (1.0, 1.0)}, "must rise without repeats"),
        ({"taus": (0.0,)}, "taus must be numbers > 0"),
        ({"taus": (np.nan,)}, "taus must be numbers > 0"),
        ({"start": np.zeros((0, 2))}, r"start must be \(n, 2\)"),
        ({"start": np.zeros((1, 3))}, r"start must be \(n, 2\)"),
        ({"start": np.full((1, 2), np.inf)}, "not finite"),
        ({"variable": CollectiveVariable(name="x", of=lambda x: x[0], bounds=(1, -1))}, "rising"),
    ],
)
def test_bad_calls_are_named(key, change, what):
    settings = {"variable": FIRST, "start": START} | change
    with pytest.raises(ConfigError, match=what):
        umbrella_sampling(
            key, HARMONIC, settings.pop("variable"), settings.pop("start"), **settings
        )
