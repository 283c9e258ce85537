"""What an exploration remembers of each state: the configurations of lowest energy in its buffer so far.

The buffer is looked at once an iteration, after its moves.

A state that the buffer visits while its moves are hot, and leaves when they cool, is not lost: chains confined
to it (`simulation.hmc_chains`) start from its archive.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Archive(NamedTuple):
    """For each of S states m configurations x ``(S, m, dim)`` by rising energy u ``(S, m)``, inf where empty."""

    x: Array
    u: Array


def empty_archive(n_states: int, size: int, dim: int, dtype=jnp.float32) -> Archive:
    """An archive without configurations.

    Args:
        n_states: number of states, S.
        size: configurations to keep of each state, m.
        dim: dimension of a configuration.
        dtype: of configurations and energies.
    """
    return Archive(
        jnp.zeros((n_states, size, dim), dtype), jnp.full((n_states, size), jnp.inf, dtype)
    )


def archived(archive: Archive, x: Array, u: Array, inside: Array) -> Archive:
    """The archive after a look at configurations.

    A chain that stayed where it was is kept once: configurations of one state with the same energy, to the last
    bit, count as one.

    Args:
        archive: the archive before.
        x: configurations ``(n, dim)``.
        u: their reduced energies ``(n,)``; those that are not finite are left out.
        inside: which of them lie in each state, ``(S, n)`` bool.
    """

    def of_state(old_x: Array, old_u: Array, inside: Array) -> tuple[Array, Array]:
        every_u = jnp.concatenate([old_u, jnp.where(inside, u, jnp.inf)])
        every_u = jnp.where(jnp.isfinite(every_u), every_u, jnp.inf)
        order = jnp.argsort(every_u)
        ranked = every_u[order]
        again = jnp.concatenate([jnp.zeros(1, bool), ranked[1:] == ranked[:-1]])
        keep = jnp.argsort(jnp.where(again, jnp.inf, ranked))[: len(old_u)]
        kept_u = jnp.where(again, jnp.inf, ranked)[keep]
        return jnp.concatenate([old_x, x])[order[keep]], kept_u

    return Archive(*jax.vmap(of_state)(*archive, inside))
