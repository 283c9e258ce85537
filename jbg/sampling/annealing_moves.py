"""The moves of an annealing at one level: jumps of torsions, and trajectories of hybrid Monte Carlo.

Both leave pi_b(v) ~ q(v) w(v)^b invariant and are reversible. They are made in the flow's coordinates v, where the
target is smooth: what a flow of limited depth gets wrong makes the target rough in its latent space (on chignolin
time steps there were four times shorter, ln w still correlated after ten levels, here after two).

Rotamers lie behind barriers of many kT in the target as in the flow, which trajectories do not cross between two
levels; jumps move particles to rotamers that the flow makes too rarely as their weight grows.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jbg.coords.torsions import wrap
from jbg.generator import Generator
from jbg.interfaces import Bijector, Key, Params, Target
from jbg.sampling.annealing_settings import Annealing
from jbg.sampling.latent_ladder import STEEPEST
from jbg.simulation.hmc import JITTER
from jbg.simulation.hmc_ladder_moves import Jump
from jbg.targets import soften

TRAJECTORY_KEYS = 3  # of a level's key; those of its jumps come after


class Particles(NamedTuple):
    """Where particles stand: v ``(dim_v, n)``, x ``(dim, n)``, true u, ln q of v, softened ln w, the true ln w
    less the softened one (-inf where u is not finite), d ln q/dv and d ln w/dv ``(dim_v, n)``, and ln W of the
    levels passed; ``(n,)`` each where no shape is given."""

    v: Array
    x: Array
    u: Array
    log_q: Array
    log_w: Array
    correction: Array
    slope_q: Array
    slope_w: Array
    total: Array


class Level(NamedTuple):
    """What a call of the program does: b of the moves, what to add to ln W in units of ln w before and after them,
    the time step, the metric that momenta go through ``(dim_v, dim_v)`` or its diagonal ``(dim_v,)``, the leapfrog
    steps, the jumps before them, and whether this is the first evaluation, which accepts whatever it finds."""

    b: Any
    before: Any
    after: Any
    step: Any
    metric: Any
    n_leapfrog: Any
    n_jumps: Any
    first: Any


def wrapped(n_circular: int, v: Array) -> Array:
    """v with its first n_circular variables in [-pi, pi)."""
    return jnp.concatenate([wrap(v[:n_circular]), v[n_circular:]])


def make_places(
    flow: Generator, coords: Bijector, target: Target, settings: Annealing, reference: float
) -> tuple[Callable[[Params, Array], Particles], Callable[[Params, Array], Particles]]:
    """(params, v) -> particles at v by one energy, without and with gradients.

    Args:
        flow: of v.
        coords: v -> x, without parameters.
        target: true density of x.
        settings: of the annealing, whose softening counts.
        reference: energy in kT that softening counts from.
    """
    of_u = Target(dim=1, reduced_energy=lambda u: u[0])
    softened = soften(of_u, e_high=settings.e_high, e_max=settings.e_max, offset=reference)
    soft_of = lambda u: softened.reduced_energy(u[None])

    def found(v, x, u, log_q, log_p, slope_q, slope_p) -> Particles:
        soft, log_w = soft_of(u), log_p - log_q
        possible = jnp.isfinite(log_w) & jnp.isfinite(x).all(0)
        at = Particles(
            v=v,
            x=x,
            u=u,
            log_q=log_q,
            log_w=jnp.where(possible, log_w, -jnp.inf),
            correction=jnp.where(jnp.isfinite(u), soft - u, -jnp.inf),
            slope_q=slope_q,
            slope_w=slope_p - slope_q,
            total=jnp.zeros_like(u),
        )
        return jax.tree.map(lambda a: a.astype(v.dtype), at)

    def placed(params: Params, v: Array) -> Particles:
        x, log_det = coords.forward((), v)
        u, none = target.reduced_energy(x), jnp.zeros_like(v)
        return found(v, x, u, flow.log_prob(params, v), log_det - soft_of(u), none, none)

    def located(params: Params, v: Array) -> Particles:
        log_q, back_to_v = jax.vjp(lambda v: flow.log_prob(params, v), v)
        (slope_q,) = back_to_v(jnp.ones_like(log_q))
        (x, log_det), back_to_v = jax.vjp(lambda v: coords.forward((), v), v)
        u, back_to_x = jax.vjp(target.reduced_energy, x)
        soft, back_to_u = jax.vjp(soft_of, u)
        (share,) = back_to_u(jnp.ones_like(soft))
        (of_x,) = back_to_x(share)
        # 0 * inf inside the pullback is NaN: no force where the softened energy is constant
        of_x = jnp.where(share[None] > 0, of_x, 0.0)
        (slope_p,) = back_to_v((-of_x, jnp.ones_like(log_det)))
        return found(v, x, u, log_q, log_det - soft, slope_q, slope_p)

    return placed, located


def force(particles: Particles, b: Array) -> Array:
    """d ln pi_b/dv, cut off: any function of the place leaves a trajectory reversible."""
    pull = particles.slope_q + b * particles.slope_w
    return jnp.clip(jnp.nan_to_num(pull), -STEEPEST, STEEPEST)


def make_move(
    n_circular: int,
    placed: Callable[[Params, Array], Particles],
    located: Callable[[Params, Array], Particles],
    jump: Jump | None,
) -> Callable[[Params, Particles, Level, Key], tuple[Particles, Array]]:
    """Jumps of each particle, a trajectory by kick, drift, kick, and ln W before and after both.

    Args:
        n_circular: so many of the first variables v are angles.
        placed: from `make_places`.
        located: from `make_places`.
        jump: tried before each trajectory; None for none.
    """
    wrap_angles = lambda v: wrapped(n_circular, v)
    there = None if jump is None else lambda key, v: wrap_angles(jump(key, v))

    def move(params, particles, level, key):
        grown, start = _part(level.before, particles.log_w), particles
        if there is not None:
            start = _jumped(placed, there, params, particles, level, key)
        taken, acceptance = _trajectory(located, wrap_angles, params, start, level, key)
        grown += _part(level.after, taken.log_w)
        total = (particles.total + grown).astype(particles.total.dtype)
        return taken._replace(total=total), acceptance

    return move


def _height(at: Particles, b: Array) -> Array:
    """-ln pi_b."""
    return -(at.log_q + b * at.log_w)


def _jumped(placed, jump, params, particles, level, key) -> Particles:
    """The particles after jumps, by energies alone: their slopes are not those of where they are."""

    def once(i, at):
        key_jump, key_accept = jax.random.split(jax.random.fold_in(key, TRAJECTORY_KEYS + i))
        new = placed(params, jump(key_jump, at.v))
        change = _height(new, level.b) - _height(at, level.b)
        possible = jnp.isfinite(at.log_w) & jnp.isfinite(new.log_w)
        accept = possible & (
            change < jax.random.exponential(key_accept, change.shape, change.dtype)
        )
        return jax.tree.map(lambda a, c: jnp.where(accept, a, c), new, at)

    return jax.lax.fori_loop(0, level.n_jumps, once, particles)


def _trajectory(located, wrap_angles, params, particles, level, key) -> tuple[Particles, Array]:
    """The particles after a trajectory, and its mean acceptance; where there were jumps, a step of length zero
    comes first, which finds the slopes of where they ended."""
    key_momentum, key_jitter, key_accept = jax.random.split(key, TRAJECTORY_KEYS)
    (dim, n), dtype = particles.v.shape, particles.v.dtype
    jitter = jax.random.uniform(key_jitter, (1, n), dtype, 1 - JITTER, 1 + JITTER)
    step, metric = level.step * jitter, level.metric.astype(dtype)
    n_first = jnp.minimum(level.n_jumps, 1)

    def leapfrog(i, carry):
        p, new, start = carry
        h = jnp.where(i < n_first, 0.0, step)
        p = p + 0.5 * h * _through(metric, force(new, level.b))
        new = located(params, wrap_angles(new.v + h * _through(metric, p)))
        start = jax.tree.map(lambda a, c: jnp.where(i < n_first, a, c), new, start)
        return p + 0.5 * h * _through(metric, force(new, level.b)), new, start

    p = jax.random.normal(key_momentum, (dim, n), dtype)
    steps = level.n_leapfrog + n_first
    p_new, new, start = jax.lax.fori_loop(0, steps, leapfrog, (p, particles, particles))
    change = _height(new, level.b) - _height(start, level.b)
    change += 0.5 * (p_new**2 - p**2).sum(0)
    alive = jnp.isfinite(start.log_w)
    possible = alive & jnp.isfinite(new.log_w)
    # -ln of a uniform number is exponential; NaN compares false and is rejected
    accept = level.first | (possible & (change < jax.random.exponential(key_accept, (n,), dtype)))
    taken = jax.tree.map(lambda a, c: jnp.where(accept, a, c), new, start)
    probability = jnp.nan_to_num(jnp.exp(-jnp.maximum(change, 0.0)))
    acceptance = jnp.where(possible, probability, 0.0).sum() / jnp.maximum(alive.sum(), 1)
    return taken, acceptance


def _through(metric: Array, a: Array) -> Array:
    """A symmetric metric, or its diagonal, times vectors ``(dim_v, n)``."""
    if metric.ndim == 1:
        return metric[:, None] * a
    return jnp.matmul(metric, a, precision=jax.lax.Precision.HIGHEST)


def _part(share: Array, log_w: Array) -> Array:
    """share * ln w, 0 for no share of -inf."""
    return jnp.where(share > 0, share * log_w, 0.0)
