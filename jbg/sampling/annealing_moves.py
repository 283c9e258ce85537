"""The moves of an annealing at one level: jumps of torsions, and trajectories of hybrid Monte Carlo.

Both leave pi_b(z) ~ p_Z(z) w(z)^b invariant and are reversible. A jump is proposed in the flow's coordinates v and
made in z: where v -> v' is as likely as its return and v = T(z), Metropolis's rule reads

    ln a = ln pi_b(z') + ln|det dz'/dv'| - ln pi_b(z) + ln|det dv/dz|.

Rotamers lie behind barriers of many kT in the density as in the flow, which trajectories do not cross between two
levels; jumps move particles to rotamers that the flow makes too rarely as their weight grows.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jbg.flows import wrapped
from jbg.generator import Generator
from jbg.interfaces import BaseDistribution, Bijector, Key, Params, Target
from jbg.sampling.annealing_settings import Annealing
from jbg.sampling.latent_ladder import STEEPEST
from jbg.simulation.hmc import JITTER
from jbg.targets import soften

# (key, v (dim, *batch)) -> another v, as likely the other way round
Jump = Callable[[Key, Array], Array]
# (parameters, key, z (dim, n)) -> z', ln|det dv/dz| at z + ln|det dz/dv| at z'
LatentJump = Callable[[Params, Key, Array], tuple[Array, Array]]


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
    ln of the time steps ``(dim_z,)``, the leapfrog steps, the jumps before them, and whether this is the first
    evaluation, which accepts whatever it finds."""

    b: Any
    before: Any
    after: Any
    log_step: Any
    n_leapfrog: Any
    n_jumps: Any
    first: Any


def latent_jump(flow: Bijector, jump: Jump) -> LatentJump:
    """A jump in v made in z.

    Args:
        flow: z -> v; the parameters of the generator are a pair, of which the first are its own.
        jump: the proposal, symmetric.
    """

    def made(params: Params, key: Key, z: Array) -> tuple[Array, Array]:
        v, log_det = flow.forward(params[0], z)
        there, log_det_back = flow.inverse(params[0], jump(key, v))
        return there, log_det + log_det_back

    return made


def make_places(
    generator: Generator, target: Target, settings: Annealing, reference: float
) -> tuple[Callable[[Params, Array], Particles], Callable[[Params, Array], Particles]]:
    """(params, z) -> particles at z by one energy, without and with its gradient."""
    base = generator.base
    of_u = Target(dim=1, reduced_energy=lambda u: u[0])
    softened = soften(of_u, e_high=settings.e_high, e_max=settings.e_max, offset=reference)

    def found(z, x, u, soft, log_det, slope) -> Particles:
        log_w = -soft + log_det - base.log_prob(z)
        possible = jnp.isfinite(log_w) & jnp.isfinite(x).all(0)
        at = Particles(
            z=z,
            x=x,
            u=u,
            log_w=jnp.where(possible, log_w, -jnp.inf),
            correction=jnp.where(jnp.isfinite(u), soft - u, -jnp.inf),
            slope=slope,
            total=jnp.zeros_like(u),
        )
        return jax.tree.map(lambda a: a.astype(z.dtype), at)

    def placed(params: Params, z: Array) -> Particles:
        x, log_det = generator.bijector.forward(params, z)
        u = target.reduced_energy(x)
        return found(z, x, u, softened.reduced_energy(u[None]), log_det, jnp.zeros_like(z))

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
        return found(z, x, u, soft, log_det, slope)

    return placed, located


def force(base: BaseDistribution, particles: Particles, b: Array) -> Array:
    """d ln pi_b/dz, cut off: any function of the place leaves a trajectory reversible."""
    of_base = jax.grad(lambda z: base.log_prob(z).sum())(particles.z)
    return jnp.clip(jnp.nan_to_num(of_base + b * particles.slope), -STEEPEST, STEEPEST)


def make_move(
    base: BaseDistribution,
    placed: Callable[[Params, Array], Particles],
    located: Callable[[Params, Array], Particles],
    jump: LatentJump | None,
) -> Callable[[Params, Particles, Level, Key], tuple[Particles, Array]]:
    """Jumps of each particle, a trajectory by kick, drift, kick, and ln W before and after both.

    Args:
        base: p_Z.
        placed: from `make_places`.
        located: from `make_places`.
        jump: from `latent_jump`; None for none.
    """

    def move(params, particles, level, key):
        grown = _part(level.before, particles.log_w)
        start = (
            particles
            if jump is None
            else _jumped(base, placed, jump, params, particles, level, key)
        )
        taken, acceptance = _trajectory(base, located, params, start, level, key)
        grown += _part(level.after, taken.log_w)
        total = (particles.total + grown).astype(particles.total.dtype)
        return taken._replace(total=total), acceptance

    return move


def _height(base: BaseDistribution, at: Particles, b: Array) -> Array:
    """-ln pi_b."""
    return -(base.log_prob(at.z) + b * at.log_w)


def _jumped(base, placed, jump, params, particles, level, key) -> Particles:
    """The particles after jumps, by energies alone: their slopes are not those of where they are."""

    def once(i, at):
        key_jump, key_accept = jax.random.split(jax.random.fold_in(key, i))
        z, log_ratio = jump(params, key_jump, at.z)
        z = wrapped(base, z)
        possible = jnp.isfinite(log_ratio) & jnp.isfinite(z).all(0)
        new = placed(params, jnp.where(possible[None], z, at.z))
        change = _height(base, new, level.b) - _height(base, at, level.b) - log_ratio
        possible &= jnp.isfinite(at.log_w) & jnp.isfinite(new.log_w)
        accept = possible & (
            change < jax.random.exponential(key_accept, change.shape, change.dtype)
        )
        return jax.tree.map(lambda a, c: jnp.where(accept, a, c), new, at)

    return jax.lax.fori_loop(0, level.n_jumps, once, particles)


def _trajectory(base, located, params, particles, level, key) -> tuple[Particles, Array]:
    """The particles after a trajectory, and its mean acceptance; where there were jumps, a step of length zero
    comes first, which finds the slopes of where they ended."""
    key_momentum, key_jitter, key_accept = jax.random.split(key, 3)
    (dim, n), dtype = particles.z.shape, particles.z.dtype
    jitter = jax.random.uniform(key_jitter, (1, n), dtype, 1 - JITTER, 1 + JITTER)
    step = jnp.exp(level.log_step.astype(dtype)).reshape(dim, 1) * jitter
    n_first = jnp.minimum(level.n_jumps, 1)

    def leapfrog(i, carry):
        p, new, start = carry
        h = jnp.where(i < n_first, 0.0, step)
        p = p + 0.5 * h * force(base, new, level.b)
        new = located(params, wrapped(base, new.z + h * p))
        start = jax.tree.map(lambda a, c: jnp.where(i < n_first, a, c), new, start)
        return p + 0.5 * h * force(base, new, level.b), new, start

    p = jax.random.normal(key_momentum, (dim, n), dtype)
    steps = level.n_leapfrog + n_first
    p_new, new, start = jax.lax.fori_loop(0, steps, leapfrog, (p, particles, particles))
    change = _height(base, new, level.b) - _height(base, start, level.b)
    change += 0.5 * (p_new**2 - p**2).sum(0)
    alive = jnp.isfinite(start.log_w)
    possible = alive & jnp.isfinite(new.log_w)
    # -ln of a uniform number is exponential; NaN compares false and is rejected
    accept = level.first | (possible & (change < jax.random.exponential(key_accept, (n,), dtype)))
    taken = jax.tree.map(lambda a, c: jnp.where(accept, a, c), new, start)
    probability = jnp.nan_to_num(jnp.exp(-jnp.maximum(change, 0.0)))
    acceptance = jnp.where(possible, probability, 0.0).sum() / jnp.maximum(alive.sum(), 1)
    return taken, acceptance


def _part(share: Array, log_w: Array) -> Array:
    """share * ln w, 0 for no share of -inf."""
    return jnp.where(share > 0, share * log_w, 0.0)
