"""Where the ladders on the slice start: at frames of chains with the same role, half of them with other rotamers.

A ladder that is set aside starts from a chain that is set aside, so that no start is shared with those that
training learns from. All chains of the dynamics begin in one structure; that ladders with scattered side chains
agree with the others shows what that structure does not.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jbg.coords import ReducedCoordinates
from jbg.interfaces import RunError, State, Target
from jbg.runs import Run
from jbg.simulation.hmc_ladder import Jump
from jbg.simulation.torsion_jumps import scattered
from jbg.studies.dataset import ASIDE, LEARN, WATCH
from jbg.studies.problem import to_v
from jbg.studies.protein.data_plan import DynamicsPlan, SlicePlan
from jbg.studies.protein.files import DYNAMICS

TRIED = 64  # frames of each chain, in whose order of energy starts are taken
BATCH = 256  # energies at once
HOT = 4.0  # relative temperature at which side chains are scattered
N_JUMPS = 200


class Starts(NamedTuple):
    """v ``(ladders, d)``, and how many different frames of the dynamics they are."""

    v: np.ndarray
    distinct: int


def roles_of(n: int, plan: DynamicsPlan) -> np.ndarray:
    """The role of each of n chains ``(n,)``: the first learn, the next watch, the last are set aside."""
    watching, aside = plan.roles(n)
    return np.repeat([LEARN, WATCH, ASIDE], [n - watching - aside, watching, aside])


def starts(
    run: Run,
    plan: SlicePlan,
    reduced: Target,
    coords: ReducedCoordinates,
    native: State | None,
    jump: Jump | None,
) -> Starts:
    """Rebuilt frames of low energy, of chains in turn, one for each ladder.

    Args:
        run: with the dynamics.
        plan: of the data.
        reduced: density of v.
        coords: v -> positions.
        native: where starts must lie; None for anywhere.
        jump: of torsions, which half of the ladders make at a high temperature first; None for none.

    Raises:
        RunError: the chains of a role have no frame there.
    """
    kept, n = run.load_arrays(DYNAMICS), plan.ladder.n_ladders
    x = kept["x"][:, :: max(1, kept["x"].shape[1] // TRIED)]
    flat = x.reshape(-1, x.shape[-1])
    v, _ = to_v(coords.bijector, flat)
    u = _energies(reduced, v)
    if native is not None:
        rebuilt = np.asarray(coords.bijector.forward((), jnp.asarray(v.T))[0])
        u = np.where(np.asarray(native.contains(rebuilt)), u, np.inf)
    order = np.argsort(u.reshape(x.shape[:2]), axis=1)
    ranked = np.arange(len(flat)).reshape(x.shape[:2])
    roles, chosen = roles_of(n, plan), np.zeros(n, int)
    for role in (LEARN, WATCH, ASIDE):
        chains = np.flatnonzero(kept["role"] == role)
        # the best frame of each chain, then the second best of each
        rows = np.take_along_axis(ranked[chains], order[chains], axis=1).T.ravel()
        rows = rows[np.isfinite(u[rows])]
        if not len(rows):
            raise RunError(
                "slice: no rebuilt frame of some chains of the dynamics lies near the structure given: choose a "
                "larger --within, or 0 for none"
            )
        ladders = np.flatnonzero(roles == role)
        chosen[ladders] = np.resize(rows, len(ladders))
    found = v[chosen]
    if jump is not None:
        key, half = run.key("scattered starts"), np.arange(n) % 2 == 1
        found[half] = scattered(key, reduced, jump, found[half], tau=HOT, n_jumps=N_JUMPS)
    return Starts(found, len(np.unique(chosen)))


def _energies(reduced: Target, v: np.ndarray) -> np.ndarray:
    compiled, n = jax.jit(reduced.reduced_energy), len(v)
    pieces = (np.resize(v[i : i + BATCH], (BATCH, v.shape[1])) for i in range(0, n, BATCH))
    u = np.concatenate([np.asarray(compiled(jnp.asarray(piece.T))) for piece in pieces])[:n]
    return np.where(np.isfinite(u), u, np.inf)
