"""Jumps of torsions in reduced coordinates: one side-chain torsion at a time gets any angle, all else stays."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jbg.coords.reduced_fit import ReducedFit
from jbg.coords.reduced_set import KINDS
from jbg.coords.whitening import whitening
from jbg.interfaces import Key
from jbg.simulation.hmc_ladder import Jump

JUMPING = ("side-chain torsion", "hydrogen rotor")


def torsion_jumps(fit: ReducedFit) -> Jump | None:
    """(key, v ``(d, *batch)``) -> v with one torsion of a side chain, drawn for each, at an angle drawn evenly.

    None where there is no such torsion.

    Rotamers lie 120 degrees apart behind barriers of several kT, which trajectories cross rarely and such jumps
    skip. v differs from the kept values by a map of constant determinant, so that a jump is as likely as its
    return.
    """
    rows = np.flatnonzero([KINDS[k] in JUMPING for k in fit.kind]).astype(np.int32)
    if not len(rows):
        return None
    white = whitening(fit.whitening)

    def jump(key: Key, v: Array) -> Array:
        key_which, key_angle = jax.random.split(key)
        values, _ = white.forward((), v)
        which = jax.random.randint(key_which, v.shape[1:], 0, len(rows))
        angle = jax.random.uniform(key_angle, v.shape[1:], v.dtype, -np.pi, np.pi)
        every = jnp.arange(len(v), dtype=jnp.int32).reshape(-1, *(1,) * (v.ndim - 1))
        chosen = every == jnp.asarray(rows)[which][None]
        return white.inverse((), jnp.where(chosen, angle[None], values))[0]

    return jump
