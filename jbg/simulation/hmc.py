"""Hybrid Monte-Carlo moves of many chains at once: one trajectory of each, and how steps adapt.

Chains keep the batch on the minor axes, where a CPU vectorises: on the dimer of 76 coordinates that is
1.7 times faster than blackjax's kernel of one chain under ``vmap``. Reference: Duane et al. 1987,
doi:10.1016/0370-2693(87)91197-X.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from jbg.interfaces import ConfigError, Key
from jbg.simulation.checks import check_stride

TARGET_ACCEPTANCE = 0.8
JITTER = 0.2  # steps vary by this share, so that no trajectory stays a multiple of a period


@dataclasses.dataclass(frozen=True, kw_only=True)
class HmcConfig:
    """How many trajectories chains make.

    Attributes:
        n_steps: trajectories of each chain after burn-in, a multiple of ``stride``.
        stride: trajectories between frames.
        n_burn_in: trajectories thrown away; time steps adapt in them and are frozen afterwards.
        n_leapfrog: leapfrog steps of one trajectory.

    Raises:
        ConfigError: numbers that cannot be run.
    """

    n_steps: int
    stride: int
    n_burn_in: int = 200
    n_leapfrog: int = 8

    def __post_init__(self) -> None:
        check_stride("hybrid Monte Carlo", self.n_steps, self.stride)
        if self.n_leapfrog < 1 or self.n_burn_in < 0:
            raise ConfigError(
                "hybrid Monte Carlo: n_leapfrog must be at least 1 and n_burn_in not negative, got"
                f" {self.n_leapfrog} and {self.n_burn_in}"
            )

    @property
    def n_kept(self) -> int:
        return self.n_steps // self.stride


def trajectory(
    key: Key,
    energy: Callable[[Array], Array],
    x: Array,
    *,
    step: Array,
    tau: Array,
    n_leapfrog: int,
    speed: Array | float = 1.0,
) -> tuple[Array, Array, Array]:
    """One leapfrog trajectory of each chain of exp(-energy/tau), accepted by Metropolis.

    Momenta are drawn afresh; the Hamiltonian is energy / tau + p^2 / 2, and a coordinate moves with
    ``speed`` times its momentum: one over the square root of its mass. A trajectory that ends where the energy
    is not a number is rejected.

    Args:
        key: PRNG key.
        energy: ``(dim, *batch)`` -> ``(*batch,)``, with a gradient.
        x: ``(dim, *batch)``.
        step: time steps, broadcast against ``(*batch,)`` and of the same rank.
        tau: relative temperatures, likewise.
        n_leapfrog: steps of the trajectory.
        speed: of a coordinate per unit of its momentum, broadcast against x.

    Returns:
        Configurations ``(dim, *batch)``, their energies ``(*batch,)``, and the probabilities with
        which the trajectories were accepted ``(*batch,)``.
    """
    key_momentum, key_jitter, key_accept = jax.random.split(key, 3)
    jitter = jax.random.uniform(key_jitter, step.shape, x.dtype, 1 - JITTER, 1 + JITTER)
    step = (step * jitter)[None] * speed

    reduced = lambda x: energy(x) / tau
    gradient = jax.grad(lambda x: reduced(x).sum())

    def leapfrog(_, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        x, p, g = state
        p = p - 0.5 * step * g
        x = x + step * p
        g = gradient(x)  # no energy: only those of the ends count
        return x, p - 0.5 * step * g, g

    p = jax.random.normal(key_momentum, x.shape, x.dtype)
    x_new, p_new, _ = jax.lax.fori_loop(0, n_leapfrog, leapfrog, (x, p, gradient(x)))
    h, h_new = reduced(x), reduced(x_new)
    change = h_new - h + 0.5 * (p_new**2 - p**2).sum(0)
    # -ln of a uniform number is exponential; NaN compares false and is rejected
    accept = change < jax.random.exponential(key_accept, change.shape, change.dtype)
    probability = jnp.nan_to_num(jnp.exp(-jnp.maximum(change, 0.0)))
    return jnp.where(accept[None], x_new, x), tau * jnp.where(accept, h_new, h), probability


def adapted(
    log_step: Array,
    acceptance: Array,
    i: Array,
    *,
    n_adapt: int | Array,
    towards: float = TARGET_ACCEPTANCE,
) -> Array:
    """ln of the time steps after a move, by Robbins and Monro's rule.

    Args:
        log_step: ln of the time steps before the move, any shape.
        acceptance: mean acceptance of the move with each step, of the same shape.
        i: number of the move, from 0.
        n_adapt: number of moves that adapt; after them steps are frozen.
        towards: the acceptance that is aimed at.
    """
    gain = jnp.where(i < n_adapt, (1.0 + i) ** -0.6, 0.0).astype(log_step.dtype)
    return log_step + gain * (acceptance - towards)
