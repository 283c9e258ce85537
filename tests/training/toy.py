"""A two-dimensional training problem that takes milliseconds: Gaussian data, example and energy."""

import jax
import jax.numpy as jnp
import numpy as np

from jbg.interfaces import Target
from jbg.losses import make_kl_loss, make_nll_loss, weighted_sum
from jbg.training import Stage
from tests.losses.affine import MEAN, WIDTH, gaussian, generator

DATA = jnp.asarray(MEAN + WIDTH * np.random.default_rng(0).normal(size=(200, 2)), jnp.float32)
START = {"a": jnp.zeros(2), "b": jnp.zeros(2)}
TWO_STAGES = (
    Stage(name="example", steps=40, batch_size=8, w_nll=1.0, learning_rate=0.02),
    Stage(name="energy", steps=60, batch_size=8, w_nll=0.1, w_kl=1.0, learning_rate=0.02),
)


def make_loss(stage: Stage, n_devices: int, target: Target | None = None):
    terms = [(stage.w_nll, make_nll_loss(generator()))]
    if stage.w_kl:
        n = stage.batch_size // n_devices
        terms.append((stage.w_kl, make_kl_loss(generator(), target or gaussian(), n_samples=n)))
    return weighted_sum(terms)


def leaves(tree) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def assert_identical(found, expected):
    for a, b in zip(leaves(found), leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)
