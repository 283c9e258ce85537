"""OpenMM as a JAX function: one host call for a batch, the forces passed back as its gradient."""

from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


class EnergyPool(Protocol):
    """What evaluates configurations (B, atoms, 3) nm on the host in kJ/mol: ``ContextPool``, ``ProcessPool``."""

    n_atoms: int

    def energies(self, x: np.ndarray) -> np.ndarray: ...

    def energies_and_forces(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


def openmm_potential(pool: EnergyPool) -> Callable[[Array], Array]:
    """Potential energy of flat configurations, evaluated by ``pool`` on the host.

    ``potential(x)``: x ``(3 * atoms, *batch)`` nm -> ``(*batch,)`` kJ/mol, of x's dtype. Works
    under jit, vmap, grad and shard_map (each device sends its own slice). One host call gives all
    energies of a batch; under reverse-mode differentiation the same call gives the forces too, and
    the backward pass only multiplies. Forward mode (jacfwd) and second derivatives are not
    available.

    A configuration whose energy is not finite gets energy +inf; where the energy or a force is not
    finite the gradient is zero, so that one bad sample cannot turn a parameter update into nan.
    The host function computes in float64 at the positions as they were rounded; it calls no JAX
    (that would deadlock) and does not raise.
    """
    dim = 3 * pool.n_atoms

    def host_energy(x) -> np.ndarray:
        x = np.asarray(x)
        with np.errstate(over="ignore"):
            energy = pool.energies(_configurations(x)).astype(x.dtype)
        return _finite_or_inf(energy).reshape(x.shape[:-1])

    def host_energy_and_gradient(x) -> tuple[np.ndarray, np.ndarray]:
        x = np.asarray(x)
        energy, force = pool.energies_and_forces(_configurations(x))
        with np.errstate(over="ignore"):
            energy = _finite_or_inf(energy.astype(x.dtype))
            gradient = -force.reshape(-1, dim).astype(x.dtype)
        good = np.isfinite(energy) & np.isfinite(gradient).all(axis=1)
        gradient = np.where(good[:, None], gradient, np.zeros((), x.dtype))
        return energy.reshape(x.shape[:-1]), gradient.reshape(x.shape)

    @jax.custom_vjp
    def potential(x: Array) -> Array:
        return _call_for_energy(host_energy, _features_last(x, dim))

    def forward(x: Array) -> tuple[Array, Array]:
        energy, gradient = _call_for_both(host_energy_and_gradient, _features_last(x, dim))
        return energy, jnp.moveaxis(gradient, -1, 0)

    def backward(gradient: Array, cotangent: Array) -> tuple[Array]:
        return (gradient * cotangent[None],)

    potential.defvjp(forward, backward)
    return potential


def _features_last(x: Array, dim: int) -> Array:
    """(dim, *batch) -> (*batch, dim): vmap puts its axes in front, where the host has the batch."""
    if x.ndim == 0 or x.shape[0] != dim:
        raise ValueError(f"openmm_potential: expected shape ({dim}, *batch), got {x.shape}")
    return jnp.moveaxis(x, 0, -1)


def _call_for_energy(host_fn: Callable, x: Array) -> Array:
    shape = jax.ShapeDtypeStruct(x.shape[:-1], x.dtype)
    return _vary_with(x[..., 0], jax.pure_callback(host_fn, shape, x, vmap_method="expand_dims"))


def _call_for_both(host_fn: Callable, x: Array) -> tuple[Array, Array]:
    shapes = (jax.ShapeDtypeStruct(x.shape[:-1], x.dtype), jax.ShapeDtypeStruct(x.shape, x.dtype))
    energy, gradient = jax.pure_callback(host_fn, shapes, x, vmap_method="expand_dims")
    return _vary_with(x[..., 0], energy), _vary_with(x, gradient)


def _vary_with(x: Array, value: Array) -> Array:
    """``value``, typed under shard_map as differing between devices wherever ``x`` does.

    A callback's results are typed as equal on all devices, which would make a later pmean or
    gradient wrong. The select of equal branches says otherwise in every JAX version, and is
    compiled away.
    """
    return jnp.where(x == x, value, value)


def _configurations(x: np.ndarray) -> np.ndarray:
    return x.reshape(-1, x.shape[-1] // 3, 3).astype(np.float64)


def _finite_or_inf(energy: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(energy), energy, np.asarray(np.inf, energy.dtype))
