"""Jumps of torsions in reduced coordinates: one or two torsions of a side chain turn, all else stays."""

import itertools

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

# how often each is chosen; hydroxyls turn by themselves, too
JUMPING = {"side-chain torsion": 3, "hydrogen rotor": 1}
PAIRS = (
    3  # how often two of one residue are: a side chain in a core turns only together with its end
)
ROTAMERS = 2 * np.pi / 3  # apart
SPREAD = np.deg2rad(20.0)  # within one


def torsion_jumps(fit: ReducedFit) -> Jump | None:
    """(key, v ``(d, *batch)``) -> v with one or two torsions of a side chain, drawn for each, at other angles.

    Half of the torsions go to an angle drawn evenly, the others by 120 degrees either way and a little, which
    lands in another rotamer three times as often. None where there is no such torsion.

    Rotamers lie behind barriers of several kT, which trajectories cross rarely and such jumps skip. v differs from
    the kept values by a map of constant determinant, so that a jump is as likely as its return.
    """
    moves = _moves(fit)
    if not len(moves):
        return None
    white = whitening(fit.whitening)

    def jump(key: Key, v: Array) -> Array:
        keys = jax.random.split(key, 5)
        values, _ = white.forward((), v)
        batch, dtype = v.shape[1:], v.dtype
        which = jax.random.randint(keys[0], batch, 0, len(moves))
        anywhere = jax.random.uniform(keys[1], v.shape, dtype, -np.pi, np.pi)
        turn = ROTAMERS * jax.random.rademacher(keys[2], v.shape, dtype)
        near = wrap(values + turn + SPREAD * jax.random.normal(keys[3], v.shape, dtype))
        angle = jnp.where(jax.random.bernoulli(keys[4], shape=v.shape), anywhere, near)
        chosen = jnp.moveaxis(jnp.asarray(moves)[which], -1, 0)
        return white.inverse((), jnp.where(chosen, angle, values))[0]

    return jump


def _moves(fit: ReducedFit) -> np.ndarray:
    """Which coordinates turn in each kind of jump ``(n, d)`` bool; kinds come as often as they are chosen."""
    kinds = [KINDS[k] for k in fit.kind]
    turning = [row for row, kind in enumerate(kinds) if kind in JUMPING and not _alike(fit, row)]
    sets = [{row} for row in turning for _ in range(JUMPING[kinds[row]])]
    for a, b in itertools.combinations(turning, 2):
        if fit.residue[a] == fit.residue[b]:
            sets += [{a, b}] * PAIRS
    return np.array([[row in each for row in range(len(kinds))] for each in sets], bool)


def _alike(fit: ReducedFit, row: int) -> bool:
    """Whether the rotamers of a hydrogen rotor are one and the same (CH3, NH3+): there is nowhere to jump to."""
    atom = int(fit.order[fit.kept[row] - 2 * fit.zmatrix.n_atoms + 6])
    grouped = any(atom in group for group in fit.rotor_groups)
    return KINDS[fit.kind[row]] == "hydrogen rotor" and grouped


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
