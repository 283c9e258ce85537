"""A flow whose every expectation is known: x = exp(a) z + b on a normal base, and its Gaussian target."""

import jax.numpy as jnp
import numpy as np

from jbg import flows
from jbg.generator import Generator
from jbg.interfaces import BaseDistribution, Bijector, Target

MEAN, WIDTH = np.array([0.5, -1.0], np.float32), np.array([1.3, 0.6], np.float32)


def affine_flow(dim: int = 2) -> Bijector:
    column = lambda v, like: v.reshape(-1, *(1,) * (like.ndim - 1))

    def forward(params, z):
        x = column(jnp.exp(params["a"]), z) * z + column(params["b"], z)
        return x, jnp.full(z.shape[1:], params["a"].sum())

    def inverse(params, x):
        z = (x - column(params["b"], x)) * column(jnp.exp(-params["a"]), x)
        return z, jnp.full(x.shape[1:], -params["a"].sum())

    init = lambda key: {"a": jnp.zeros(dim), "b": jnp.zeros(dim)}
    return Bijector(dim_in=dim, dim_out=dim, init=init, forward=forward, inverse=inverse)


def gaussian() -> Target:
    """Normal of MEAN and WIDTH without its normaliser, ln Z = ln 2 pi + sum ln WIDTH."""

    def reduced_energy(x):
        return sum(0.5 * ((x[i] - MEAN[i]) / WIDTH[i]) ** 2 for i in range(2))

    log_z = lambda tau=1.0: np.log(2 * np.pi * tau) + np.log(WIDTH).sum()
    return Target(dim=2, reduced_energy=reduced_energy, log_z=log_z)


OPTIMUM = {"a": jnp.asarray(np.log(WIDTH)), "b": jnp.asarray(MEAN)}
AWAY = {"a": jnp.array([0.6, 0.1]), "b": jnp.array([0.0, -0.8])}


def generator(base: BaseDistribution | None = None) -> Generator:
    return Generator(base=base or flows.normal(2), bijector=affine_flow())


def even_points(n: int) -> np.ndarray:
    """``(2, n)`` points with the mean and covariance of a standard normal, exactly."""
    z = np.random.default_rng(0).normal(size=(2, n))
    z -= z.mean(1, keepdims=True)
    return (np.linalg.solve(np.linalg.cholesky(z @ z.T / n), z)).astype(np.float32)


def base_of(points: np.ndarray) -> BaseDistribution:
    """A normal base whose samples are the given points, over again for each temperature."""
    normal, n_points = flows.normal(2), points.shape[1]

    def sample(key, n, tau=1.0):
        z = jnp.tile(jnp.asarray(points), (1, n // n_points))
        return jnp.broadcast_to(jnp.sqrt(tau), z.shape) * z

    return BaseDistribution(dim=2, sample=sample, log_prob=normal.log_prob)
