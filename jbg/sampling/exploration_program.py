"""The compiled iteration of an exploration: moves, archive, training."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec

from jbg.generator import Generator
from jbg.interfaces import Key, Params, State, Target
from jbg.losses import LossContext, total_loss
from jbg.sampling.exploration_archive import Archive, archived
from jbg.sampling.exploration_settings import STEP_BOUNDS, Exploration
from jbg.sampling.latent_mcmc import LatentMoves, Predicate, encode, latent_move
from jbg.training import Stage, TrainState, make_chunk
from jbg.training.mesh import one_device

ANNEALED = 2 / 3  # share of the iterations in which the temperature of moves falls to its last
GAIN = 0.2  # change of ln step per move and unit of acceptance


class ExplorationState(NamedTuple):
    """Everything that an exploration carries: save it, load it, and the next iteration is the same.

    buffer ``(n, dim)`` with energies ``u (n,)``; ``archive`` of each state; ``train`` holds parameters and
    optimiser; ``step`` is that of local moves.
    """

    buffer: Array
    u: Array
    archive: Archive
    train: TrainState
    step: Array
    key: Key
    iteration: Array
    n_evaluations: Array


@functools.lru_cache(maxsize=16)
def train_chunk(generator: Generator, target: Target, u_reference: float, stage: Stage):
    """Compiled steps of a stage on rows of the buffer, on one device.

    Args:
        generator, target, u_reference: as for `exploration.explore`; the same objects compile once.
        stage: of the training.
    """
    soft = stage.training_target(target, u_reference)
    context = LossContext(generator=generator, target=soft, n_samples=stage.batch_size)
    return make_chunk(
        total_loss(stage.losses, context),
        stage.optimiser(),
        mesh=one_device(),
        data_batch=stage.data_batch or stage.batch_size,
        n_steps=stage.log_every,
        ema=stage.ema,
    )


@functools.lru_cache(maxsize=8)
def compiled(
    generator: Generator,
    target: Target,
    u_reference: float,
    settings: Exploration,
    states: tuple[State, ...],
    allowed: Predicate | None,
) -> Callable[[ExplorationState], tuple[ExplorationState, dict[str, Any]]]:
    """One iteration: ``moves`` moves, each of a batch drawn from the buffer; the archive; ``train_steps``.

    Args:
        generator, target, u_reference, states, allowed: as for `exploration.explore`; the same objects compile
            once.
        settings: of the exploration.
    """
    train = train_chunk(generator, target, u_reference, settings.both)

    def iterate(state: ExplorationState):
        keys = jax.random.split(jax.random.fold_in(state.key, state.iteration), settings.moves)
        tau = _tau_of(state.iteration, settings)
        move = functools.partial(
            _move, generator, state.train.params, target, tau, settings, allowed
        )
        (buffer, u, step), counts = jax.lax.scan(move, (state.buffer, state.u, state.step), keys)
        inside = jnp.stack([s.contains(buffer.T) for s in states]) if states else None
        archive = state.archive if inside is None else archived(state.archive, buffer, u, inside)
        trained, losses = train(state.train, buffer)
        local, made_local, far, made_far = counts.sum(0)
        after = ExplorationState(
            buffer=buffer,
            u=u,
            archive=archive,
            train=trained,
            step=step,
            key=state.key,
            iteration=state.iteration + 1,
            n_evaluations=state.n_evaluations + settings.evaluations_per_iteration,
        )
        record = {
            "n_evaluations": after.n_evaluations,
            "step": step,
            "accepted_local": local / made_local,
            "accepted_global": far / made_far,
            "shares": jnp.zeros(0) if inside is None else inside.mean(1),
            "archived": jnp.isfinite(archive.u).sum(1),
            "tau": tau,
            "losses": losses,
        }
        return after, record

    # placed as `replicate` places what comes in: anything else would compile the second iteration again
    everywhere = NamedSharding(one_device(), PartitionSpec())
    return jax.jit(iterate, out_shardings=everywhere)


def _tau_of(iteration: Array, settings: Exploration) -> Array:
    """Relative temperature of the moves of an iteration."""
    done = jnp.minimum(iteration / jnp.maximum(ANNEALED * settings.n_iterations, 1.0), 1.0)
    return settings.first_tau ** (1.0 - done) * settings.last_tau**done


def _move(
    generator: Generator,
    params: Params,
    target: Target,
    tau: Array,
    settings: Exploration,
    allowed: Predicate | None,
    carry: tuple[Array, Array, Array],
    key: Key,
) -> tuple[tuple[Array, Array, Array], Array]:
    """A batch of the buffer moves once: (buffer, u, step) after it; moves accepted and made of each kind."""
    buffer, u, step = carry
    k_rows, k_move = jax.random.split(key)
    rows = jax.random.permutation(k_rows, len(buffer))[: settings.batch]
    chains = encode(generator, params, buffer[rows].T, u[rows])
    chains, accept, far = latent_move(
        k_move,
        generator,
        params,
        target,
        chains,
        LatentMoves(step, tau, settings.global_moves, settings.reach),
        allowed=allowed,
        with_global=settings.global_moves > 0,
    )
    counts = jnp.stack([accept & ~far, ~far, accept & far, far]).sum(1).astype(jnp.float32)
    excess = counts[0] / jnp.maximum(counts[1], 1) - settings.acceptance
    step = jnp.clip(step * jnp.exp(GAIN * excess), *STEP_BOUNDS)
    return (buffer.at[rows].set(chains.x.T), u.at[rows].set(chains.u), step), counts
