"""The compiled programs of an annealing, of which one makes all moves; `annealing` says what they are for."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import ArrayLike

from jbg.flows import wrapped
from jbg.generator import Generator
from jbg.interfaces import ConfigError, Key, Params, Target, check_target
from jbg.sampling.annealing_moves import (
    LatentJump,
    Level,
    Particles,
    force,
    make_move,
    make_places,
)
from jbg.sampling.annealing_settings import Annealing
from jbg.training.mesh import device_mesh, replicate, spread, spread_generator, spread_target


@dataclasses.dataclass(frozen=True, kw_only=True)
class Annealer:
    """Compiled parts of an annealing with its settings, from `make_annealer`.

    ``draw(key)`` -> `Particles` at samples of the base, not yet evaluated; ``encode(params, x)`` -> the same at
    configurations ``(dim, batch)``, and which of them the generator can make ``(batch,)``; ``level(params,
    particles, level, key, k)`` -> particles after the moves that draw from fold_in(key, k), and the mean
    acceptance of their trajectories; ``force(particles, b)`` -> d ln pi_b/dz ``(dim_z, batch)``, without energies.
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
    jump: LatentJump | None = None,
    mesh: Mesh | None = None,
) -> Annealer:
    """The programs of an annealing, particles shared by the devices; one of them makes all moves.

    Args:
        generator: of x.
        target: true density of x, with a gradient; infinite where x is outside of it.
        settings: of the annealing.
        reference: energy in kT that softening counts from, such as the median u of the training data.
        jump: from `latent_jump`, tried ``settings.n_jumps`` times before each trajectory.
        mesh: devices; all there are by default.

    Raises:
        ConfigError: no target, a reference that is not finite, or jumps in the settings and none to make.
    """
    if settings.n_jumps and jump is None:
        raise ConfigError(f"annealing: n_jumps is {settings.n_jumps}, and there is nothing to jump")
    check_target(target, "annealing")
    mesh = mesh or device_mesh()
    shared, base = spread_generator(generator, mesh), generator.base
    placed, located = make_places(generator, spread_target(target, mesh), settings, reference)

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

    move = make_move(base, placed, located, jump)

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
        force=compiled(lambda particles, b: force(base, particles, b)),
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
    level = level_of(annealer, -np.inf, 0.0, n_leapfrog=1, n_jumps=0, first=True)
    return annealer.level(params, particles, level, key, jnp.int32(0))[0]


def level_of(
    annealer: Annealer,
    log_step: ArrayLike,
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
        log_step: ln of the time steps ``(dim_z,)``, or of all of them.
        b: of the moves.
        before: share of ln w that ln W grows by before them.
        after: the same after them.
        n_leapfrog: steps of a trajectory; those of the settings by default.
        n_jumps: before it; those of the settings by default.
        first: whether to accept whatever is found.
    """
    steps = np.broadcast_to(np.asarray(log_step, np.float32), (annealer.dim_z,))
    n = annealer.settings.n_leapfrog if n_leapfrog is None else n_leapfrog
    jumps = annealer.settings.n_jumps if n_jumps is None else n_jumps
    at, grown, then = np.float32(b), np.float32(before), np.float32(after)
    return Level(at, grown, then, steps, np.int32(n), np.int32(jumps), np.bool_(first))
