"""Base distributions of the latent variables, each with a temperature.

At relative temperature tau the normal has variance tau (Noe et al. 2019: the prior variance is the
temperature); the von Mises divides its concentration by tau; a uniform angle knows no temperature.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jbg.flows.transformers import wrap
from jbg.interfaces import BaseDistribution

_LN_2PI = math.log(2 * math.pi)


def normal(dim: int) -> BaseDistribution:
    """Isotropic normal of variance tau; log p = -|z|^2/(2 tau) - (dim/2) ln(2 pi tau)."""

    def log_prob(z, tau=1.0):
        return -0.5 * (jnp.sum(z * z, 0) / tau + dim * (_LN_2PI + jnp.log(tau)))

    return BaseDistribution(
        dim=dim,
        sample=lambda key, n, tau=1.0: (
            jnp.broadcast_to(jnp.sqrt(tau), (dim, n)) * jax.random.normal(key, (dim, n))
        ),
        log_prob=log_prob,
    )


def at_temperature(base: BaseDistribution, tau: float | Array) -> BaseDistribution:
    """The base distribution that is at relative temperature tau where it is asked for 1."""
    return BaseDistribution(
        dim=base.dim,
        sample=lambda key, n, factor=1.0: base.sample(key, n, factor * tau),
        log_prob=lambda z, factor=1.0: base.log_prob(z, factor * tau),
        n_circular=base.n_circular,
    )


def wrapped(base: BaseDistribution, z: Array) -> Array:
    """z with its angles in [-pi, pi)."""
    angles, rest = z[: base.n_circular], z[base.n_circular :]
    return jnp.concatenate([wrap(angles), rest])


def uniform(dim: int) -> BaseDistribution:
    """Uniform on the torus [-pi, pi)^dim, at every temperature."""
    return BaseDistribution(
        dim=dim,
        sample=lambda key, n, tau=1.0: jax.random.uniform(
            key, (dim, n), minval=-math.pi, maxval=math.pi
        ),
        log_prob=lambda z, tau=1.0: jnp.full(z.shape[1:], -dim * _LN_2PI, z.dtype),
        n_circular=dim,
    )


def von_mises(dim: int, *, concentration: float) -> BaseDistribution:
    """Independent von Mises angles about 0: p(z) = exp((kappa/tau) cos z) / (2 pi I_0(kappa/tau)).

    Sampled by the wrapped-Cauchy rejection of Best and Fisher (1979).
    """

    def sample(key, n, tau=1.0):
        kappa = jnp.broadcast_to(concentration / tau, (dim, n))
        r = 1 + jnp.sqrt(1 + 4 * kappa**2)
        rho = (r - jnp.sqrt(2 * r)) / (2 * kappa)
        s = (1 + rho**2) / (2 * rho)

        def propose(carry):
            key, z, done = carry
            key, k1, k2, k3 = jax.random.split(key, 4)
            c = jnp.cos(math.pi * jax.random.uniform(k1, (dim, n)))
            f = (1 + s * c) / (s + c)
            g = kappa * (s - f)
            accept = jnp.log(g / jax.random.uniform(k2, (dim, n), minval=1e-38)) + 1 - g >= 0
            sign = jnp.where(jax.random.bernoulli(k3, shape=(dim, n)), 1.0, -1.0)
            new = sign * jnp.arccos(jnp.clip(f, -1, 1))
            return key, jnp.where(done, z, new), done | accept

        start = (key, jnp.zeros((dim, n)), jnp.zeros((dim, n), bool))
        return jax.lax.while_loop(lambda carry: ~jnp.all(carry[2]), propose, start)[1]

    def log_prob(z, tau=1.0):
        kappa = concentration / tau
        # ln I_0(k) = ln(exp(-k) I_0(k)) + k, which does not overflow
        norm = _LN_2PI + jnp.log(jax.scipy.special.i0e(kappa)) + kappa
        return kappa * jnp.sum(jnp.cos(z), 0) - dim * norm

    return BaseDistribution(dim=dim, sample=sample, log_prob=log_prob, n_circular=dim)


def product(*parts: BaseDistribution) -> BaseDistribution:
    """Independent parts, their variables one after the other; parts of no dimension are left out.

    Raises:
        ValueError: angles come after numbers.
    """
    parts = tuple(p for p in parts if p.dim)
    edges = [0]
    for part in parts:
        edges.append(edges[-1] + part.dim)

    def sample(key, n, tau=1.0):
        keys = jax.random.split(key, len(parts))
        return jnp.concatenate([p.sample(k, n, tau) for p, k in zip(parts, keys, strict=True)])

    def log_prob(z, tau=1.0):
        total: Any = sum(
            p.log_prob(z[a:b], tau) for p, a, b in zip(parts, edges, edges[1:], strict=False)
        )
        return total

    n_circular = sum(p.n_circular for p in parts)
    if any(
        p.n_circular and a + p.n_circular > n_circular for p, a in zip(parts, edges, strict=False)
    ):
        raise ValueError("product: angles come first, numbers after them")
    return BaseDistribution(dim=edges[-1], sample=sample, log_prob=log_prob, n_circular=n_circular)
