"""Splines and affine couplings against distrax, autodiff and finite differences."""

import functools

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jbg import flows
from jbg.flows.conditioners import MLP, ScaleAndShift
from jbg.flows.coupling import coupling
from jbg.flows.halves import linear_halves
from jbg.flows.spline import FLOOR, _evaluate, n_spline_params
from jbg.flows.spline import rational_quadratic_spline as eager_spline
from jbg.flows.transformers import affine, circular_spline, spline

BOUND = 3.0
rational_quadratic_spline = jax.jit(eager_spline, static_argnums=(2, 3, 4, 5, 6))
KINDS = pytest.mark.parametrize("circular", [False, True], ids=["line", "circle"])
DIRECTIONS = pytest.mark.parametrize("inverse", [False, True], ids=["forward", "inverse"])


def draw(n_bins, circular, n=50, scale=1.5, seed=0):
    rng = np.random.default_rng(seed)
    params = scale * rng.normal(size=(n_spline_params(n_bins, circular=circular), n))
    return jnp.asarray(params), jnp.asarray(rng.uniform(-BOUND, BOUND, n))


def knots(params, n_bins, floor=FLOOR):
    """Corners x, y ``(K + 1, n)`` and slopes there, from the formulas alone."""
    p = np.asarray(params, np.float64)

    def corners(logits):
        share = np.exp(logits) / np.exp(logits).sum(0)
        widths = floor + (1 - n_bins * floor) * share
        edges = np.concatenate([np.zeros_like(widths[:1]), np.cumsum(widths, 0)])
        return 2 * BOUND * edges - BOUND

    raw = p[2 * n_bins :]
    slopes = floor + np.log1p(np.exp(raw + np.log(np.expm1(1 - floor))))
    end = slopes[n_bins - 1 :] if len(slopes) == n_bins else np.ones_like(slopes[:1])
    slopes = np.concatenate([end, slopes[: n_bins - 1], end])
    return corners(p[:n_bins]), corners(p[n_bins : 2 * n_bins]), slopes


def reference(params, n_bins, floor=FLOOR):
    """The same spline by distrax: its parameters are those whose normalisation gives our knots."""
    x, y, slopes = knots(params, n_bins, floor)
    low = 1e-9

    def logits(corners):
        return np.log(np.diff(corners, axis=0) - low)

    raw = np.log(np.expm1(slopes - low)) - np.log(np.expm1(1 - low))
    packed = np.concatenate([logits(x), logits(y), raw]).T
    return distrax.RationalQuadraticSpline(
        jnp.asarray(packed), -BOUND, BOUND, min_bin_size=low, min_knot_slope=low
    )


@KINDS
@pytest.mark.parametrize(("n_bins", "floor"), [(2, FLOOR), (5, 0.02), (8, FLOOR)])
def test_equals_distrax(n_bins, floor, circular, x64):
    params, x = draw(n_bins, circular, 200)
    settings = (n_bins, BOUND, circular)
    y, log_slope = rational_quadratic_spline(params, x, *settings, False, floor)
    other = reference(params, n_bins, floor)
    expected_y, expected_log_slope = jax.jit(other.forward_and_log_det)(x)
    np.testing.assert_allclose(y, expected_y, atol=1e-8)
    np.testing.assert_allclose(log_slope, expected_log_slope, atol=1e-7)
    back, inverse_log_slope = rational_quadratic_spline(params, x, *settings, True, floor)
    expected_x, expected_inverse = jax.jit(other.inverse_and_log_det)(x)
    np.testing.assert_allclose(back, expected_x, atol=1e-8)
    np.testing.assert_allclose(inverse_log_slope, expected_inverse, atol=1e-7)


def test_bins_need_room():
    with pytest.raises(ValueError, match=r"floor must lie in \(0, 1/n_bins\), got 0.2"):
        flows.SplineFlowConfig(n_bins=5, floor=0.2)


@KINDS
@DIRECTIONS
def test_written_gradient_is_that_of_autodiff(circular, inverse, x64):
    n_bins, floor = 6, 0.05
    params, x = draw(n_bins, circular, 80)
    x = x if circular else x * 1.2  # some beyond the ends
    cotangents = tuple(jnp.asarray(np.random.default_rng(1).normal(size=(2, 80))))
    settings = (n_bins, BOUND, circular, inverse, floor)
    _, ours = jax.vjp(lambda p, x: rational_quadratic_spline(p, x, *settings), params, x)
    by_jax = jax.jit(lambda p, x: _evaluate(p, x, *settings)[:2])
    _, autodiff = jax.vjp(by_jax, params, x)
    for found, expected in zip(ours(cotangents), autodiff(cotangents), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-9, rtol=1e-8)


@KINDS
@DIRECTIONS
def test_gradients_are_those_of_finite_differences(circular, inverse, x64):
    n_bins, step = 4, 1e-6
    params, x = draw(n_bins, circular, 20, seed=3)

    def total(params, x):
        value, log_slope = rational_quadratic_spline(params, x, n_bins, BOUND, circular, inverse)
        return jnp.sum(value * 0.7 + log_slope)

    g_params, g_x = jax.grad(total, argnums=(0, 1))(params, x)
    rng = np.random.default_rng(4)
    for _ in range(5):
        dp, dx = jnp.asarray(rng.normal(size=params.shape)), jnp.asarray(rng.normal(size=x.shape))
        ahead, behind = (total(params + s * step * dp, x + s * step * dx) for s in (1, -1))
        slope = (ahead - behind) / (2 * step)
        np.testing.assert_allclose(jnp.sum(g_params * dp) + jnp.sum(g_x * dx), slope, rtol=1e-6)


def test_tails_of_the_line_are_the_identity():
    n_bins = 5
    params, _ = draw(n_bins, False, 6)
    x = jnp.array([-1e6, -BOUND - 1e-3, -7.0, BOUND + 1e-3, 50.0, 1e20], jnp.float32)
    for inverse in (False, True):
        value, log_slope = rational_quadratic_spline(
            params.astype(jnp.float32), x, n_bins, BOUND, False, inverse
        )
        np.testing.assert_array_equal(value, x)
        np.testing.assert_array_equal(log_slope, np.zeros(6))

    def total(p, x):
        return jnp.sum(rational_quadratic_spline(p, x, n_bins, BOUND, False, False)[0])

    g_params, g_x = jax.grad(total, argnums=(0, 1))(params.astype(jnp.float32), x)
    np.testing.assert_array_equal(g_params, np.zeros_like(g_params))
    np.testing.assert_array_equal(g_x, np.ones(6))


@KINDS
def test_exactly_at_the_edges_of_bins(circular, x64):
    n_bins = 5
    params, _ = draw(n_bins, circular, 7)
    x, y, slopes = knots(params, n_bins)
    stacked = jnp.broadcast_to(params[:, None], (len(params), n_bins + 1, 7))
    for at, to, sign, inverse in ((x, y, 1, False), (y, x, -1, True)):
        value, log_slope = rational_quadratic_spline(
            stacked, jnp.asarray(at), n_bins, BOUND, circular, inverse
        )
        np.testing.assert_allclose(value, to, atol=1e-9)
        np.testing.assert_allclose(log_slope, sign * np.log(slopes), atol=1e-6)


@KINDS
@DIRECTIONS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_zero_parameters_give_the_identity(circular, inverse, dtype):
    with jax.enable_x64(dtype == "float64"):
        params, x = draw(8, circular, 300)
        params, x = 0 * params.astype(dtype), x.astype(dtype)
        value, log_slope = rational_quadratic_spline(params, x, 8, BOUND, circular, inverse)
        tolerance = 1e-5 if dtype == "float32" else 1e-12
        np.testing.assert_allclose(value, x, atol=tolerance)
        np.testing.assert_allclose(log_slope, 0, atol=tolerance)


def test_the_circular_spline_has_no_seam(x64):
    transformer = circular_spline(n_bins=6)
    one = jnp.asarray(0.5 * np.random.default_rng(0).normal(size=(transformer.n_params, 1)))
    angle = jnp.linspace(-3 * np.pi, 3 * np.pi, 20001)
    params = jnp.broadcast_to(one, (transformer.n_params, angle.size))
    for go in (transformer.forward, transformer.inverse):
        value, log_slope = go(params, angle)
        assert np.all((value >= -np.pi) & (value < np.pi))
        steps = np.angle(np.exp(1j * np.diff(value)))
        np.testing.assert_allclose(steps.sum(), 6 * np.pi, atol=1e-6)  # three whole turns
        assert np.all(steps > 0)
        assert steps.max() < 0.05
        assert np.abs(np.diff(log_slope)).max() < 0.05  # the slope is continuous as well
        for shift in (2 * np.pi, -4 * np.pi):
            again, again_slope = go(params, angle + shift)
            np.testing.assert_allclose(np.exp(1j * again), np.exp(1j * value), atol=1e-9)
            np.testing.assert_allclose(again_slope, log_slope, atol=1e-8)


@settings(max_examples=25, deadline=None)
@given(
    st.booleans(),
    st.sampled_from([2, 5]),
    st.floats(0.1, 8.0),
    st.integers(0, 10_000),
)
def test_any_parameters_give_an_increasing_invertible_map(circular, n_bins, scale, seed):
    with jax.enable_x64(True):
        one, _ = draw(n_bins, circular, 1, scale, seed)
        x = jnp.linspace(-BOUND, BOUND, 41)
        params = jnp.broadcast_to(one, (len(one), 41))
        y, log_slope = rational_quadratic_spline(params, x, n_bins, BOUND, circular, False)
        back, inverse_log_slope = rational_quadratic_spline(
            params, y, n_bins, BOUND, circular, True
        )
        assert np.all(np.diff(y) > 0)
        np.testing.assert_allclose(y[jnp.array([0, -1])], [-BOUND, BOUND], atol=1e-9)
        np.testing.assert_allclose(back, x, atol=1e-6)
        # beside a nearly flat piece ln slope turns sharply, so y's rounding shows
        np.testing.assert_allclose(inverse_log_slope, -log_slope, atol=1e-3)


def test_transformers_know_their_number_of_parameters(x64):
    for transformer in (affine(), spline(n_bins=4), circular_spline(n_bins=4)):
        rng = np.random.default_rng(0)
        params = jnp.asarray(rng.normal(size=(transformer.n_params, 3, 5)))
        z = jnp.asarray(rng.uniform(-3, 3, (3, 5)))
        x, log_slope = transformer.forward(params, z)
        back, inverse = transformer.inverse(params, x)
        np.testing.assert_allclose(back, z, atol=1e-9)
        np.testing.assert_allclose(inverse, -log_slope, atol=1e-9)


def test_affine_coupling_equals_distrax(key, x64):
    first, second = linear_halves(0, 5)
    settings = ScaleAndShift(hidden=(8,))
    net = settings.make(first, second, 4, jnp.arange(5))
    ours = coupling(
        first,
        second,
        dim=5,
        conditioner=settings,
        circular=None,
        linear=affine(),
    )
    params = ours.init(key)

    def bijector(conditioned):
        s, t = conditioned[..., :2], conditioned[..., 2:]
        return distrax.ScalarAffine(shift=-t * jnp.exp(-s), log_scale=-s)

    other = distrax.SplitCoupling(
        split_index=3,
        event_ndims=1,
        conditioner=lambda h: net.apply(params, h.T).T,
        bijector=bijector,
    )
    z = jax.random.normal(key, (5, 20))
    for found, expected in zip(
        (*ours.forward(params, z), *ours.inverse(params, z)),
        (*other.forward_and_log_det(z.T), *other.inverse_and_log_det(z.T)),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected.T, atol=1e-10)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_the_gradient_of_a_coupling_has_no_pads_gathers_or_scatters(direction):
    # XLA runs loops that it fuses one of these into without vectors
    first, second = linear_halves(0, 7)
    layer = coupling(
        first,
        second,
        dim=7,
        conditioner=MLP(hidden=(5,)),
        circular=None,
        linear=spline(n_bins=4),
    )
    params = layer.init(jax.random.key(0))

    def total(params, x):
        value, log_det = getattr(layer, direction)(params, x)
        return jnp.sum(value**2) + jnp.sum(log_det)

    program = str(jax.make_jaxpr(jax.grad(total, argnums=(0, 1)))(params, jnp.ones((7, 3))))
    for name in (" pad[", " gather[", " scatter", "dynamic_update_slice"):
        assert name not in program


@KINDS
@DIRECTIONS
def test_points_at_the_edges_of_steep_bins_stay_finite(circular, inverse):
    """By rounding a point at an edge may be found in a bin that it lies outside of."""
    n_bins = 8

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1), has_aux=True)
    def gradient(params, x):
        value, log_slope = rational_quadratic_spline(params, x, n_bins, BOUND, circular, inverse)
        return jnp.sum(value) + jnp.sum(log_slope), log_slope

    for scale in (6.0, 20.0):
        params, _ = draw(n_bins, circular, n=3000, scale=scale)
        corners = knots(params, n_bins)[1 if inverse else 0][1:-1]
        tiled = np.tile(params, (1, len(corners)))
        gradients, log_slope = gradient(np.float32(tiled), np.float32(corners.ravel()))
        assert np.all(np.isfinite(log_slope))
        for leaf in gradients:
            assert np.all(np.isfinite(leaf))


def test_enormous_parameters_stay_finite():
    n_bins = 4
    params = jnp.array([1e4, -1e4] * 6)[: n_spline_params(n_bins, circular=False), None]
    params, x = jnp.broadcast_to(params, (len(params), 9)), jnp.linspace(-BOUND, BOUND, 9)

    def total(params, x, inverse):
        value, log_slope = eager_spline(params, x, n_bins, BOUND, False, inverse)
        return jnp.sum(value) + jnp.sum(log_slope)

    for inverse in (False, True):
        for leaf in jax.grad(total, argnums=(0, 1))(params, x, inverse):
            assert np.all(np.isfinite(leaf))
