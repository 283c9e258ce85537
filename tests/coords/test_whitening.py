"""Whitening: what is soft, where circles are cut, and white residuals on frames not fitted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg.coords.whitening import fit_whitening, softness, whitening
from jbg.interfaces import ConfigError


def turn(angle):
    return np.mod(angle + np.pi, 2 * np.pi) - np.pi


@pytest.mark.parametrize("middle", [0.0, 3.1, -2.0])
def test_narrow_torsions_are_stiff_and_centred(middle):
    angles = turn(middle + 0.15 * np.random.default_rng(0).normal(size=2000))
    angles[:5] = turn(middle + np.pi)  # a few cis amides do not make it soft
    soft, centre = softness(angles)
    assert not soft
    assert abs(turn(centre - middle)) < 0.02


def test_wide_or_two_peaked_torsions_are_soft_and_cut_where_no_data_are():
    rng = np.random.default_rng(0)
    peaks = np.concatenate([rng.normal(-1.2, 0.2, 900), rng.normal(1.0, 0.2, 100)])
    soft, centre = softness(turn(peaks))
    assert soft
    assert abs(turn(centre + np.pi - 3.04)) < 0.3  # halfway round, not the gap at -0.1
    soft, centre = softness(turn(rng.normal(2.0, 0.5, 1000)))
    assert soft
    assert abs(turn(centre - 2.0)) < 0.6
    assert softness(rng.uniform(-np.pi, np.pi, 1000))[0]


def made_up(n_frames, rng):
    """2 soft variables, 4 stiff ones that follow the first and each other."""
    soft = turn(rng.normal(scale=1.5, size=(2, n_frames)))
    noise = rng.normal(size=(4, n_frames))
    stiff = 0.1 * noise + np.array([0.2, 0.0, 0.1, 0.0])[:, None] * np.cos(soft[0])
    stiff[1] += 0.8 * stiff[0]
    return np.concatenate([stiff[:2] + 1, soft, stiff[2:]])


def test_removes_what_the_soft_variables_explain(x64):
    rng = np.random.default_rng(0)
    everything = np.ones((6, 2), bool), np.ones((6, 6), bool)
    fit = fit_whitening(made_up(4000, rng), np.array([2, 3]), *everything)
    assert fit.orders == 1
    bijector = whitening(fit)
    v, log_det = bijector.inverse((), jnp.asarray(made_up(4000, rng)))
    covariance = np.cov(np.asarray(v[2:]))
    np.testing.assert_allclose(covariance, np.eye(4), atol=0.08)
    back, forward_log_det = bijector.forward((), v)
    np.testing.assert_allclose(bijector.inverse((), back)[0], v, atol=1e-10)
    np.testing.assert_allclose(forward_log_det, -log_det)
    jacobian = jax.jacfwd(lambda v: bijector.forward((), v)[0])(v[:, 0])
    np.testing.assert_allclose(np.linalg.slogdet(jacobian)[1], forward_log_det[0], atol=1e-9)


def test_variables_that_are_not_near_are_not_used():
    rng = np.random.default_rng(0)
    alone = np.zeros((6, 2), bool), np.eye(6, dtype=bool)
    fit = fit_whitening(made_up(1000, rng), np.array([2, 3]), *alone)
    assert not fit.coefficients.any()
    np.testing.assert_allclose(fit.factor, np.diag(np.diag(fit.factor)))


def test_errors():
    near = np.ones((6, 2), bool), np.ones((6, 6), bool)
    values = made_up(50, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="at least 10 frames"):
        fit_whitening(values[:, :9], np.array([2, 3]), *near)
    values[0] = 1.0
    with pytest.raises(ConfigError, match="constant in all frames"):
        fit_whitening(values, np.array([2, 3]), *near)


def two_basins(n, rare):
    """``n`` frames of ladders 0-15 in turn, those at the places ``rare`` in a second basin."""
    angles = 0.15 * np.random.default_rng(2).normal(size=n)
    angles[rare] += 2.0
    return angles, np.arange(n) % 16


@pytest.mark.parametrize(
    ("rare", "soft"),
    [
        ([], False),
        ([32], False),  # once, in one ladder
        ([32, 48, 64, 80], False),
        ([32, 48, 64, 80, 96], True),  # a stay in one ladder
        ([32, 33], True),  # two ladders
        (np.arange(386) * 120, True),  # 0.8 % of the frames, all ladders
    ],
)
def test_a_rotamer_is_kept_however_rare(rare, soft):
    angles, ladder = two_basins(48_000, rare)
    assert softness(angles, ladder)[0] == soft
    assert not softness(angles)[0]  # a chirality has 1 % to spare


def test_what_is_always_soft_is_cut_opposite_its_only_basin():
    angles, ladder = two_basins(1000, [])
    soft, centre = softness(angles, ladder, always=True)
    assert soft
    assert abs(centre) < 0.1
