"""Jumps of torsions in reduced coordinates: one side-chain torsion at a time turns, all else stays."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from jbg.coords.reduced_fit import ReducedFit
from jbg.coords.reduced_set import KINDS
from jbg.coords.torsions import wrap
from jbg.coords.whitening import whitening
from jbg.interfaces import Key, Target
from jbg.simulation.hmc_ladder import Jump

JUMPING = {
    "side-chain torsion": 3,
    "hydrogen rotor": 1,
}  # how often each is chosen; rotors turn by themselves
ROTAMERS = 2 * np.pi / 3  # apart
SPREAD = np.deg2rad(20.0)  # within one


def torsion_jumps(fit: ReducedFit) -> Jump | None:
    """(key, v ``(d, *batch)``) -> v with one torsion of a side chain, drawn for each, at another angle.

    Half of the jumps go to an angle drawn evenly, the others by 120 degrees either way and a little, which lands
    in another rotamer three times as often. None where there is no such torsion.

    Rotamers lie behind barriers of several kT, which trajectories cross rarely and such jumps skip. v differs from
    the kept values by a map of constant determinant, so that a jump is as likely as its return.
    """
    often = [JUMPING.get(KINDS[k], 0) for k in fit.kind]
    rows = np.repeat(np.arange(len(often)), often).astype(np.int32)
    if not len(rows):
        return None
    white = whitening(fit.whitening)

    def jump(key: Key, v: Array) -> Array:
        keys = jax.random.split(key, 5)
        values, _ = white.forward((), v)
        shape, dtype = v.shape[1:], v.dtype
        which = jax.random.randint(keys[0], shape, 0, len(rows))
        anywhere = jax.random.uniform(keys[1], shape, dtype, -np.pi, np.pi)
        turn = ROTAMERS * jax.random.rademacher(keys[2], shape, dtype)
        turn = turn + SPREAD * jax.random.normal(keys[3], shape, dtype)
        near = wrap(values + turn[None])
        angle = jnp.where(jax.random.bernoulli(keys[4], shape=shape)[None], anywhere[None], near)
        every = jnp.arange(len(v), dtype=jnp.int32).reshape(-1, *(1,) * (v.ndim - 1))
        chosen = every == jnp.asarray(rows)[which][None]
        return white.inverse((), jnp.where(chosen, angle, values))[0]

    return jump


def scattered(
    key: Key, target: Target, jump: Jump, v: ArrayLike, *, tau: float, n_jumps: int
) -> np.ndarray:
    """Configurations ``(n, dim)`` after jumps alone, accepted at a temperature: starts with other rotamers.

    Args:
        key: PRNG key.
        target: density.
        jump: the proposal.
        v: where they are ``(n, dim)``, of finite energy.
        tau: relative temperature of the acceptance.
        n_jumps: tried by each.
    """

    @jax.jit
    def run(v: Array) -> Array:
        def one(i, state):
            v, u = state
            key_jump, key_accept = jax.random.split(jax.random.fold_in(key, i))
            new = jump(key_jump, v)
            u_new = target.reduced_energy(new)
            accept = (u_new - u) / tau < jax.random.exponential(key_accept, u.shape, u.dtype)
            return jnp.where(accept[None], new, v), jnp.where(accept, u_new, u)

        return jax.lax.fori_loop(0, n_jumps, one, (v, target.reduced_energy(v)))[0]

    return np.asarray(run(jnp.asarray(v, jnp.float32).T)).T
