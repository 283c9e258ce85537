"""Langevin dynamics of many independent chains, by the BAOAB splitting of Leimkuhler & Matthews 2013.

    B: v += dt/2 f/m    A: x += dt/2 v    O: v = c v + ((1 - c^2) kT/m)^1/2 xi,  c = exp(-friction dt)    A    B

Configurations of a harmonic system have the exact variance at any stable time step. That of velocities at the end
of a step is short by the factor 1 - (omega dt)^2 / 4, between the two A it is exact: the kinetic temperature is
taken there (Leimkuhler & Matthews, Appl. Math. Res. Express 2013, 34).
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from jbg.interfaces import ConfigError, Key
from jbg.simulation.checks import check_energies
from jbg.systems.langevin_config import LangevinConfig
from jbg.units import K_B

__all__ = ["LangevinChains", "LangevinConfig", "langevin"]


class LangevinChains(NamedTuple):
    """Frames of each chain, on the host; to go on, start from the last positions and the velocities.

    With the same key and ``first_frame`` the number of frames done, chains go on as they would have unbroken.
    """

    positions: np.ndarray  # (n_chains, n_frames, dim) nm
    energies: np.ndarray  # (n_chains, n_frames) kJ/mol, of the frames
    temperatures: np.ndarray  # (n_chains, n_frames) K, kinetic, mid-step, mean since the last frame
    velocities: np.ndarray  # (n_chains, dim) nm/ps, at the last frame


def langevin(
    key: Key,
    potential: Callable[[Array], Array],
    start: ArrayLike,
    *,
    masses: ArrayLike,
    temperature: ArrayLike,
    config: LangevinConfig,
    velocities: ArrayLike | None = None,
    first_frame: int = 0,
) -> LangevinChains:
    """Chains at constant temperature, one from each starting configuration; one program for all steps.

    Args:
        key: PRNG key; a frame's random numbers are those of the key and its number.
        potential: ``(dim, *batch)`` nm -> ``(*batch,)`` kJ/mol, with a gradient, such as `compiled_potential`'s;
            the same object compiles once.
        start: ``(n_chains, dim)`` nm.
        masses: of each coordinate ``(dim,)``, or of each atom ``(dim / 3,)``, in dalton.
        temperature: K, one or one for each chain.
        config: numbers of steps, time step and friction.
        velocities: ``(n_chains, dim)`` nm/ps; None draws them at the temperature.
        first_frame: number of the first frame, of chains that go on.

    Raises:
        ConfigError: arrays that do not fit, or a start without finite energy.
    """
    start = jnp.asarray(start, jnp.float32)
    if start.ndim != 2 or not start.size:
        raise ConfigError(f"langevin: start must be (n_chains, dim), got {start.shape}")
    n_chains, dim = start.shape
    masses = _mass_of_coordinates(masses, dim)
    spread = _thermal_velocities(temperature, masses, n_chains)
    check_energies("langevin", potential(start.T))
    k_velocities, k_steps = jax.random.split(key)
    if velocities is None:
        v = spread * jax.random.normal(k_velocities, (dim, n_chains))
    else:
        v = jnp.asarray(velocities, jnp.float32).T
        if v.shape != (dim, n_chains):
            raise ConfigError(f"langevin: velocities must be {(n_chains, dim)}, got {v.T.shape}")
    decay = np.exp(-config.friction * config.timestep_ps)
    settings = np.array([config.timestep_ps, decay, np.sqrt(1 - decay**2)], np.float32)
    numbers = first_frame + jnp.arange(config.n_frames)
    x, energy, heat, v = _run(
        jax.vmap(lambda i: jax.random.fold_in(k_steps, i))(numbers),
        start.T,
        v,
        jnp.asarray(masses[:, None], jnp.float32),
        spread,
        settings,
        potential=potential,
        stride=config.stride,
    )
    return LangevinChains(
        positions=np.ascontiguousarray(np.transpose(x, (2, 0, 1))),
        energies=np.asarray(energy).T,
        temperatures=np.asarray(heat).T / K_B,
        velocities=np.asarray(v).T,
    )


def _mass_of_coordinates(masses: ArrayLike, dim: int) -> np.ndarray:
    """``(dim,)`` in dalton, of those or of masses of atoms."""
    masses = np.asarray(masses, float)
    if masses.shape == (dim // 3,):
        masses = np.repeat(masses, 3)
    if masses.shape != (dim,) or not (masses > 0).all():
        raise ConfigError(f"langevin: needs {dim} or {dim // 3} positive masses, got {masses}")
    return masses


def _thermal_velocities(temperature: ArrayLike, masses: np.ndarray, n_chains: int) -> Array:
    """(kT/m)^1/2 ``(dim, n_chains)`` in nm/ps, which are (kJ/mol / dalton)^1/2."""
    temperatures = np.asarray(temperature, float)
    if temperatures.shape not in ((), (n_chains,)) or not (temperatures > 0).all():
        raise ConfigError(
            f"langevin: temperature must be positive, one or one for each of {n_chains} chains, got {temperature}"
        )
    spread = np.sqrt(K_B * np.broadcast_to(temperatures, n_chains) / masses[:, None])
    return jnp.asarray(spread, jnp.float32)


@functools.partial(jax.jit, static_argnames=("potential", "stride"))
def _run(keys, x, v, masses, spread, settings, *, potential, stride: int):
    """Of each key a frame ``(dim, n_chains)``, energies, twice the mean kinetic energies; last velocities."""
    dt, decay, noise = settings

    def forces(x: Array) -> tuple[Array, Array]:
        energy, pull_back = jax.vjp(potential, x)
        return energy, -pull_back(jnp.ones_like(energy))[0]

    def step(carry, key):
        x, v, f, _, heat = carry
        v = v + 0.5 * dt * f / masses
        x = x + 0.5 * dt * v
        v = decay * v + noise * spread * jax.random.normal(key, v.shape, v.dtype)
        heat = heat + (masses * v * v).mean(0)
        x = x + 0.5 * dt * v
        energy, f = forces(x)
        return (x, v + 0.5 * dt * f / masses, f, energy, heat), None

    def frame(carry, key):
        x, v, f, energy = carry
        keys = jax.random.split(key, stride)
        start = (x, v, f, energy, jnp.zeros_like(energy))
        (x, v, f, energy, heat), _ = jax.lax.scan(step, start, keys)
        return (x, v, f, energy), (x, energy, heat / stride)

    energy, f = forces(x)
    (_, v, _, _), (frames, energies, heat) = jax.lax.scan(frame, (x, v, f, energy), keys)
    return frames, energies, heat, v
