"""Gaps in both directions against divergences of Gaussians in closed form."""

import math

import numpy as np
import pytest
from scipy import stats

from jbg.analysis import ForwardGap, equal_mixture_gap, forward_gap, kl_loss_floor, kl_losses
from jbg.interfaces import ConfigError

DIM, WIDTH, TAU = 5, 0.7, 1.6  # u = |x|^2 / (2 WIDTH^2), simulated at TAU
MODEL_MEAN, MODEL_WIDTH = 0.3, 1.2
SPREAD = WIDTH * math.sqrt(TAU)
LOG_Z = 0.5 * DIM * math.log(2 * math.pi * SPREAD**2)


def frames(seed: int, n_chains: int = 20, n_frames: int = 200):
    x = SPREAD * np.random.default_rng(seed).standard_normal((n_chains, n_frames, DIM))
    log_q = stats.norm(MODEL_MEAN, MODEL_WIDTH).logpdf(x).sum(axis=-1)
    return log_q, np.sum(x**2, axis=-1) / (2 * WIDTH**2)


def test_forward_gap_is_the_divergence_of_gaussians():
    """KL(N(0, s) | N(m, t)) = d (ln t/s + (s^2 + m^2) / (2 t^2) - 1/2); each within 4.5 errors, and the mean."""
    exact = DIM * (
        math.log(MODEL_WIDTH / SPREAD) + (SPREAD**2 + MODEL_MEAN**2) / (2 * MODEL_WIDTH**2) - 0.5
    )
    scaled = []
    for seed in range(8):
        found = forward_gap(*frames(seed), LOG_Z, tau=TAU)
        scaled.append((found.value - exact) / found.stderr)
        assert found.value == pytest.approx(found.nll - found.entropy)
    assert np.abs(scaled).max() < 4.5
    assert abs(np.mean(scaled)) < 4.5 / math.sqrt(8)
    assert 0.3 < np.std(scaled, ddof=1) < 2.0  # chi of 7 degrees: 1 % lies beyond on either side


def test_entropy_and_the_error_of_ln_z():
    log_q, u = frames(0)
    plain = forward_gap(log_q, u, LOG_Z, tau=TAU)
    entropy = 0.5 * DIM * (1 + math.log(2 * math.pi * SPREAD**2))
    error = math.sqrt(DIM / 2 / u.size)  # of <u>/tau, chi-square of DIM degrees over 2
    assert abs(plain.entropy - entropy) < 4.5 * error
    more = forward_gap(log_q, u, LOG_Z, tau=TAU, log_z_stderr=0.3)
    assert more.stderr == pytest.approx(math.hypot(plain.stderr, 0.3))
    assert more.value == plain.value


def test_a_flow_exact_on_two_states_has_ln_2_of_each_and_nothing_of_both():
    log_p = np.random.default_rng(1).normal(size=(3, 50))
    gaps = [forward_gap(log_p + math.log(0.5), -log_p - z, z) for z in (-2.0, 1.0)]
    assert [gap.value for gap in gaps] == pytest.approx([math.log(2)] * 2)
    both = equal_mixture_gap(gaps)
    assert both.value == pytest.approx(0.0, abs=1e-12)
    assert both.value == pytest.approx(both.nll - both.entropy, abs=1e-12)
    errors = [ForwardGap(1.0, 0.3, 2.0, 1.0), ForwardGap(2.0, 0.4, 3.0, 1.0)]
    assert equal_mixture_gap(errors).stderr == pytest.approx(0.25)


def test_the_reverse_loss_of_an_exact_affine_flow_is_at_its_floor():
    """x = s z: u/tau - ln R = |z|^2 / 2 tau - d ln s, its mean the floor; every other width lies above."""
    n, rng = 20_000, np.random.default_rng(2)
    z = math.sqrt(TAU) * rng.standard_normal((n, DIM))
    log_base = stats.norm(0, math.sqrt(TAU)).logpdf(z).sum(axis=1)
    floor = kl_loss_floor(DIM, LOG_Z, tau=TAU)
    error = math.sqrt(DIM / 2 / n)
    for scale in (WIDTH, 1.1 * WIDTH, 0.9 * WIDTH):
        u = np.sum((scale * z) ** 2, axis=1) / (2 * WIDTH**2)
        found = kl_losses(u, log_base - DIM * math.log(scale), log_base, tau=TAU).mean()
        above = DIM * ((scale / WIDTH) ** 2 / 2 - 0.5 - math.log(scale / WIDTH))  # KL(q | p)
        assert abs(found - floor - above) < 4.5 * error * (scale / WIDTH) ** 2


def test_a_frame_without_density_is_infinitely_far():
    log_q, u = frames(3, 2, 4)
    log_q[1, 2] = -np.inf
    assert forward_gap(log_q, u, LOG_Z).value == math.inf


@pytest.mark.parametrize(
    ("log_q", "u", "message"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), r"got \(2, 3\) and \(3, 2\)"),
        (np.zeros((1, 3)), np.zeros((1, 3)), "two chains or more"),
        (np.zeros((2, 3)), np.full((2, 3), np.inf), "without finite energy"),
    ],
)
def test_what_does_not_fit_is_one_line(log_q, u, message):
    with pytest.raises(ConfigError, match=message):
        forward_gap(log_q, u, 0.0)
    with pytest.raises(ConfigError, match="got none"):
        equal_mixture_gap([])
