"""The compiled programs of an annealing, of which one makes all moves; `annealing` says what they are for."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import ArrayLike

from jbg import flows
from jbg.generator import Generator
from jbg.interfaces import Bijector, ConfigError, Key, Params, Target, check_target
from jbg.sampling.annealing_moves import (
    Level,
    Particles,
    force,
    make_move,
    make_places,
    wrapped,
)
from jbg.sampling.annealing_settings import Annealing
from jbg.simulation.hmc_ladder_moves import Jump
from jbg.training.mesh import device_mesh, replicate, spread, spread_generator, spread_target

DENSE = 512  # coordinates v, up to which each level has a metric of all pairs of them


@dataclasses.dataclass(frozen=True, kw_only=True)
class Annealer:
    """Compiled parts of an annealing with its settings, from `make_annealer`.

    ``draw(params, key)`` -> `Particles` at samples of the flow, not yet evaluated; ``encode(x)`` -> the same at
    configurations ``(dim, batch)``, and which of them the coordinates have ``(batch,)``; ``level(params,
    particles, level, key, k)`` -> particles after the moves that draw from fold_in(key, k), and the mean
    acceptance of their trajectories; ``force(particles, b)`` -> d ln pi_b/dv ``(dim_v, batch)``, without energies.
    """

    settings: Annealing
    reference: float
    dim_v: int
    dim: int
    mesh: Mesh
    draw: Callable[[Params, Key], Particles]
    encode: Callable[[Array], tuple[Particles, Array]]
    level: Callable[..., tuple[Particles, Array]]
    force: Callable[[Particles, Array], Array]


def make_annealer(
    flow: Generator,
    target: Target,
    settings: Annealing,
    *,
    coords: Bijector | None = None,
    reference: float = 0.0,
    jump: Jump | None = None,
    mesh: Mesh | None = None,
) -> Annealer:
    """The programs of an annealing, particles shared by the devices; one of them makes all moves.

    Args:
        flow: of v, whose parameters all programs take.
        target: true density of x, with a gradient; infinite where x is outside of it.
        settings: of the annealing.
        coords: v -> x, without parameters; None where v is x.
        reference: energy in kT that softening counts from, such as the median u of the training data.
        jump: of v, tried ``settings.n_jumps`` times before each trajectory.
        mesh: devices; all there are by default.

    Raises:
        ConfigError: no target, a reference that is not finite, or jumps in the settings and none to make.
    """
    if settings.n_jumps and jump is None:
        raise ConfigError(f"annealing: n_jumps is {settings.n_jumps}, and there is nothing to jump")
    check_target(target, "annealing")
    mesh = mesh or device_mesh()
    shared, n_circular = spread_generator(flow, mesh), flow.base.n_circular
    coords = coords or flows.permute(np.arange(target.dim))
    placed, located = make_places(flow, coords, spread_target(target, mesh), settings, reference)

    def blank(v: Array) -> Particles:
        one, every = jnp.zeros(v.shape[1:], v.dtype), jnp.zeros_like(v)
        x = jnp.zeros((target.dim, *v.shape[1:]), v.dtype)
        return Particles(v, x, one, one, one, one, every, every, one)

    def draw(params: Params, key: Key) -> Particles:
        return blank(wrapped(n_circular, shared.sample(key, params, settings.batch).x))

    def encode(x: Array) -> tuple[Particles, Array]:
        v, log_det = coords.inverse((), spread(x, mesh))
        inside = jnp.isfinite(log_det) & jnp.isfinite(v).all(0)
        return blank(wrapped(n_circular, jnp.where(inside[None], v, 0.0))), inside

    move = make_move(n_circular, placed, located, jump)

    def level(params, particles, level, key, k):
        particles = Particles(*(spread(a, mesh) for a in particles))
        return move(params, particles, level, jax.random.fold_in(key, k))

    # what goes in is placed as what comes out: each program is compiled once
    everywhere = NamedSharding(mesh, PartitionSpec())
    compiled = lambda function: jax.jit(function, out_shardings=everywhere)
    return Annealer(
        settings=settings,
        reference=reference,
        dim_v=flow.bijector.dim_out,
        dim=target.dim,
        mesh=mesh,
        draw=compiled(draw),
        encode=compiled(encode),
        level=compiled(level),
        force=compiled(force),
    )


def started(params: Params, key: Key, annealer: Annealer) -> tuple[Params, Key, Particles]:
    """Parameters and key on all devices, and particles at samples of the flow."""
    params, key = replicate((params, key), annealer.mesh)
    drawn = annealer.draw(params, replicate(jax.random.fold_in(key, 0), annealer.mesh))
    return params, key, evaluated(params, key, annealer, drawn)


def evaluated(params: Params, key: Key, annealer: Annealer, particles: Particles) -> Particles:
    """The particles with ln w and what belongs to it, by one leapfrog step of length zero.

    Args:
        params: of the flow.
        key: of the program; what it draws has no effect.
        annealer: from `make_annealer`.
        particles: of which v is known.
    """
    level = level_of(annealer, 0.0, None, 0.0, n_leapfrog=1, n_jumps=0, first=True)
    return annealer.level(params, particles, level, key, jnp.int32(0))[0]


def metric_shape(dim: int) -> tuple[int, ...]:
    """Of the metric of so many coordinates: too many have a diagonal alone."""
    return (dim, dim) if dim <= DENSE else (dim,)


def level_of(
    annealer: Annealer,
    step: float,
    metric: ArrayLike | None,
    b: float,
    *,
    before: float = 0.0,
    after: float = 0.0,
    n_leapfrog: int | None = None,
    n_jumps: int | None = None,
    first: bool = False,
) -> Level:
    """A `Level` whose numbers have the types of every call.

    Args:
        annealer: from `make_annealer`.
        step: time step.
        metric: of the momenta ``(dim_v, dim_v)`` or ``(dim_v,)``; None for one that does not matter.
        b: of the moves.
        before: share of ln w that ln W grows by before them.
        after: the same after them.
        n_leapfrog: steps of a trajectory; those of the settings by default.
        n_jumps: before it; those of the settings by default.
        first: whether to accept whatever is found.
    """
    shape = metric_shape(annealer.dim_v)
    metric = np.zeros(shape, np.float32) if metric is None else np.asarray(metric, np.float32)
    n = annealer.settings.n_leapfrog if n_leapfrog is None else n_leapfrog
    jumps = annealer.settings.n_jumps if n_jumps is None else n_jumps
    at, grown, then = np.float32(b), np.float32(before), np.float32(after)
    return Level(
        at, grown, then, np.float32(step), metric, np.int32(n), np.int32(jumps), np.bool_(first)
    )
