"""What samplers ask of their input; each refusal is one line that begins with the sampler's name."""

import math

import jax
import numpy as np

from jbg.interfaces import ConfigError


def check_start(
    where: str, start: jax.Array | np.ndarray, dim: int, rows: str = "n_chains"
) -> None:
    """Check the shape of starting configurations.

    Args:
        where: name of the sampler.
        start: expected to be ``(n, dim)`` with n > 0.
        dim: dimension of a configuration.
        rows: name of n in the message.

    Raises:
        ConfigError: another shape.
    """
    if start.ndim != 2 or start.shape[1] != dim or len(start) == 0:
        raise ConfigError(f"{where}: start must be ({rows}, {dim}), got {start.shape}")


def check_energies(where: str, energies: jax.Array | np.ndarray) -> None:
    """Raises ConfigError unless those of all starting configurations, ``(n,)``, are finite."""
    bad = ~np.isfinite(energies)
    if bad.any():
        raise ConfigError(
            f"{where}: the energy of {bad.sum()} of {bad.size} starting configurations is not finite;"
            " start elsewhere"
        )


def check_stride(where: str, n_steps: int, stride: int) -> None:
    """Raises ConfigError unless ``n_steps`` is a positive multiple of ``stride``."""
    if stride < 1 or n_steps < stride or n_steps % stride:
        raise ConfigError(
            f"{where}: n_steps must be a multiple of stride >= 1, got {n_steps} and {stride}"
        )


def check_blocks(where: str, *, n_rounds: int, n_burn_in: int, block: int, stride: int) -> None:
    """Check that rounds and burn-in are whole blocks, and blocks whole strides.

    Args:
        where: name of the sampler.
        n_rounds: rounds after burn-in.
        n_burn_in: rounds thrown away, or 0.
        block: rounds of one block.
        stride: rounds between frames.

    Raises:
        ConfigError: numbers that do not fit.
    """
    check_stride(where, block, stride)
    if n_rounds < block or n_rounds % block:
        raise ConfigError(
            f"{where}: n_rounds must be a multiple of block = {block}, got {n_rounds}"
        )
    if n_burn_in < 0 or n_burn_in % block:
        raise ConfigError(
            f"{where}: n_burn_in must be a multiple of block = {block}, got {n_burn_in}"
        )


def check_step(where: str, step: float, tau: float = 1.0) -> None:
    """Raises ConfigError unless a step and a relative temperature are finite and positive."""
    if not (math.isfinite(step) and step > 0 and math.isfinite(tau) and tau > 0):
        raise ConfigError(f"{where}: step and tau must be > 0, got step={step}, tau={tau}")
