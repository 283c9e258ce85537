"""Densities exp(-u/tau) from systems: reduced by temperature, softened, restricted.

Nothing here samples or trains. A softened target may be trained on; every reported weight comes
from the unsoftened one.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import Array

from jbg import units
from jbg.interfaces import ConfigError, System, Target
from jbg.targets.quadrature import find_bounds, log_z_quadrature


def make_target(system: System, temperature: float | None = None) -> Target:
    """The reduced energy u = U / (k_B T) of a system at its reference temperature.

    Args:
        system: energies in "kJ/mol" or "kT". temperature: K, for systems in kJ/mol. Systems in kT
        carry their own (T_ref = 1) and take None.

    Returns:
        Target; systems in kT keep their ``log_z(tau)``, two-dimensional ones get it by quadrature.

    Raises:
        ConfigError: if the temperature is missing, not wanted, or not a positive number.
    """
    if system.energy_unit == "kT":
        if temperature is not None:
            raise ConfigError(
                f"target: {system.name} is in kT and takes no temperature, got {temperature};"
                " leave it out (relative temperatures are tau)"
            )
        return Target(dim=system.dim, reduced_energy=system.potential, log_z=_log_z(system))
    if system.energy_unit != "kJ/mol":
        raise ConfigError(
            f"target: energy_unit of {system.name} must be kJ/mol or kT, got {system.energy_unit!r}"
        )
    if temperature is None or not (math.isfinite(temperature) and temperature > 0):
        raise ConfigError(
            f"target: {system.name} needs a temperature > 0 in K, got {temperature}; try 300"
        )
    beta = units.beta(temperature)
    return Target(dim=system.dim, reduced_energy=lambda x: beta * system.potential(x))


def check_taus(taus: Sequence[float]) -> tuple[float, ...]:
    """Relative temperatures as they are.

    Raises:
        ConfigError: none, or not positive, finite and strictly rising.
    """
    taus = tuple(float(tau) for tau in taus)
    rising = all(a < b for a, b in zip(taus, taus[1:], strict=False))
    if not (taus and all(math.isfinite(tau) and tau > 0 for tau in taus) and rising):
        raise ConfigError(
            f"taus must be positive and strictly rising, got {', '.join(map(str, taus)) or 'none'}"
        )
    return taus


def _log_z(system: System) -> Callable[[float], float] | None:
    if system.log_z is not None or system.dim != 2:
        return system.log_z

    def log_z(tau: float = 1.0) -> float:
        bounds = find_bounds(system.potential, system.start, tau=tau)
        return log_z_quadrature(system.potential, bounds, tau=tau)

    return log_z


def soften(target: Target, *, e_high: float, e_max: float, offset: float = 0.0) -> Target:
    """Target whose energy grows as a logarithm above ``e_high`` and is constant above ``e_max``.

    With v = u - offset (Noé et al. 2019, in the form that is continuous with slope 1 at e_high):

        v                                 for v <= e_high
        e_high + ln(v - e_high + 1)       for e_high < v < e_max
        e_high + ln(e_max - e_high + 1)   for v >= e_max, and where u is not finite

    The gradient is exactly zero in the third case, even where that of ``target`` is NaN or
    infinite. Reverse mode only, as the energies of OpenMM are; ``target`` is evaluated once.

    Args:
        target: density with reduced energy u, in kT.
        e_high: threshold of v in kT.
        e_max: cap of v in kT, > e_high.
        offset: reference energy in kT, such as the median u of the training data.

    Raises:
        ConfigError: unless all three are finite and e_high < e_max.
    """
    if not (all(math.isfinite(e) for e in (e_high, e_max, offset)) and e_high < e_max):
        raise ConfigError(
            "soften: needs finite e_high < e_max and a finite offset,"
            f" got e_high={e_high}, e_max={e_max}, offset={offset}"
        )

    def cut(u: Array) -> tuple[Array, Array]:
        """Softened energy and its slope by u."""
        v = u - offset
        usable = jnp.isfinite(u) & (v < e_max)  # NaN compares false
        excess = jnp.where(usable & (v > e_high), v - e_high, 0.0)
        value = jnp.where(excess > 0, offset + e_high + jnp.log1p(excess), u)
        value = jnp.where(usable, value, offset + e_high + math.log1p(e_max - e_high))
        return value, jnp.where(usable, 1.0 / (1.0 + excess), 0.0)

    @jax.custom_vjp
    def reduced_energy(x):
        return cut(target.reduced_energy(x))[0]

    def forward(x):
        u, pullback = jax.vjp(target.reduced_energy, x)
        value, slope = cut(u)
        return value, (pullback, slope)

    def backward(residuals, cotangent):
        pullback, slope = residuals
        (gradient,) = pullback(cotangent * slope)
        # 0 * inf inside the pullback is NaN, so a zero slope alone does not give a zero gradient
        return (jnp.where(slope[None] > 0, gradient, jnp.zeros_like(gradient)),)

    reduced_energy.defvjp(forward, backward)
    return Target(dim=target.dim, reduced_energy=reduced_energy)


def heated(target: Target, heat: float | Array) -> Target:
    """The target at ``heat`` times its temperature: exp(-u / heat)."""
    if isinstance(heat, float) and heat == 1.0:
        return target
    return Target(dim=target.dim, reduced_energy=lambda x: target.reduced_energy(x) / heat)


def restrict(target: Target, contains: Callable[[Array], Array]) -> Target:
    """The target inside a region, for simulations that must not leave it: u = inf outside."""

    def reduced_energy(x: Array) -> Array:
        return jnp.where(contains(x), target.reduced_energy(x), jnp.inf)

    return Target(dim=target.dim, reduced_energy=reduced_energy)
