"""The compiled programs of an annealing, of which one has the energy in it; `annealing` says what they are for."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import ArrayLike

from jbg.flows import wrapped
from jbg.generator import Generator
from jbg.interfaces import BaseDistribution, Key, Params, Target, check_target
from jbg.sampling.annealing_settings import Annealing
from jbg.sampling.latent_ladder import STEEPEST
from jbg.simulation.hmc import JITTER
from jbg.targets import soften
from jbg.training.mesh import device_mesh, replicate, spread, spread_generator, spread_target


class Particles(NamedTuple):
    """Where particles stand: z ``(dim_z, n)``, x ``(dim, n)``, true u, softened ln w, the true ln w less the
    softened one (-inf where u is not finite), d ln w/dz ``(dim_z, n)``, and ln W of the levels passed; ``(n,)``
    each where no shape is given."""

    z: Array
    x: Array
    u: Array
    log_w: Array
    correction: Array
    slope: Array
    total: Array


class Level(NamedTuple):
    """What a call of the program does: b of the moves, what to add to ln W in units of ln w before and after them,
    ln of the time steps ``(dim_z,)``, the leapfrog steps, and whether this is the first evaluation, which accepts
    whatever it finds."""

    b: Any
    before: Any
    after: Any
    log_step: Any
    n_leapfrog: Any
    first: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Annealer:
    """Compiled parts of an annealing with its settings, from `make_annealer`.

    ``draw(key)`` -> `Particles` at samples of the base, not yet evaluated; ``encode(params, x)`` -> the same at
    configurations ``(dim, batch)``, and which of them the generator can make ``(batch,)``; ``level(params,
    particles, level, key, k)`` -> particles after the trajectories that draw from fold_in(key, k), and their mean
    acceptance; ``force(particles, b)`` -> d ln pi_b/dz ``(dim_z, batch)``, without energies.
    """

    settings: Annealing
    reference: float
    dim_z: int
    dim: int
    mesh: Mesh
    draw: Callable[[Key], Particles]
    encode: Callable[[Params, Array], tuple[Particles, Array]]
    level: Callable[..., tuple[Particles, Array]]
    force: Callable[[Particles, Array], Array]


def make_annealer(
    generator: Generator,
    target: Target,
    settings: Annealing,
    *,
    reference: float = 0.0,
    mesh: Mesh | None = None,
) -> Annealer:
    """The programs of an annealing, particles shared by the devices; one of them has the energy in it.

    Args:
        generator: of x.
        target: true density of x, with a gradient; infinite where x is outside of it.
        settings: of the annealing.
        reference: energy in kT that softening counts from, such as the median u of the training data.
        mesh: devices; all there are by default.

    Raises:
        ConfigError: no target, or a reference that is not finite.
    """
    check_target(target, "annealing")
    mesh = mesh or device_mesh()
    shared, base = spread_generator(generator, mesh), generator.base
    located = _make_located(generator, spread_target(target, mesh), settings, reference)

    def blank(z: Array) -> Particles:
        none = jnp.zeros(z.shape[1:], z.dtype)
        x = jnp.zeros((target.dim, *z.shape[1:]), z.dtype)
        return Particles(z, x, none, none, none, jnp.zeros_like(z), none)

    def draw(key: Key) -> Particles:
        return blank(shared.base.sample(key, settings.batch))

    def encode(params: Params, x: Array) -> tuple[Particles, Array]:
        z, log_det = generator.bijector.inverse(params, spread(x, mesh))
        inside = jnp.isfinite(log_det) & jnp.isfinite(z).all(0)
        return blank(wrapped(base, jnp.where(inside[None], z, 0.0))), inside

    move = _make_move(base, located)

    def level(params, particles, level, key, k):
        particles = Particles(*(spread(a, mesh) for a in particles))
        return move(params, particles, level, jax.random.fold_in(key, k))

    # what goes in is placed as what comes out: each program is compiled once
    everywhere = NamedSharding(mesh, PartitionSpec())
    compiled = lambda function: jax.jit(function, out_shardings=everywhere)
    return Annealer(
        settings=settings,
        reference=reference,
        dim_z=base.dim,
        dim=target.dim,
        mesh=mesh,
        draw=compiled(draw),
        encode=compiled(encode),
        level=compiled(level),
        force=compiled(lambda particles, b: _force(base, particles, b)),
    )


def started(params: Params, key: Key, annealer: Annealer) -> tuple[Params, Key, Particles]:
    """Parameters and key on all devices, and particles at samples of the base."""
    params, key = replicate((params, key), annealer.mesh)
    drawn = annealer.draw(replicate(jax.random.fold_in(key, 0), annealer.mesh))
    return params, key, evaluated(params, key, annealer, drawn)


def evaluated(params: Params, key: Key, annealer: Annealer, particles: Particles) -> Particles:
    """The particles with ln w and what belongs to it, by one leapfrog step of length zero.

    Args:
        params: of the generator.
        key: of the program; what it draws has no effect.
        annealer: from `make_annealer`.
        particles: of which z is known.
    """
    level = level_of(annealer, -np.inf, 0.0, n_leapfrog=1, first=True)
    return annealer.level(params, particles, level, key, jnp.int32(0))[0]


def level_of(
    annealer: Annealer,
    log_step: ArrayLike,
    b: float,
    *,
    before: float = 0.0,
    after: float = 0.0,
    n_leapfrog: int | None = None,
    first: bool = False,
) -> Level:
    """A `Level` whose numbers have the types of every call.

    Args:
        annealer: from `make_annealer`.
        log_step: ln of the time steps ``(dim_z,)``, or of all of them.
        b: of the moves.
        before: share of ln w that ln W grows by before them.
        after: the same after them.
        n_leapfrog: steps of a trajectory; those of the settings by default.
        first: whether to accept whatever is found.
    """
    steps = np.broadcast_to(np.asarray(log_step, np.float32), (annealer.dim_z,))
    n = annealer.settings.n_leapfrog if n_leapfrog is None else n_leapfrog
    at, grown, then = np.float32(b), np.float32(before), np.float32(after)
    return Level(at, grown, then, steps, np.int32(n), np.bool_(first))


def _make_located(
    generator: Generator, target: Target, settings: Annealing, reference: float
) -> Callable[[Params, Array], Particles]:
    """(params, z) -> particles at z, with one energy and its gradient."""
    base = generator.base
    of_u = Target(dim=1, reduced_energy=lambda u: u[0])
    softened = soften(of_u, e_high=settings.e_high, e_max=settings.e_max, offset=reference)

    def located(params: Params, z: Array) -> Particles:
        (x, log_det), back_to_z = jax.vjp(lambda z: generator.bijector.forward(params, z), z)
        u, back_to_x = jax.vjp(target.reduced_energy, x)
        soft, back_to_u = jax.vjp(lambda u: softened.reduced_energy(u[None]), u)
        (share,) = back_to_u(jnp.ones_like(soft))
        (of_x,) = back_to_x(share)
        # 0 * inf inside the pullback is NaN: no force where the softened energy is constant
        of_x = jnp.where(share[None] > 0, of_x, 0.0)
        (slope,) = back_to_z((-of_x, jnp.ones_like(log_det)))
        slope = slope - jax.grad(lambda z: base.log_prob(z).sum())(z)
        log_w = -soft + log_det - base.log_prob(z)
        possible = jnp.isfinite(log_w) & jnp.isfinite(x).all(0)
        found = Particles(
            z=z,
            x=x,
            u=u,
            log_w=jnp.where(possible, log_w, -jnp.inf),
            correction=jnp.where(jnp.isfinite(u), soft - u, -jnp.inf),
            slope=slope,
            total=jnp.zeros_like(u),
        )
        return jax.tree.map(lambda a: a.astype(z.dtype), found)

    return located


def _force(base: BaseDistribution, particles: Particles, b: Array) -> Array:
    """d ln pi_b/dz, cut off: any function of the place leaves a trajectory reversible."""
    of_base = jax.grad(lambda z: base.log_prob(z).sum())(particles.z)
    return jnp.clip(jnp.nan_to_num(of_base + b * particles.slope), -STEEPEST, STEEPEST)


def _make_move(
    base: BaseDistribution, located: Callable[[Params, Array], Particles]
) -> Callable[[Params, Particles, Level, Key], tuple[Particles, Array]]:
    """A trajectory of each particle by kick, drift, kick, and ln W before and after it."""

    def move(params, particles, level, key):
        key_momentum, key_jitter, key_accept = jax.random.split(key, 3)
        (dim, n), dtype = particles.z.shape, particles.z.dtype
        jitter = jax.random.uniform(key_jitter, (1, n), dtype, 1 - JITTER, 1 + JITTER)
        step = jnp.exp(level.log_step.astype(dtype)).reshape(dim, 1) * jitter

        def leapfrog(_, carry):
            p, new = carry
            p = p + 0.5 * step * _force(base, new, level.b)
            new = located(params, wrapped(base, new.z + step * p))
            return p + 0.5 * step * _force(base, new, level.b), new

        p = jax.random.normal(key_momentum, (dim, n), dtype)
        p_new, new = jax.lax.fori_loop(0, level.n_leapfrog, leapfrog, (p, particles))
        height = lambda at: -(base.log_prob(at.z) + level.b * at.log_w)
        change = height(new) - height(particles) + 0.5 * (p_new**2 - p**2).sum(0)
        alive = jnp.isfinite(particles.log_w)
        possible = alive & jnp.isfinite(new.log_w)
        # -ln of a uniform number is exponential; NaN compares false and is rejected
        accept = level.first | (
            possible & (change < jax.random.exponential(key_accept, (n,), dtype))
        )
        taken = jax.tree.map(lambda a, c: jnp.where(accept, a, c), new, particles)
        probability = jnp.nan_to_num(jnp.exp(-jnp.maximum(change, 0.0)))
        acceptance = jnp.where(possible, probability, 0.0).sum() / jnp.maximum(alive.sum(), 1)
        grown = _part(level.before, particles.log_w) + _part(level.after, taken.log_w)
        return taken._replace(total=(particles.total + grown).astype(dtype)), acceptance

    return move


def _part(share: Array, log_w: Array) -> Array:
    """share * ln w, 0 for no share of -inf."""
    return jnp.where(share > 0, share * log_w, 0.0)
