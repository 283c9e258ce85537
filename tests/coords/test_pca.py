"""Whitening by principal components against the covariance of its own data, and data that have none."""

import numpy as np
import pytest

from jbg import coords
from jbg.interfaces import ConfigError

RNG = np.random.default_rng(0)
FRAMES = 3 + RNG.normal(size=(500, 6)) * np.geomspace(0.1, 3, 6) @ RNG.normal(size=(6, 6))


def test_whitened_data_have_covariance_one_widest_component_first(x64):
    fit = coords.fit_principal_components(FRAMES)
    bijector = coords.principal_components(fit)
    z, log_det = bijector.inverse((), FRAMES.T)
    np.testing.assert_allclose(np.mean(z, axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(z @ z.T / len(FRAMES), np.eye(6), atol=1e-10)
    assert np.all(np.diff(fit.scale) < 0)
    # ln|det dz/dx| = -(1/2) ln det of the covariance
    expected = -0.5 * np.linalg.slogdet(np.cov(FRAMES.T, bias=True))[1]
    np.testing.assert_allclose(log_det, np.full(500, expected), rtol=1e-10)
    np.testing.assert_allclose(bijector.forward((), z)[0], FRAMES.T, atol=1e-10)


def test_axes_do_not_depend_on_the_order_of_the_frames():
    first, second = (coords.fit_principal_components(x) for x in (FRAMES, FRAMES[::-1]))
    np.testing.assert_allclose(first.axes, second.axes, atol=1e-8)
    largest = np.take_along_axis(first.axes, np.abs(first.axes).argmax(0)[None], 0)
    assert np.all(largest > 0)


def test_standardised_data_have_variance_one_and_their_correlations(x64):
    bijector = coords.standardisation(coords.fit_standardisation(FRAMES))
    z, log_det = bijector.inverse((), FRAMES.T)
    np.testing.assert_allclose(z @ z.T / len(FRAMES), np.corrcoef(FRAMES.T), atol=1e-10)
    np.testing.assert_allclose(log_det[0], -np.log(FRAMES.std(0)).sum(), rtol=1e-12)


@pytest.mark.parametrize(
    ("frames", "what"),
    [
        (FRAMES[:6], "6 frames cannot give 6 variances"),
        (np.concatenate([FRAMES, FRAMES[:, :1] + FRAMES[:, 1:2]], 1), "1 of 7 directions have no"),
        (np.concatenate([FRAMES, np.ones((500, 1))], 1), "1 of 7 directions have no variance"),
        (np.zeros((9, 3)), "3 of 3 directions have no variance"),
        (np.where(np.eye(500, 6) > 0, np.nan, FRAMES), "not finite"),
        (FRAMES[0], "frames must be"),
        (FRAMES[:0], "frames must be"),
    ],
)
def test_data_without_a_variance_in_each_direction_are_refused(frames, what):
    with pytest.raises(ConfigError, match=what) as raised:
        coords.fit_principal_components(frames)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("frames", "what"),
    [
        (np.concatenate([FRAMES, np.full((500, 1), 7.3)], 1), "coordinate 6 is constant"),
        (np.zeros((9, 3)), "coordinate 0 is constant"),
        (FRAMES[:1], "at least 2 frames"),
    ],
)
def test_columns_without_a_variance_are_refused(frames, what):
    with pytest.raises(ConfigError, match=what):
        coords.fit_standardisation(frames)
