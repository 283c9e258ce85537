"""One compiled training step, on a mesh of devices; one device is the mesh of size one."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jbg.interfaces import Key, Loss, Params

AXIS = "data"


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


def device_mesh(devices: list | None = None) -> Mesh:
    """A one-dimensional mesh named "data" over all (or the given) devices."""
    devices = devices or jax.devices()
    return Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Arrays copied to every device of the mesh, placed as the compiled step returns them.

    Anything placed otherwise would make the step compile a second time.
    """
    return jax.device_put(tree, NamedSharding(mesh, P()))


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
) -> Callable[[TrainState, Array], tuple[TrainState, dict[str, Array]]]:
    """Compile ``n_steps`` steps: (state, data ``(n, dim)``) -> (state, mean of the logged scalars).

    Every device draws its share of ``data_batch`` rows and of the loss's own samples with keys of its own;
    gradients and logs are averaged over the mesh. Keys derive from (state.key, state.step): nothing else is
    remembered. A step whose loss or gradient is not finite is skipped and counted.
    """
    share = data_batch // mesh.size

    def local_gradient(params, data, key):
        key = jax.random.fold_in(key, jax.lax.axis_index(AXIS))
        key_rows, key_loss = jax.random.split(key)
        rows = jax.random.randint(key_rows, (share,), 0, data.shape[0])
        grad, aux = jax.grad(loss, has_aux=True)(params, data[rows].T, key_loss)
        return jax.lax.pmean((grad, aux), AXIS)

    # check_vma off: the energy callback and custom gradients carry no replication types
    gradient = jax.shard_map(
        local_gradient, mesh=mesh, in_specs=(P(), P(), P()), out_specs=P(), check_vma=False
    )

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

    return jax.jit(chunk, donate_argnums=0)
