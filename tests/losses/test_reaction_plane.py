"""Entropy over the plane of two collective variables: least values, gradients, and samples that spread."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jbg.interfaces import CollectivePlane, ConfigError
from jbg.losses import LossContext, ReactionCoordinate, ReverseKL, total_loss
from jbg.losses.entropies import (
    check_covered,
    entropy_integral,
    kernel_entropy,
    plane_integral,
    plane_kernels,
)
from tests.losses.affine import AWAY, gaussian, generator

BOUNDS = ((-1.0, 6.0), (-2.1, 1.75))  # those of BPTI in the paper
AREA = 7.0 * 3.85
LOSSES = [plane_integral, plane_kernels]
FLOOR = 121 * np.log(121)


def grid(first, second):
    """All pairs of the values of two variables, ``(2, n m)``."""
    return jnp.asarray(np.stack([a.ravel() for a in np.meshgrid(first, second)]), jnp.float32)


def even(bounds, n=140):
    low, high = bounds
    return low + (np.arange(n) + 0.5) / n * (high - low)


def test_uniform_samples_reach_the_floor_of_the_integral():
    found = plane_integral(grid(*map(even, BOUNDS)), BOUNDS)
    np.testing.assert_allclose(found, -np.log(AREA), atol=1e-4)


def test_a_gaussian_has_its_entropy():
    """-(1 + ln 2 pi) - ln of both widths, those of the kernel and the samples together."""
    quantiles = stats.norm.ppf((np.arange(200) + 0.5) / 200)
    r = grid(2.5 + 0.6 * quantiles, -0.2 + 0.3 * quantiles)
    widths = np.hypot([0.6, 0.3], 0.03 * np.array([7.0, 3.85]))
    expected = -(1 + np.log(2 * np.pi)) - np.log(widths).sum()
    np.testing.assert_allclose(plane_integral(r, BOUNDS), expected, atol=0.02)


def test_kernels_are_a_plain_loop_over_their_definition():
    r = np.random.default_rng(0).uniform([-1, -2.1], [6, 1.75], (200, 2))
    grids = []
    for point in r:
        rows = []
        for value, (low, high) in zip(point, BOUNDS, strict=True):
            width = (high - low) / 11
            row = np.exp(-((value - np.linspace(low, high, 11)) ** 2) / (2 * width**2)) + 1e-6
            rows.append(row / row.sum())
        grids.append(np.outer(*rows))
    np.testing.assert_allclose(np.sum(grids, axis=(1, 2)), 1.0)
    expected = -np.log(np.mean(grids, 0)).sum()
    found = plane_kernels(jnp.asarray(r.T, jnp.float32), BOUNDS)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert FLOOR < found < 1.1 * FLOOR


def test_of_independent_variables_it_is_that_of_each():
    """Kernels: 11 times both sums; integral: both sums. The second variable covers half of its range."""
    values = even(BOUNDS[0]), even((-2.1, -0.2))
    first, second = (jnp.asarray(v, jnp.float32) for v in values)
    for plane, line, factor in (
        (plane_kernels, kernel_entropy, 11),
        (plane_integral, entropy_integral, 1),
    ):
        expected = factor * (line(first, BOUNDS[0]) + line(second, BOUNDS[1]))
        np.testing.assert_allclose(plane(grid(*values), BOUNDS), expected, rtol=1e-4)


def test_a_line_across_the_plane_is_not_flat():
    """Each variable alone is uniform, and both together are not: what two losses in one dimension miss."""
    t = (np.arange(4000) + 0.5) / 4000
    line = jnp.asarray(np.stack([low + t * (high - low) for low, high in BOUNDS]), jnp.float32)
    assert plane_kernels(line, BOUNDS) > 1.5 * FLOOR
    assert plane_integral(line, BOUNDS) > -np.log(AREA) + 1


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_finite_differences(loss):
    with jax.enable_x64(True):
        r = np.random.default_rng(3).uniform([0, -1], [3, 1], (40, 2)).T
        of = jax.jit(lambda r: loss(r, BOUNDS))
        gradient = jax.grad(of)(jnp.asarray(r))
        for i, j in ((0, 0), (1, 0), (0, 17), (1, 39)):
            step = np.zeros_like(r)
            step[i, j] = 1e-5
            slope = (of(jnp.asarray(r + step)) - of(jnp.asarray(r - step))) / 2e-5
            np.testing.assert_allclose(gradient[i, j], slope, rtol=1e-5, atol=1e-8)
            assert abs(slope) > 1e-4


def spread(n_steps=300):
    """Points of one corner of the plane, moved by `plane_kernels` alone, with nothing to keep them within."""
    rng = np.random.default_rng(4)
    r = jnp.asarray(rng.normal([0.5, -1.2], [0.3, 0.2], (500, 2)).T, jnp.float32)
    rule = optax.adam(0.05)

    def step(carry, _):
        r, state = carry
        value, gradient = jax.value_and_grad(plane_kernels)(r, BOUNDS)
        update, state = rule.update(gradient, state)
        return (optax.apply_updates(r, update), state), value

    run = jax.jit(lambda r: jax.lax.scan(step, (r, rule.init(r)), length=n_steps))
    (after, _), values = run(r)
    return np.asarray(r), np.asarray(after), np.asarray(values)


def test_points_spread_over_the_plane():
    before, after, values = spread()
    cells = lambda r: np.histogram2d(*r, bins=6, range=BOUNDS)[0]
    assert (cells(before) > 0).sum() < 12
    assert (cells(after) > 0).sum() >= 33  # of 36
    assert values[0] > 2 * FLOOR
    assert FLOOR < values[-1] < 1.01 * FLOOR
    # some lie just outside and serve the kernels at the edges, hardly any so far that they are lost
    lost = 0.0
    for values, (low, high) in zip(after, BOUNDS, strict=True):
        reach = 3 * (high - low) / 11
        lost += np.mean((values < low - reach) | (values > high + reach))
    assert lost < 0.02


def test_of_the_integral_samples_outside_are_neither_counted_nor_moved():
    inside = jnp.asarray(np.random.default_rng(2).uniform(0, 1, (2, 300)), jnp.float32)
    far = jnp.asarray([[-5, 0.5, 6.1, jnp.inf, jnp.nan], [0, 9, 0, 0, 0.5]], jnp.float32)
    of = jax.jit(jax.value_and_grad(lambda r: plane_integral(r, BOUNDS)))
    value, gradient = of(jnp.concatenate([inside, far], axis=1))
    np.testing.assert_allclose(value, of(inside)[0], rtol=1e-5)
    np.testing.assert_array_equal(gradient[:, -5:], 0)
    assert np.abs(gradient[:, :-5]).max() > 0
    value, alone = of(far)
    np.testing.assert_array_equal(alone, 0)
    assert np.isfinite(value)


def test_of_kernels_samples_outside_count_at_the_edge():
    """A crowd just outside is drawn in; far outside it counts as three widths away, and does not move."""
    of = jax.jit(jax.value_and_grad(lambda r: plane_kernels(r, BOUNDS)))
    width = 7.0 / 11
    crowd = jnp.tile(jnp.array([[6 + 0.5 * width], [-0.2]], jnp.float32), (1, 50))
    _, gradient = of(crowd)
    assert np.all(gradient[0] > 0.01)  # downhill is to smaller values
    away = lambda x: jnp.concatenate([crowd, jnp.array([[x], [-0.2]], jnp.float32)], axis=1)
    near, _ = of(away(6 + 3 * width))
    for x in (9.0, 1e6, jnp.inf):
        value, gradient = of(away(x))
        np.testing.assert_allclose(value, near, rtol=1e-5)
        assert gradient[0, -1] == 0
    # what is not known counts nothing
    value, gradient = of(away(jnp.nan))
    np.testing.assert_allclose(value, of(crowd)[0], rtol=1e-5)
    np.testing.assert_array_equal(gradient[:, -1], 0)
    assert np.isfinite(of(jnp.full((2, 3), jnp.nan))[0])


BOTH = CollectivePlane(names=("x", "y"), of=lambda x: x[:2], bounds=((-6.0, 6.0), (-6.0, 6.0)))


@pytest.mark.parametrize("form", ["integral", "kernels"])
def test_the_gradient_reaches_the_flow_at_every_temperature(form, key):
    """Both coordinates learn, and they learn to be wider."""
    context = LossContext(generator=generator(), collective_variable=BOTH, n_samples=2000)
    loss = ReactionCoordinate(form=form, taus=(0.5, 1.0)).build(context)
    gradient, aux = jax.jit(jax.grad(loss, has_aux=True))(AWAY, None, key)
    assert np.all(gradient["a"] < -0.1)
    assert aux["rc_outside"] < 0.02


def test_of_two_temperatures_it_is_the_mean(key):
    """The halves of the samples, in the order in which the flow makes them."""
    context = LossContext(generator=generator(), collective_variable=BOTH, n_samples=400)
    value, _ = ReactionCoordinate(form="kernels", taus=(0.5, 1.0)).build(context)(AWAY, None, key)
    tau = jnp.repeat(jnp.array([0.5, 1.0]), 200)
    x, _ = generator().bijector.forward(AWAY, generator().base.sample(key, 400, tau))
    expected = np.mean(
        [plane_kernels(x[:, half], BOTH.bounds) for half in (slice(200), slice(200, 400))]
    )
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_beside_a_reverse_kl_it_takes_the_same_samples(key):
    context = LossContext(
        generator=generator(), target=gaussian(), collective_variable=BOTH, n_samples=500
    )
    term = ReverseKL(2.0, along=ReactionCoordinate(0.25, form="kernels"))
    value, aux = total_loss((term,), context)(AWAY, None, key)
    np.testing.assert_allclose(value, 2 * (aux["kl"] + 0.25 * aux["rc"]), rtol=1e-5)


def test_bounds_that_are_none():
    for loss in LOSSES:
        with pytest.raises(ConfigError, match="finite and ascending"):
            loss(jnp.zeros((2, 3)), ((0.0, 1.0), (2.0, 1.0)))
        with pytest.raises(ConfigError, match="needs the bounds of two variables"):
            loss(jnp.zeros((2, 3)), (0.0, 1.0))
    with pytest.raises(ConfigError, match="use at least 100"):
        plane_integral(jnp.zeros((2, 3)), BOUNDS, bandwidth=0.01)
    check_covered(BOUNDS, np.array([[0.0, 9.0], [0.0, 9.0]]))
    with pytest.raises(ConfigError, match="between -1 and 6 and between -2.1 and 1.75, they reach"):
        check_covered(BOUNDS, np.array([[0.0, 9.0], [9.0, 0.0]]))
