"""The gated-attention conditioner: its parts against NumPy and SciPy, what it is told, and dropout."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from jbg.flows.conditioners import GatedAttention, Tokens
from jbg.flows.conditioners.attention import (
    GatedAttentionUnit,
    laplace,
    relative_bucket,
    rotate_by_place,
)
from jbg.flows.coupling import coupling
from jbg.flows.halves import Half
from jbg.flows.transformers import circular_spline, spline
from jbg.interfaces import ConfigError
from jbg.studies.codec import decode, encode

TOKENS = Tokens(
    place=np.array([0, 4, 9, 1, 2, 5, 7, 30]),
    residue=np.array([0, 1, 2, 0, 0, 1, 2, 5]),
    kind=np.array([0, 0, 1, 2, 3, 2, 3, 3]),
    n_circular=3,
    n_backbone_circular=2,
    n_backbone_linear=3,
)
SMALL = GatedAttention(width=12, query_width=6, value_width=8, dropout=0.0)
SOURCE = Half(circular=slice(0, 1), linear=slice(3, 6))
MOVED = Half(circular=slice(1, 3), linear=slice(6, 8))
N_PARAMS = 2 * 7 + 2 * 5  # two bins
ORDER = jnp.arange(8)


def made(settings=SMALL, tokens=TOKENS, order=ORDER, scale=0.5):
    """A conditioner with parameters far from their start, features of 5 events, and its output."""
    net = settings.on(tokens).make(SOURCE, MOVED, N_PARAMS, order)
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    draw = lambda leaf: jnp.asarray(scale * rng.normal(size=leaf.shape), leaf.dtype)
    jitted = dataclasses.replace(net, init=jax.jit(net.init), apply=jax.jit(net.apply))
    return jitted, jax.tree.map(draw, shapes), features(rng.normal(size=(4, 5)))


def features(x):
    return jnp.asarray(np.concatenate([np.cos(x[:1]), np.sin(x[:1]), x[1:]]), jnp.float32)


def by_variable(out):
    """(circular variables, linear ones), each with the numbers of a variable side by side."""
    return out[:14].reshape(7, 2, *out.shape[1:]), out[14:].reshape(5, 2, *out.shape[1:])


def test_the_laplace_function_and_its_slope():
    x = np.linspace(-2, 3, 41)
    expected = 0.5 * (1 + erf((x - np.sqrt(0.5)) / np.sqrt(2 / (4 * np.pi))))
    with jax.enable_x64():
        np.testing.assert_allclose(laplace(jnp.asarray(x)), expected, rtol=1e-12)
        slope = jax.vmap(jax.grad(laplace))(jnp.asarray(x))
        np.testing.assert_allclose(slope, np.gradient(expected, x), atol=0.05)
        np.testing.assert_allclose(np.trapezoid(slope, x), expected[-1] - expected[0], rtol=1e-4)
        np.testing.assert_allclose(laplace(jnp.sqrt(0.5)), 0.5)
        np.testing.assert_allclose(jax.grad(laplace)(jnp.sqrt(0.5)), np.sqrt(2.0), rtol=1e-12)
    assert laplace(jnp.ones(2, jnp.bfloat16)).dtype == jnp.bfloat16


def test_buckets_of_distances_are_those_of_t5():
    distances = [-500, -128, -20, -8, -7, -1, 0, 1, 7, 8, 11, 12, 16, 127, 500]
    expected = [15, 15, 10, 8, 7, 1, 0, 17, 23, 24, 24, 25, 26, 31, 31]
    np.testing.assert_array_equal(relative_bucket(jnp.array(distances)), expected)


def test_rotary_products_depend_on_differences_of_places():
    rng = np.random.default_rng(1)
    q, k = (jnp.asarray(rng.normal(size=(1, 1, 8)), jnp.float32) for _ in range(2))
    at = lambda a, b: float(
        jnp.sum(rotate_by_place(q, jnp.array([a])) * rotate_by_place(k, jnp.array([b])))
    )
    assert at(3, 5) == pytest.approx(at(40, 42), abs=1e-4)
    assert at(0, 0) == pytest.approx(float(jnp.sum(q * k)), abs=1e-5)
    assert abs(at(3, 5) - at(5, 3)) > 1e-2
    assert abs(at(3, 5) - at(3, 6)) > 1e-2


def silu(x):
    return x / (1 + np.exp(-x))


def test_the_unit_is_that_of_numpy():
    rng = np.random.default_rng(2)
    unit = GatedAttentionUnit(8, 6, 0.0, None)
    x, source = rng.normal(size=(2, 3, 5)), rng.normal(size=(2, 4, 5))
    places, source_places = np.array([0, 2, 9]), np.array([1, 1, 30, 4])
    args = [jnp.asarray(a) for a in (x, places, source, source_places)]
    shapes = jax.eval_shape(lambda: unit.init(jax.random.key(0), *args, None))["params"]
    p = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), shapes)
    with jax.enable_x64():
        args = [jnp.asarray(a) for a in (x, places, source, source_places)]
        found = unit.apply({"params": p}, *args, None)
        turned = lambda a, at: np.asarray(rotate_by_place(jnp.asarray(a), jnp.asarray(at)))

    dense = lambda name, a: a @ p[name]["kernel"] + p[name]["bias"]
    norm = lambda a: p["ScaleNorm_0"]["length"] * a / np.linalg.norm(a, axis=-1, keepdims=True)
    base = lambda a: silu(dense("base", norm(a)))
    q = turned(base(x) * p["query_scale"] + p["query_shift"], places)
    k = turned(base(source) * p["key_scale"] + p["key_shift"], source_places)
    bucket = np.asarray(relative_bucket(jnp.asarray(source_places[None] - places[:, None])))
    score = q @ k.swapaxes(1, 2) / 4 + p["place_bias"][bucket]
    weights = 0.5 * (1 + erf((score - np.sqrt(0.5)) * np.sqrt(2 * np.pi)))
    read = weights @ silu(dense("value", norm(source)))
    expected = x + dense("out", silu(dense("gate", norm(x))) * read)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("n_units", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_other_numbers_for_the_same_variables_change_nothing(n_units):
    """Relabelled together with the order: row i holds the same variable as before."""
    settings = dataclasses.replace(SMALL, n_units=n_units)
    net, params, h = made(settings)
    relabel = np.array([2, 0, 1, 7, 5, 3, 6, 4])  # variable i is now called relabel[i]
    back = np.argsort(relabel)
    fields = {name: getattr(TOKENS, name)[back] for name in ("place", "residue", "kind")}
    other = settings.on(TOKENS._replace(**fields))

    @jax.jit
    def apply(order):
        return other.make(SOURCE, MOVED, N_PARAMS, order).apply(params, h)

    out = net.apply(params, h)
    np.testing.assert_allclose(apply(jnp.asarray(relabel)), out, atol=1e-5)
    assert np.abs(apply(ORDER) - out).max() > 0.1


def test_numbers_follow_their_variables_to_other_rows():
    """Two rows of each half trade their variables: so do the numbers of the moved, and the read do not matter."""
    net, params, h = made()
    order = jnp.array([0, 2, 1, 4, 3, 5, 7, 6])
    swapped, _, _ = made(order=order)
    h_swapped = h[jnp.array([0, 1, 3, 2, 4])]
    for a, b in zip(
        by_variable(net.apply(params, h)),
        by_variable(swapped.apply(params, h_swapped)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b[:, ::-1], atol=1e-5)


@pytest.mark.parametrize("n_units", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_each_variable_that_is_read_reaches_each_that_is_moved(n_units):
    net, params, h = made(dataclasses.replace(SMALL, n_units=n_units))
    for i in range(n_units):  # weights of about a half: nothing is ignored
        params[f"unit_{i}"]["place_bias"] = jnp.full(32, 0.7)
    jacobian = jax.jit(jax.jacrev(net.apply, 1))(params, h[:, 0])
    for numbers in by_variable(jacobian):
        # of the angle: along the circle
        angle = numbers[..., 1] * h[0, 0] - numbers[..., 0] * h[1, 0]
        assert np.all(np.abs(angle).max(0) > 1e-5)
        assert np.all(np.abs(numbers[..., 2:]).max(0) > 1e-5)


def test_batch_axes_and_single_events():
    net, params, h = made()
    out = net.apply(params, h)
    assert out.shape == (N_PARAMS, 5)
    np.testing.assert_allclose(net.apply(params, h[:, 1]), out[:, 1], atol=1e-5)
    np.testing.assert_allclose(jax.vmap(net.apply, (None, 1), 1)(params, h), out, atol=1e-5)
    folded = net.apply(params, h[:, :4].reshape(5, 2, 2))
    np.testing.assert_allclose(folded, out[:, :4].reshape(-1, 2, 2), atol=1e-5)


def test_the_start_is_zero_and_every_part_learns_from_it():
    net, _, h = made()
    params = net.init(jax.random.key(0))
    np.testing.assert_array_equal(net.apply(params, h), 0)
    rng = np.random.default_rng(3)
    aim = jnp.asarray(rng.normal(size=(N_PARAMS, 5)), jnp.float32)
    step = jax.jit(jax.value_and_grad(lambda p: jnp.mean((net.apply(p, h) - aim) ** 2)))
    before, gradient = step(params)
    after, gradient = step(jax.tree.map(lambda p, g: p - g, params, gradient))
    assert after < before
    leaves = jax.tree.leaves_with_path(gradient)
    assert not {jax.tree_util.keystr(at) for at, g in leaves if not np.abs(g).max() > 0}


def test_bfloat16_is_close_and_hands_over_float32():
    net, params, h = made(scale=0.3)
    rough, _, _ = made(dataclasses.replace(SMALL, precision="bfloat16"), scale=0.3)
    exact, found = net.apply(params, h), rough.apply(params, h)
    assert found.dtype == jnp.float32
    error = np.abs(found - exact).max() / np.abs(exact).max()
    assert 1e-5 < error < 0.03
    gradient = lambda n: jax.jit(jax.grad(lambda p: jnp.sum(n.apply(p, h) ** 2)))(params)
    for a, b in zip(*(jax.tree.leaves(gradient(n)) for n in (net, rough)), strict=True):
        assert b.dtype == jnp.float32
        np.testing.assert_allclose(b, a, atol=0.1 * np.abs(a).max() + 1e-3)


def test_what_is_computed_again_gives_the_same_gradient(monkeypatch):
    net, params, h = made()
    total = lambda n: lambda p, h: jnp.sum(jnp.sin(n.apply(p, h)))
    found = jax.jit(jax.grad(total(net), (0, 1)))(params, h)
    assert "remat" in str(jax.make_jaxpr(total(net))(params, h))
    with monkeypatch.context() as patch:
        patch.setattr(jax, "checkpoint", lambda f: f)
        plain, _, _ = made()
    assert "remat" not in str(jax.make_jaxpr(total(plain))(params, h))
    expected = jax.jit(jax.grad(total(plain), (0, 1)))(params, h)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_dropout_only_with_a_key_and_invertible_with_one():
    settings = dataclasses.replace(SMALL, dropout=0.4, n_units=2)
    net, params, h = made(settings)
    out = net.apply(params, h)
    never, _, _ = made(dataclasses.replace(settings, dropout=0.0))
    np.testing.assert_array_equal(out, never.apply(params, h))
    one, again, other = (net.apply(params, h, key=jax.random.key(k)) for k in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert min(np.abs(one - other).max(), np.abs(one - out).max()) > 1e-2
    # the same function of every event, whatever stands beside it
    np.testing.assert_allclose(
        net.apply(params, h[:, 2], key=jax.random.key(0)), one[:, 2], atol=1e-5
    )
    assert net.random
    assert not never.random
    layer = coupling(
        SOURCE,
        MOVED,
        dim=8,
        conditioner=settings.on(TOKENS),
        circular=circular_spline(n_bins=2),
        linear=spline(n_bins=2),
    )
    keyed, still = layer.keyed(jax.random.key(5)), jax.jit(layer.forward)
    z = jnp.asarray(np.random.default_rng(4).uniform(-3, 3, (8, 6)), jnp.float32)
    x, log_det = jax.jit(keyed.forward)(params, z)
    back, inverse_log_det = jax.jit(keyed.inverse)(params, x)
    np.testing.assert_allclose(back, z, atol=1e-4)
    np.testing.assert_allclose(log_det, -inverse_log_det, atol=1e-4)
    assert np.abs(x - still(params, z)[0]).max() > 1e-3


def test_settings_are_plain_values():
    settings = dataclasses.replace(SMALL, precision="bfloat16")
    assert decode(GatedAttention, encode(settings), "a.json") == settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "width must be 1 or more, got 0"),
        ({"query_width": 5}, "query_width must be even, got 5"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
        ({"precision": "float16"}, "must be float32 or bfloat16, got float16"),
    ],
)
def test_impossible_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": np.zeros(7, int)}, r"tokens.kind must be \(8,\)"),
        ({"place": np.linspace(0, 1, 8)}, "tokens.place must hold whole numbers"),
        ({"residue": np.arange(8) - 1}, "whole numbers >= 0, got int64 from -1"),
        ({"n_circular": 9}, r"tokens.n_circular must be in 0\.\.8, got 9"),
        ({"n_backbone_circular": 4}, r"n_backbone_circular must be in 0\.\.3, got 4"),
        ({"n_backbone_linear": 6}, r"n_backbone_linear must be in 0\.\.5, got 6"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        SMALL.on(TOKENS._replace(**change))


def test_parameters_that_cannot_be_shared_are_refused():
    with pytest.raises(
        ConfigError, match="25 parameters cannot be shared by 2 circular and 2 linear"
    ):
        SMALL.on(TOKENS).make(SOURCE, MOVED, 25, ORDER)
