"""A two-dimensional training problem that takes milliseconds: Gaussian data, example and energy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jbg.interfaces import Target
from jbg.losses import NLL, ReverseKL
from jbg.training import Stage, device_mesh, stage_losses
from tests.losses.affine import MEAN, WIDTH, gaussian, generator

ONE, TWO = (device_mesh(jax.devices()[:n]) for n in (1, 2))
DATA = jnp.asarray(MEAN + WIDTH * np.random.default_rng(0).normal(size=(200, 2)), jnp.float32)
START = {"a": jnp.zeros(2), "b": jnp.zeros(2)}
TWO_STAGES = (
    Stage(name="example", steps=40, batch_size=8, losses=(NLL(),), learning_rate=0.02),
    Stage(
        name="energy", steps=60, batch_size=8, losses=(NLL(0.1), ReverseKL()), learning_rate=0.02
    ),
)


@dataclasses.dataclass(frozen=True)
class Pull:
    """A loss of somebody's own: |b|^2, for seven energies a step."""

    weight: float = 1.0

    def build(self, context):
        assert context.generator.bijector.dim_out == 2
        return lambda params, batch, key: (jnp.sum(params["b"] ** 2), {"pull": params["b"][0]})

    def energies(self, batch):
        return 7


def make_loss(stage: Stage, mesh: Mesh = ONE, target: Target | None = None):
    return stage_losses(generator(), target or gaussian())(stage, mesh)


def leaves(tree) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def assert_identical(found, expected):
    for a, b in zip(leaves(found), leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)
