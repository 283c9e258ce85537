"""Several devices as one: the compiler shares a program's batches over a one-dimensional mesh.

The program is that of a single device. Where a batch begins (rows of data, latent samples), its last axis is said
to lie spread over the mesh, and XLA partitions all that is computed from it. So random numbers, weights and
centres are those of one device, a batch need not be a multiple of the number of devices, and only the order of
sums differs. Energies are the exception: a host callback cannot be partitioned, and the compiled force field
chooses its chunks by the batch, so each device computes those of its share (`spread_target`).

Work that comes in pieces, blocks of samples or configurations to evaluate, is shared piece by piece (`in_turn`).

The devices may be those of several processes, which all execute the same code. An array that is spread over them
lies on no host as a whole: `fetch` gathers it.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jbg.generator import Generator
from jbg.interfaces import Target
from jbg.processes.worker import is_alone

AXIS = "data"


def device_mesh(devices: list | None = None) -> Mesh:
    """A one-dimensional mesh named "data" over the given devices; by default over those of all processes, or of
    this one where it works alone."""
    devices = devices or (jax.local_devices() if is_alone() else jax.devices())
    return Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))


def one_device() -> Mesh:
    """The first device of this process."""
    return device_mesh(jax.local_devices()[:1])


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Arrays copied to every device of the mesh, placed as the compiled step returns them.

    Anything placed otherwise would make the step compile a second time. Of several processes all have the same.
    """
    return _placed(tree, NamedSharding(mesh, P()))


def _placed(tree: Any, sharding: NamedSharding) -> Any:
    """The arrays on the devices of all processes, each of which has the whole of them."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def of_all(x: Any) -> Array:
        if isinstance(x, Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            data = of_all(jax.random.key_data(x))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
        if isinstance(x, Array) and not x.is_fully_addressable:
            return jax.device_put(x, sharding)
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree.map(of_all, tree)


def fetch(tree: Any) -> Any:
    """Arrays on the host, those that are spread over several processes gathered by all of them."""
    if is_alone():
        return jax.device_get(tree)
    return jax.device_get(jax.tree.map(_whole, tree))


def _whole(x: Any) -> Any:
    if not isinstance(x, Array) or x.is_fully_addressable or x.is_fully_replicated:
        return x
    return multihost_utils.process_allgather(x, tiled=True)


def _here(tree: Any) -> Any:
    """Arrays that every device has, as those of this process alone."""

    def mine(x: Any) -> Any:
        if not isinstance(x, Array) or x.is_fully_addressable:
            return x
        return x.addressable_data(0)

    return tree if is_alone() else jax.tree.map(mine, tree)


def spread(x: Array, mesh: Mesh) -> Array:
    """x ``(..., batch)`` inside a compiled function, its last axis shared by the devices."""
    if mesh.size == 1:
        return x
    spec = P(*[None] * (x.ndim - 1), AXIS)
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec))


def spread_generator(generator: Generator, mesh: Mesh) -> Generator:
    """The generator with its latent samples shared by the devices."""
    if mesh.size == 1:
        return generator
    base = generator.base
    shared = dataclasses.replace(base, sample=lambda *args: spread(base.sample(*args), mesh))
    return dataclasses.replace(generator, base=shared)


def spread_target(target: Target, mesh: Mesh) -> Target:
    """The target with its energies computed by each device for its share, the last one's filled up."""
    if mesh.size == 1:
        return target
    of_share = jax.shard_map(
        target.reduced_energy,
        mesh=mesh,
        in_specs=P(None, AXIS),
        out_specs=P(AXIS),
        check_vma=False,  # the energy callback and custom gradients carry no replication types
    )

    def reduced_energy(x: Array) -> Array:
        batch = x.shape[1:]
        n = math.prod(batch)
        flat = x.reshape(x.shape[0], n)
        padded = jnp.pad(flat, ((0, 0), (0, -n % mesh.size)), mode="edge")
        return of_share(padded)[:n].reshape(batch)

    return dataclasses.replace(target, reduced_energy=reduced_energy)


def in_turn(
    of: Callable[[Any, Any], Any], shared: Any, items: Iterable[Any], mesh: Mesh | None = None
) -> Iterator[Any]:
    """of(shared, item) for one item after the other, on the host; as many at once as there are devices.

    Each device computes what a single one would, item by item. Where the last items are fewer than the devices,
    the others repeat the last of them for nothing.

    Args:
        of: compiled, and the same object in every call: it is compiled once more for several devices.
        shared: arrays that all items go with.
        items: arrays of one shape, or keys; consumed as they are needed.
        mesh: devices; all there are by default.
    """
    mesh, items = mesh or device_mesh(), iter(items)
    if mesh.size == 1:
        shared = jax.device_put(_here(shared), mesh.devices[0])  # one placing, so one program
        yield from (jax.device_get(of(shared, item)) for item in items)
        return
    at_once, shared = _one_each(of, mesh), replicate(shared, mesh)
    while few := list(itertools.islice(items, mesh.size)):
        filled = few + few[-1:] * (mesh.size - len(few))
        stack = jnp.stack if isinstance(few[0], jax.Array) else np.stack
        placed = _placed(stack(filled), NamedSharding(mesh, P(AXIS)))
        found = fetch(at_once(shared, placed))
        for i in range(len(few)):
            yield jax.tree.map(lambda a: a[i], found)  # noqa: B023


@functools.lru_cache(maxsize=16)
def _one_each(of: Callable[[Any, Any], Any], mesh: Mesh) -> Callable[[Any, Any], Any]:
    """Compiled (shared, items ``(devices, ...)``) -> what ``of`` makes of them ``(devices, ...)``."""

    def of_mine(shared: Any, items: Any) -> Any:
        return jax.tree.map(lambda a: a[None], of(shared, items[0]))

    # check_vma off: see `spread_target`
    return jax.jit(
        jax.shard_map(
            of_mine, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=P(AXIS), check_vma=False
        )
    )
