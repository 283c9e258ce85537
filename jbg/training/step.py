"""One compiled training step, on a mesh of devices."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jbg.interfaces import Key, Loss, Params
from jbg.training.mesh import spread


class TrainState(NamedTuple):
    """Everything that training carries; save it, load it, and the next step is bit-identical.

    ``average`` is the running mean of the parameters, ``best`` the average with the lowest held-out NLL so far;
    ``step`` counts within the stage and ``bad_steps`` skipped updates in a row.
    """

    params: Params
    opt_state: optax.OptState
    average: Params
    best: Params
    best_nll: Array
    key: Key
    step: Array
    bad_steps: Array


def begin_stage(params: Params, optimiser: optax.GradientTransformation, key: Key) -> TrainState:
    """A stage starts from parameters with a fresh optimiser; the averages start there too."""
    copy = lambda: jax.tree.map(jnp.copy, params)  # the step donates its state: no shared buffers
    return TrainState(
        params=copy(),
        opt_state=optimiser.init(params),
        average=copy(),
        best=copy(),
        best_nll=jnp.asarray(jnp.inf, float),  # a type that is weak would compile the step again
        key=jnp.copy(key),
        step=jnp.asarray(0, jnp.int32),
        bad_steps=jnp.asarray(0, jnp.int32),
    )


def make_chunk(
    loss: Loss,
    optimiser: optax.GradientTransformation,
    *,
    mesh: Mesh,
    data_batch: int,
    n_steps: int,
    ema: float,
    accumulate: int = 1,
) -> Callable[[TrainState, Array], tuple[TrainState, dict[str, Array]]]:
    """Compile several steps: (state, data ``(n, dim)``) -> (state, means of the logged scalars).

    Rows of a batch lie spread over the mesh (`training.mesh`). Keys derive from (state.key, state.step): nothing
    else is remembered. A step whose loss or gradient is not finite is skipped; ``skipped`` counts them.

    Args:
        loss: minimised; its batch is ``(dim, data_batch / accumulate)``.
        optimiser: of the stage.
        mesh: devices that share a batch.
        data_batch: rows of data per step, drawn with replacement.
        n_steps: number of steps per call.
        ema: decay of the running average of the parameters.
        accumulate: pieces that a batch is computed in, one after the other; their gradients and what they log are
            averaged.
    """

    def gradient(params, data, key):
        key_rows, key_loss = jax.random.split(jax.random.fold_in(key, 0))
        rows = jax.random.randint(key_rows, (data_batch,), 0, data.shape[0])
        of = jax.grad(loss, has_aux=True)
        if accumulate == 1:
            return of(params, spread(data[rows].T, mesh), key_loss)

        def add(total, piece):
            rows, key = piece
            grad, aux = of(params, spread(data[rows].T, mesh), key)
            return jax.tree.map(jnp.add, total, grad), aux

        pieces = rows.reshape(accumulate, -1), jax.random.split(key_loss, accumulate)
        total, aux = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), pieces)
        mean = lambda tree: jax.tree.map(lambda a: a.mean(0), tree)
        return jax.tree.map(lambda a: a / accumulate, total), mean(aux)

    def one_step(state: TrainState, data: Array):
        grad, aux = gradient(state.params, data, jax.random.fold_in(state.key, state.step))
        finite = jnp.isfinite(optax.tree.norm(grad)) & jnp.isfinite(aux["loss"])
        updates, opt_state = optimiser.update(grad, state.opt_state, state.params)
        keep = lambda new, old: jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)
        params = keep(optax.apply_updates(state.params, updates), state.params)
        # ramps up, so that the average forgets where the stage began
        decay = jnp.minimum(ema, (1.0 + state.step) / (10.0 + state.step))
        average = jax.tree.map(
            lambda a, p: a + (1 - decay).astype(a.dtype) * (p - a), state.average, params
        )
        bad = jnp.where(finite, 0, state.bad_steps + 1).astype(jnp.int32)
        state = state._replace(
            params=params,
            opt_state=keep(opt_state, state.opt_state),
            average=average,
            step=state.step + 1,
            bad_steps=bad,
        )
        return state, aux | {"skipped": 1.0 - finite, "grad_norm": optax.tree.norm(grad)}

    def chunk(state: TrainState, data: Array):
        state, logs = jax.lax.scan(lambda s, _: one_step(s, data), state, length=n_steps)
        return state, {
            name: values.sum() if name == "skipped" else jnp.nanmean(values)
            for name, values in logs.items()
        }

    everywhere = NamedSharding(mesh, P())
    return jax.jit(chunk, donate_argnums=0, out_shardings=everywhere)
