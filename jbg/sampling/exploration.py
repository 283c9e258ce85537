"""Adaptive exploration: a generator that finds new states from one configuration, and learns them as it does.

Noe et al. 2019, Fig. 4 and methods ("Adaptive sampling and training"). A buffer of configurations starts as
copies of one. In turns, entries of the buffer make Metropolis moves in the latent space of the flow, and the flow
trains on the buffer by example and on its own samples by energy. Moves that are short in z may be long in x.

The moves are right for the flow of the moment, but the flow is trained on where they went: what the buffer holds
in the end is only asymptotically Boltzmann distributed. Free energies come from reweighted samples of the flow.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jbg.generator import Generator
from jbg.interfaces import ConfigError, Key, State, Target
from jbg.sampling.exploration_archive import Archive, empty_archive
from jbg.sampling.exploration_program import ExplorationState, compiled, train_chunk
from jbg.sampling.exploration_settings import Exploration
from jbg.sampling.latent_mcmc import Predicate
from jbg.training import begin_stage, replicate
from jbg.training.mesh import one_device

__all__ = ["Archive", "Exploration", "ExplorationHistory", "ExplorationState", "begin", "explore"]


class ExplorationHistory(NamedTuple):
    """What happened, one entry per iteration (host arrays).

    shares ``(n, n_states)`` of the buffer in each state, and how many configurations of it are archived; ``tau``
    of the moves; acceptance of local and of global moves, NaN where none was made; ``losses`` by name, means over
    the iteration's training steps.
    """

    n_evaluations: np.ndarray
    step: np.ndarray
    accepted_local: np.ndarray
    accepted_global: np.ndarray
    shares: np.ndarray
    archived: np.ndarray
    tau: np.ndarray
    losses: dict[str, np.ndarray]


def explore(
    state: ExplorationState,
    generator: Generator,
    target: Target,
    *,
    u_reference: float = 0.0,
    settings: Exploration | None = None,
    states: tuple[State, ...] = (),
    allowed: Predicate | None = None,
    n_iterations: int | None = None,
) -> tuple[ExplorationState, ExplorationHistory]:
    """Explore until the budget is spent; parameters are in ``state.train.average``.

    Args:
        state: from `begin`, or where an earlier call stopped.
        generator: the flow; the same objects compile once.
        target: density that is explored.
        u_reference: reduced energy from which ``settings.e_high`` counts (`Stage.training_target`).
        settings: numbers; the defaults suit two dimensions. Those of `begin`, as the next two.
        states: whose shares of the buffer are recorded, and of which the archive keeps configurations.
        allowed: x ``(dim, *batch)`` -> bool; restricts the target to where it holds.
        n_iterations: stop after so many of them; what is left of the budget by default.

    Returns:
        The last state, and the history of this call's iterations.
    """
    settings = settings or Exploration()
    iterate = compiled(generator, target, u_reference, settings, states, allowed)
    left = settings.n_iterations - int(state.iteration)
    records, state = [], replicate(state, one_device())
    for _ in range(left if n_iterations is None else min(left, n_iterations)):
        state, record = iterate(state)
        records.append(record)
    return state, _history(records, len(states))


def begin(
    key: Key,
    generator: Generator,
    target: Target,
    start: ArrayLike,
    *,
    u_reference: float = 0.0,
    settings: Exploration | None = None,
    states: tuple[State, ...] = (),
    allowed: Predicate | None = None,
) -> ExplorationState:
    """The state before the first iteration: a buffer of noisy copies, and a flow trained on it by example.

    Args:
        key: PRNG key of the whole exploration.
        generator: the flow, untrained.
        target: density that is explored.
        start: a configuration ``(dim,)``, or several ``(n, dim)`` that fill the buffer in equal parts.
        u_reference, settings, states, allowed: as for `explore`.

    Raises:
        ConfigError: a start of the wrong shape, or copies of it without a finite energy.
    """
    settings = settings or Exploration()
    start = jnp.atleast_2d(jnp.asarray(start, jnp.float32))
    if start.ndim != 2 or start.shape[1] != target.dim:
        raise ConfigError(
            f"exploration: start must be ({target.dim},) or (n, {target.dim}), got {start.shape}"
        )
    k_noise, k_init, k_example, k_both, k_run = jax.random.split(key, 5)
    copies = jnp.resize(start, (settings.buffer, target.dim))
    buffer = copies + settings.noise * jax.random.normal(k_noise, copies.shape, copies.dtype)
    u = jax.jit(target.reduced_energy)(buffer.T)
    good = jnp.isfinite(u) if allowed is None else jnp.isfinite(u) & allowed(buffer.T)
    if not bool(good.any()):
        raise ConfigError(
            "exploration: no copy of the start is allowed and of finite energy; lower noise"
        )
    # the first good copy for the others
    pick = jnp.where(good, jnp.arange(len(u)), jnp.argmax(good))
    buffer, u = buffer[pick], u[pick]
    stage = settings.by_example
    train = train_chunk(generator, target, u_reference, stage)(
        begin_stage(generator.init(k_init), stage.optimiser(), k_example), buffer
    )[0]
    train = begin_stage(train.params, settings.both.optimiser(), k_both)
    return ExplorationState(
        buffer=buffer,
        u=u,
        archive=empty_archive(len(states), settings.archive, target.dim),
        # of a definite type, as one read from a checkpoint is: another would compile again
        train=train._replace(best_nll=jnp.full((), jnp.inf, train.best_nll.dtype)),
        step=jnp.asarray(settings.step, jnp.float32),
        key=k_run,
        iteration=jnp.asarray(0, jnp.int32),
        n_evaluations=jnp.asarray(settings.buffer, jnp.int32),
    )


def _history(records: list[dict[str, Any]], n_states: int) -> ExplorationHistory:
    host = jax.tree.map(np.asarray, records)
    column = lambda name: np.array([r[name] for r in host])
    return ExplorationHistory(
        n_evaluations=column("n_evaluations"),
        step=column("step"),
        accepted_local=column("accepted_local"),
        accepted_global=column("accepted_global"),
        shares=column("shares").reshape(len(host), n_states),
        archived=column("archived").reshape(len(host), n_states),
        tau=column("tau"),
        losses={
            k: np.array([r["losses"][k] for r in host]) for k in (host[0]["losses"] if host else ())
        },
    )
