"""The 2-Wasserstein loss against dense matrix square roots, closed forms and finite differences."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.linalg

from jbg import flows
from jbg.generator import Generator
from jbg.interfaces import Bijector, ConfigError
from jbg.losses import (
    LossContext,
    Wasserstein,
    make_wasserstein_loss,
    pair_distances,
    squared_wasserstein,
)
from jbg.studies.problem import Examples, Problem
from jbg.training import Stage, stage_losses
from jbg.training.mesh import spread
from tests.losses.affine import affine_flow
from tests.training.toy import ONE, TWO

RNG = np.random.default_rng
DISTANCE = jax.jit(squared_wasserstein)
WITH_GRADIENT = jax.jit(jax.value_and_grad(squared_wasserstein))
ATOMS, BACKBONE = 7, np.array([0, 1, 3, 4, 6])
SHAPE = np.cumsum(RNG(5).normal(0.0, 0.15, (ATOMS, 3)), 0).ravel().astype(np.float32)
FLOW = Generator(base=flows.normal(3 * ATOMS), bijector=affine_flow(3 * ATOMS))
TRUE = {"a": jnp.full(3 * ATOMS, np.log(0.02), jnp.float32), "b": jnp.asarray(SHAPE)}
BIASED = {"a": TRUE["a"] + 0.4, "b": TRUE["b"] * 1.15}
STEP = Stage(name="w2", steps=10, batch_size=64, losses=(Wasserstein(),))


def dense(a, b):
    """W2^2 in float64 by the D x D covariances and scipy's matrix square root."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    first, second = np.cov(a), np.cov(b)
    # on the null space sqrtm of a product fails: an identical and tiny multiple of I on both leaves the value
    ridge = 1e-13 * np.trace(first) * np.eye(len(first))
    half = scipy.linalg.sqrtm(first + ridge).real
    root = scipy.linalg.sqrtm(half @ (second + ridge) @ half).real
    shift = np.sum((a.mean(1) - b.mean(1)) ** 2)
    return shift + np.trace(first) + np.trace(second) - 2 * np.trace(root)


def batches(d, n, m, rank=None):
    """Two batches (d, n) and (d, m) with uneven spectra that differ, and shifted means."""
    rng, rank = RNG(d + 100 * n + m), rank or d
    modes = rng.normal(size=(d, rank)) * 0.8 ** np.arange(rank)
    other = modes + 0.2 * rng.normal(size=modes.shape)
    a = 2.0 + modes @ rng.normal(size=(rank, n))
    return a, 2.1 + 1.2 * other @ rng.normal(size=(rank, m))


SIZES = [(12, 60, 60), (40, 16, 16), (40, 16, 25), (40, 25, 16), (12, 60, 8), (30, 30, 31)]


@pytest.mark.parametrize(("d", "n", "m"), SIZES)
def test_value_is_that_of_the_dense_matrix_square_root(d, n, m):
    """Fewer and more columns than features; in float32."""
    a, b = batches(d, n, m)
    expected = dense(a, b)
    found = DISTANCE(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    with jax.enable_x64(True):
        exact = DISTANCE(jnp.asarray(a), jnp.asarray(b))
    np.testing.assert_allclose(exact, expected, rtol=2e-6)  # the ridge of the reference


def test_small_singular_values_count_in_float32():
    """Two batches of one density whose widths fall off as those of a protein's distances: they nearly agree."""
    rng = RNG(0)
    modes = rng.normal(size=(150, 60)) * 2.0 ** (-0.25 * np.arange(60))
    a, b = (modes @ rng.normal(size=(60, 200)) for _ in range(2))
    with jax.enable_x64(True):
        exact = float(DISTANCE(jnp.asarray(a), jnp.asarray(b)))
    assert exact < 0.03 * np.trace(np.cov(a))
    found = DISTANCE(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32))
    np.testing.assert_allclose(found, exact, rtol=5e-6)


@pytest.mark.parametrize(
    ("d", "n", "m", "rank"), [(12, 30, 30, None), (20, 9, 9, None), (20, 9, 14, 4), (20, 14, 9, 4)]
)
def test_gradient_is_that_of_finite_differences(d, n, m, rank, x64):
    """Also of batches of a lower rank, moved within it: outside the distance has a kink."""
    a, b = (jnp.asarray(part) for part in batches(d, n, m, rank))
    rng, h = RNG(3), 1e-5
    for argument in (0, 1):
        gradient = jax.jit(jax.grad(squared_wasserstein, argument))(a, b)
        for _ in range(3):
            along = np.asarray((a, b)[argument]) @ rng.normal(size=((n, m)[argument],) * 2) / 10
            at = lambda s, i=argument, along=along: DISTANCE(
                *((part + s * along if i == j else part) for j, part in enumerate((a, b)))
            )
            expected = (at(h) - at(-h)) / (2 * h)
            np.testing.assert_allclose(np.sum(gradient * along), expected, rtol=1e-3)


def test_two_normals_and_a_planted_shift():
    """Diagonal covariances: |shift|^2 + |width_a - width_b|^2."""
    rng, n = RNG(0), 400
    width_a, width_b = np.array([1.0, 0.5, 2.0]), np.array([0.7, 1.5, 2.0])
    a = rng.normal(size=(3, 4 * n)) * width_a[:, None]
    b = rng.normal(size=(3, n)) * width_b[:, None]
    expected = np.sum((width_a - width_b) ** 2)
    # widths are known to 3.5 and 1.8 %, and their differences are 0.3 and 1.0
    found = DISTANCE(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=0.25)
    b = b.astype(np.float32)
    moved = b + np.array([[0.3], [-0.4], [1.2]], np.float32)
    value, gradient = WITH_GRADIENT(jnp.asarray(moved), jnp.asarray(b))
    np.testing.assert_allclose(value, 0.09 + 0.16 + 1.44, rtol=1e-5)
    np.testing.assert_allclose(gradient.sum(1), [0.6, -0.8, 2.4], rtol=1e-4)  # away from b


@pytest.mark.parametrize("d", [5, 40])
def test_equal_batches_have_no_distance_and_a_finite_gradient(d):
    a = jnp.asarray(batches(d, 16, 16)[0], jnp.float32)
    scale = float(np.trace(np.cov(a)))
    for second in (a, a[:, ::-1]):
        value, gradient = WITH_GRADIENT(a, second)
        assert 0 <= value < 1e-6 * scale
        assert np.abs(gradient).max() < 1e-3 * np.sqrt(scale)
    still = jnp.ones((d, 16))  # all singular values 0
    value, gradient = WITH_GRADIENT(still, still)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0.0)


def test_columns_that_do_not_count_are_as_if_they_were_not_there():
    a, b = (jnp.asarray(part, jnp.float32) for part in batches(12, 20, 15))
    usable = jnp.arange(20) % 3 > 0
    value, gradient = WITH_GRADIENT(a, b, usable=usable)
    expected, by = WITH_GRADIENT(a[:, usable], b)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient[:, usable], by, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(gradient[:, ~usable], 0.0)
    assert np.isnan(DISTANCE(a, b, usable=jnp.arange(20) < 1))


def test_distances_are_those_of_the_upper_triangle():
    x = RNG(0).normal(size=(3 * ATOMS, 4)).astype(np.float32)
    r = x.reshape(ATOMS, 3, 4)[BACKBONE]
    expected = [np.linalg.norm(r[i] - r[j], axis=0) for i in range(5) for j in range(i + 1, 5)]
    np.testing.assert_allclose(pair_distances(jnp.asarray(x), BACKBONE), expected, rtol=1e-5)
    one = pair_distances(jnp.asarray(x[:, 0]), BACKBONE)
    np.testing.assert_allclose(one, np.array(expected)[:, 0], rtol=1e-5)
    together = jnp.zeros((3 * ATOMS, 4))  # all atoms in one place
    gradient = jax.grad(lambda x: pair_distances(x, BACKBONE).sum())(together)
    np.testing.assert_array_equal(gradient, 0.0)


def make_loss(mesh=ONE, stage=STEP, **options):
    make = stage_losses(FLOW, None, **{"backbone": BACKBONE} | options)
    return make(stage, mesh)


def test_descent_removes_a_planted_bias(key):
    """Bonds 15 % too long and fluctuations too wide; two batches of the truth differ by ``floor``."""
    data = FLOW.sample(key, TRUE, 64).x
    loss = make_loss()
    value = jax.jit(lambda p, key: loss(p, data, key)[0])
    keys = jax.random.split(jax.random.key(1), 120)
    floor = np.mean([value(TRUE, k) for k in keys[:8]])
    optimiser = optax.adam(0.01)

    @jax.jit
    def step(state, key):
        params, inner = state
        gradient = jax.grad(lambda p: loss(p, data, key)[0])(params)
        updates, inner = optimiser.update(gradient, inner)
        return (optax.apply_updates(params, updates), inner), None

    (params, _), _ = jax.lax.scan(step, (BIASED, optimiser.init(BIASED)), keys)
    found = np.mean([value(params, k) for k in keys[:8]])
    assert value(BIASED, key) > 20 * floor
    assert found < 1.5 * floor
    outside = [2, 5]  # atoms that are not of the backbone have not moved
    for name, part in params.items():
        moved = np.asarray(part - BIASED[name]).reshape(-1, 3)
        np.testing.assert_array_equal(moved[outside], 0.0)
        assert np.abs(np.delete(moved, outside, 0)).max() > 1e-3


def test_the_term_compares_own_samples_with_the_data_in_a_stage(key):
    """Data of half the size in v, which coordinates double, and columns that are no coordinates."""
    double = Bijector(
        dim_in=3 * ATOMS,
        dim_out=3 * ATOMS,
        init=lambda key: (),
        forward=lambda params, v: (2 * v, jnp.full(v.shape[1:], 3 * ATOMS * np.log(2.0))),
        inverse=lambda params, x: (x / 2, jnp.full(x.shape[1:], -3 * ATOMS * np.log(2.0))),
    )
    half = {"a": TRUE["a"] - np.log(2.0), "b": TRUE["b"] / 2}
    v = FLOW.sample(key, half, 50).x
    rows = jnp.concatenate([v, 1e3 * jnp.ones((1, 50))])
    loss = make_loss(coords=double, columns=("u",))
    value, aux = jax.jit(loss)(half, rows, key)
    x = FLOW.sample(jax.random.key(9), TRUE, 64).x
    similar = DISTANCE(*(pair_distances(part, BACKBONE) for part in (x, 2 * v)))
    assert 0.5 < value / similar < 2  # the sampling floor of these batches
    assert jax.jit(loss)(TRUE, rows, key)[0] > 20 * value  # own samples of twice the size
    assert aux["w2"] == value
    own = jnp.asarray(2 * np.asarray(v))
    direct = jax.jit(make_wasserstein_loss(FLOW, BACKBONE, n_samples=64))(TRUE, own, key)[0]
    assert 0.5 < direct / similar < 2
    assert STEP.energy_evaluations == 0


def test_a_problem_passes_its_backbone_on(key):
    data = np.asarray(FLOW.sample(key, TRUE, 40).x.T)
    problem = Problem(
        system=SimpleNamespace(collective_variable=None),
        target=None,
        flow=FLOW,
        coords=flows.permute(np.arange(3 * ATOMS)),
        examples=Examples(train=data, heldout=data[:0]),
        u_reference=0.0,
        batch=1,
        backbone=BACKBONE,
    )
    value, _ = problem.make_loss(STEP, ONE)(BIASED, jnp.asarray(data.T), key)
    np.testing.assert_allclose(value, make_loss()(BIASED, jnp.asarray(data.T), key)[0], rtol=1e-4)
    with pytest.raises(ConfigError, match="expected a system with backbone atoms, got none"):
        dataclasses.replace(problem, backbone=None).make_loss(STEP, ONE)


def test_two_devices_make_the_loss_of_one(key):
    data = FLOW.sample(key, TRUE, 65).x
    stage = Stage(name="odd", steps=10, batch_size=65, losses=(Wasserstein(2.0),))

    def found(mesh):
        of = jax.value_and_grad(make_loss(mesh, stage), has_aux=True)
        return jax.jit(lambda p, batch: of(p, spread(batch, mesh), key))(BIASED, data)

    for one, two in zip(*map(jax.tree.leaves, (found(ONE), found(TWO))), strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-5)


def test_samples_that_are_not_finite_count_for_nothing(key):
    data, flow = FLOW.sample(key, TRUE, 32).x, FLOW.bijector
    wall = lambda limit: Bijector(
        dim_in=flow.dim_in,
        dim_out=flow.dim_out,
        init=flow.init,
        forward=lambda p, z: (
            jnp.where((z[:1] > limit), jnp.nan, flow.forward(p, z)[0]),
            jnp.zeros(z.shape[1:]),
        ),
        inverse=flow.inverse,
    )
    for limit, finite in ((1.0, True), (-9.0, False)):
        own = Generator(base=FLOW.base, bijector=wall(limit))
        loss = make_wasserstein_loss(own, BACKBONE, n_samples=64)
        of = jax.jit(jax.value_and_grad(loss, has_aux=True))
        (value, _), gradient = of(BIASED, data, key)
        assert np.isfinite(value) == finite  # a step without a value is skipped and counted
        if finite:
            assert all(np.isfinite(leaf).all() for leaf in gradient.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": None}, "expected a system with backbone atoms, got none: pass backbone="),
        ({"columns": ("tau",)}, "expected data of the reference temperature, got rows with a tau"),
        ({"backbone": np.array([0, 7])}, "expected 2 or more numbers of the 7 atoms"),
        ({"backbone": np.array([0.0, 1.0])}, "expected 2 or more numbers of the 7 atoms"),
        ({"backbone": np.array([3])}, "expected 2 or more numbers of the 7 atoms"),
        ({"stage": Stage(name="a", steps=10, batch_size=1, losses=(Wasserstein(),))}, "2 own samp"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        make_loss(**options)


def test_weights_and_batches_are_checked():
    with pytest.raises(ConfigError, match="Wasserstein: weight must be 0 or more, got -1"):
        Wasserstein(-1.0)
    with pytest.raises(ConfigError, match="expected .* two columns or more"):
        squared_wasserstein(jnp.ones((3, 1)), jnp.ones((3, 4)))
    with pytest.raises(ConfigError, match=r"expected \(3, \*batch\), got \(4, 3\)"):
        squared_wasserstein(jnp.ones((3, 5)), jnp.ones((4, 3)))
    assert LossContext(generator=FLOW).backbone is None
