"""Recursions over the atoms of a molecule, as short scans: each step computes as many atoms at once
as the molecule is wide, each from atoms of earlier steps.

Compile time does not grow with the molecule, and memory is a buffer of all atoms. ``chain_sums`` adds
up along the tree of bonds and is its own pair of sweeps: away from the first atom, and back to it
for the transpose. Both only add, so that nothing cancels in float32.
"""

import heapq
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jbg.coords.zmatrix import ZMatrix


class Sweep(NamedTuple):
    """Tables of a recursion over items, those given at the start first (int32 host arrays).

    int32 because JAX 0.10 mixes up int64 constants that are used inside and outside enable_x64.
    """

    starts: np.ndarray  # (steps,) where in the buffer each step begins to write
    items: np.ndarray  # (steps, width) rows of the inputs of what it computes, the last repeated
    sources: np.ndarray  # (steps, most, width) places in the buffer of what an item follows from
    places: np.ndarray  # (n,) where in the buffer the results are


def make_sweep(sources: Sequence[Sequence[int]], *, n_given: int = 0) -> Sweep:
    """Tables of the recursion in which item i follows from the items ``sources[i]``, all before i.

    A step takes at most (items / longest chain) items, those with the longest chain behind them
    first, so that there are few more steps than the longest chain has items, and hardly any is
    padded. Sources that an item lacks are read from a row of zeros behind the others.
    """
    n = len(sources)
    users = [[] for _ in range(n)]
    for item in range(n_given, n):
        for source in set(sources[item]):
            users[source].append(item)
    chain = np.ones(n, int)  # longest chain that begins with the item
    for item in reversed(range(n)):
        chain[item] += max((chain[user] for user in users[item]), default=0)
    width = max(1, -(-(n - n_given) // max(chain[n_given:].max(initial=1) - 1, 1)))

    missing = [sum(source >= n_given for source in set(needs)) for needs in sources]
    ready = [(-chain[i], i) for i in range(n_given, n) if not missing[i]]
    heapq.heapify(ready)
    steps = []
    while ready:
        steps.append(sorted(heapq.heappop(ready)[1] for _ in range(min(width, len(ready)))))
        for user in (user for item in steps[-1] for user in users[item]):
            missing[user] -= 1
            if not missing[user]:
                heapq.heappush(ready, (-chain[user], user))

    places = np.argsort([*range(n_given), *(item for step in steps for item in step)])
    items = np.array([np.pad(step, (0, width - len(step)), mode="edge") for step in steps], int)
    most = max(map(len, sources), default=0)
    table = np.full((n, most), n + width)
    for row, needs in zip(table[n_given:], sources[n_given:], strict=True):
        row[: len(needs)] = places[list(needs)]
    items = items.reshape(-1, width)
    starts = n_given + np.cumsum([0, *map(len, steps)])[:-1]
    tables = (starts, items - n_given, table[items].swapaxes(1, 2), places)
    return Sweep(*(np.asarray(values, np.int32) for values in tables))


def run_sweep(sweep: Sweep, given: Any, inputs: Any, rule: Callable[[list, Any], Any]) -> Any:
    """The results of all items, in order.

    Args:
        sweep: from ``make_sweep``.
        given: results of the items given, a pytree of arrays ``(n_given, ...)``.
        inputs: a pytree of arrays, one row for each other item.
        rule: (results of the sources, one pytree for each; inputs) -> results, for a step's items.
    """
    # a step writes its full width; what spills into later steps is overwritten by them
    room = len(sweep.places) + sweep.items.shape[1] + 1

    def widen(start):
        spare = jnp.zeros((room - len(start), *start.shape[1:]), start.dtype)
        return jnp.concatenate([start, spare])

    def step(buffer, now):
        start, sources, values = now
        found = [jax.tree.map(lambda rows, at=at: rows[at], buffer) for at in sources]
        write = lambda rows, new: jax.lax.dynamic_update_slice_in_dim(rows, new, start, 0)
        return jax.tree.map(write, buffer, rule(found, values)), None

    steps = (sweep.starts, sweep.sources, jax.tree.map(lambda rows: rows[sweep.items], inputs))
    buffer, _ = jax.lax.scan(step, jax.tree.map(widen, given), jax.tree.map(jnp.asarray, steps))
    return jax.tree.map(lambda rows: rows[sweep.places], buffer)


def chain_sums(zmatrix: ZMatrix) -> Callable[[Array], Array]:
    """sums(own): for each atom the sum of ``own (N, ...)`` over its row of the Z-matrix and the rows
    of all it hangs on; own in the order of rows, sums in the order of atoms.

    The transpose takes atoms to rows: sums over everything that hangs on a row's atom. That is
    stated as the solution of "sum of an atom - sum of its bond parent = own of its row", for which
    JAX differentiates and batches a solver and its transpose alike.
    """
    n = zmatrix.n_atoms
    row_of = np.argsort(zmatrix.order)
    parents = [[], *([row] for row in row_of[zmatrix.bond[1:]])]
    children = [[] for _ in range(n)]  # rows from the last, so that children come before
    for row in range(1, n):
        children[n - 1 - parents[row][0]].append(n - 1 - row)
    outwards, inwards = make_sweep(parents), make_sweep(children)
    outwards = outwards._replace(places=outwards.places[row_of])
    inwards = inwards._replace(
        items=zmatrix.order[n - 1 - inwards.items], places=inwards.places[::-1]
    )

    def run(sweep, own):
        return run_sweep(sweep, own[:0], own, lambda found, own: sum(found, own))

    def rows(sums):
        return sums[zmatrix.order].at[1:].add(-sums[zmatrix.bond[1:]])

    def sums(own):
        return jax.lax.custom_linear_solve(
            rows,
            own,
            solve=lambda _, own: run(outwards, own),
            transpose_solve=lambda _, sums: run(inwards, sums),
        )

    return sums
