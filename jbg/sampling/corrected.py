"""Chains of the target that a generator moves, whole and in memory, as notebooks ask for them.

`flow_moves` where samples of the generator are accepted at the target, `latent_ladder` where hardly any are; a run
folder has both as a stage (`jbg correct`). What must hold before their averages mean anything is in
`jbg.analysis.chain_checks`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jbg.generator import Generator
from jbg.interfaces import Key, Params, Target, check_target
from jbg.sampling.flow_moves import FlowMoves, make_flow_moves, start_chains
from jbg.sampling.ladder_rounds import ladders_of, make_round
from jbg.sampling.ladder_rungs import find_rungs, starts_of
from jbg.sampling.latent_ladder import LatentLadder, make_programs
from jbg.sampling.torsion_moves import TorsionMoves
from jbg.simulation.checks import check_start
from jbg.training.mesh import fetch


class CorrectedChains(NamedTuple):
    """Host arrays of n chains, burn-in left out.

    Attributes:
        frames: ``(n, n_frames, dim)``, of the target's density: no weights.
        u: reduced energies ``(n, n_frames)``.
        log_q: ln of the generator's density ``(n, n_frames)``.
        arrivals: fresh samples of the generator that reached each chain ``(n,)``.
        turned: accepted share of torsion moves, 0 where there are none.
        acceptance: mean acceptance of trajectories, of each rung ``(K,)``; K = 1 for `flow_moves`.
        swaps: accepted share of each pair of neighbouring rungs ``(K - 1,)``.
        rungs: b of the rungs ``(K,)``, the last of which is 1.
    """

    frames: np.ndarray
    u: np.ndarray
    log_q: np.ndarray
    arrivals: np.ndarray
    turned: float
    acceptance: np.ndarray
    swaps: np.ndarray
    rungs: np.ndarray


def flow_moves(
    key: Key,
    generator: Generator,
    params: Params,
    target: Target,
    start: ArrayLike,
    *,
    settings: FlowMoves,
    speed: Any = 1.0,
    torsions: TorsionMoves | None = None,
) -> CorrectedChains:
    """Chains of exp(-u) by hybrid Monte Carlo and fresh samples of a generator; see `sampling.flow_moves`.

    Args:
        key: PRNG key.
        generator, params: of x.
        target: density of x, with a gradient.
        start: where the chains start, ``(n_chains, dim)``.
        settings: of the chains; its ``n_chains`` is that of ``start``.
        speed: thermal speed of each coordinate ``(dim,)``, or a number; the time step is in its unit of time.
        torsions: moves of torsions, beside; None for none.

    Raises:
        ConfigError: starts of another shape, or of no finite energy or density.
    """
    check_target(target, "flow_moves")
    x = jnp.asarray(start, jnp.float32)
    check_start("flow_moves", x, target.dim)
    advance = make_flow_moves(generator, target, settings, speed=speed, torsions=torsions)
    chains, kept = start_chains(generator, params, target, x.T, settings), []
    for block in range(settings.n_blocks):
        chains, frames = advance(params, chains, key, jnp.int32(block))
        if block >= settings.n_burn_in // settings.block:
            kept.append(fetch(frames))
    return CorrectedChains(
        frames=np.concatenate([f.x for f in kept]).transpose(2, 0, 1),
        u=np.concatenate([f.u for f in kept]).T,
        log_q=np.concatenate([f.log_q for f in kept]).T,
        arrivals=np.sum([f.arrivals for f in kept], axis=0),
        turned=float(np.mean([f.turned for f in kept])),
        acceptance=np.mean([f.acceptance for f in kept], keepdims=True).ravel(),
        swaps=np.zeros(0),
        rungs=np.ones(1),
    )


def latent_ladder(
    key: Key, generator: Generator, params: Params, target: Target, *, settings: LatentLadder
) -> CorrectedChains:
    """Ladders between a generator and exp(-u), whose rungs are found first; see `sampling.latent_ladder`.

    Args:
        key: PRNG key.
        generator, params: of x.
        target: density of x, with a gradient.
        settings: of the ladders.

    Returns:
        The chains of the last rung, one for each ladder.

    Raises:
        RunError: no sample of the generator has a weight, or it is too far from the target for ``max_rungs``.
    """
    check_target(target, "latent_ladder")
    programs = make_programs(generator, target, settings)
    key_rungs, key = jax.random.split(key)
    rungs = find_rungs(key_rungs, params, programs, settings)
    ladders = ladders_of(starts_of(rungs, settings), rungs.b.astype(np.float32), rungs.log_step)
    advance, kept, counted = make_round(programs, settings), [], []
    for i in range(settings.n_burn_in + settings.n_rounds):
        ladders, counts = advance(params, ladders, key, i)
        if i < settings.n_burn_in:
            continue
        counted.append(counts)
        if (i + 1) % settings.stride == 0:
            top = ladders.walkers
            kept.append((top.x[:, -1].T, top.u[-1], -top.u[-1] - top.log_w[-1]))
    x, u, log_q = (np.stack(part, axis=1) for part in zip(*fetch(kept), strict=True))
    sums = jax.tree.map(lambda *a: np.sum(a, axis=0), *fetch(counted))
    return CorrectedChains(
        frames=x,
        u=u,
        log_q=log_q,
        arrivals=sums.arrivals,
        turned=0.0,
        acceptance=sums.acceptance / settings.n_rounds,
        swaps=sums.swapped / np.maximum(sums.tried, 1),
        rungs=rungs.b,
    )
