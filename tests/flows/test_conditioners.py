"""Networks that condition couplings."""

import jax
import numpy as np
import pytest

from jbg.flows.conditioners import mlp, per_variable_mlp


def test_each_variable_has_a_perceptron_of_its_own():
    rng = np.random.default_rng(0)
    net = per_variable_mlp(5, 12, n_variables=4, hidden=(6, 7))
    shapes = jax.tree.map(np.shape, net.init(jax.random.key(0)))
    params = {k: rng.normal(size=s) for k, s in shapes.items() if k.startswith(("kernel", "bias"))}
    assert params.keys() == shapes.keys()
    h = rng.normal(size=(5, 2, 3))
    with jax.enable_x64():
        out = np.asarray(net.apply(params, h)).reshape(3, 4, 2, 3)
    for v in range(4):
        expected = h.reshape(5, -1)
        for i in range(3):
            expected = params[f"kernel_{i}"][v] @ expected + params[f"bias_{i}"][v][:, None]
            expected = expected / (1 + np.exp(-expected)) if i < 2 else expected
        np.testing.assert_allclose(out[:, v].reshape(3, -1), expected, rtol=1e-10)


def test_the_perceptron_is_that_of_numpy():
    rng = np.random.default_rng(0)
    net = mlp(5, 3, hidden=(6, 7))
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), shapes)
    h = rng.normal(size=(5, 2, 4))
    with jax.enable_x64():
        out = np.asarray(net.apply(params, h)).reshape(3, -1)
    expected = h.reshape(5, -1)
    for i in range(3):
        layer = params[f"FeaturesFirstDense_{i}"]
        expected = layer["kernel"] @ expected + layer["bias"][:, None]
        expected = expected / (1 + np.exp(-expected)) if i < 2 else expected
    np.testing.assert_allclose(out, expected, rtol=1e-10)


def test_outputs_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="12 outputs cannot be shared equally by 5"):
        per_variable_mlp(5, 12, n_variables=5, hidden=(6,))
