"""The correctors of a run, each as blocks of rounds that a folder can hold: where chains start, and one block.

All leave the same arrays of a block: x ``(n_kept, dim, chains)``, u and ln q ``(n_kept, chains)`` of the target's
chains, fresh samples that arrived, accepted shares of trajectories and of torsion moves, and swapped and
tried pairs of rungs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jbg import reweighting
from jbg.interfaces import Key, RunError
from jbg.sampling.flow_moves import FlowMoves, MovedChains, make_flow_moves, start_chains
from jbg.sampling.ladder_rounds import Ladders, ladders_of, make_round
from jbg.sampling.ladder_rungs import find_rungs, starts_of
from jbg.sampling.latent_ladder import LadderPrograms, LatentLadder, Walkers, make_programs
from jbg.sampling.torsion_moves import TorsionMoves
from jbg.studies.correction_plan import CorrectionPlan
from jbg.studies.problem import Problem
from jbg.training.mesh import fetch

MIN_ACCEPTED = 0.02  # of fresh samples in place of frames, from which on flow moves are worth it
Arrays = dict[str, np.ndarray]


class Basis(NamedTuple):
    """What chains are made of: parameters of ``problem.generator``, a key and a seed, generated samples ``(n,
    dim)`` with their log-weights ``(n,)``, and frames ``(m, dim)`` that q is not zero at, if any: of the
    simulation, or relaxed conformations."""

    problem: Problem
    params: Any
    key: Key
    seed: int
    samples: np.ndarray
    log_w: np.ndarray
    frames: np.ndarray | None


class Blocks(NamedTuple):
    """``start()`` makes the state of the chains, ``advance(state, i)`` the state after block i and its arrays; the
    first ``n_burn_in`` of ``n_blocks`` are thrown away, and each has ``rounds`` rounds."""

    start: Callable[[], Arrays]
    advance: Callable[[Arrays, int], tuple[Arrays, Arrays]]
    n_blocks: int
    n_burn_in: int
    rounds: int


def flow_moves(basis: Basis, settings: FlowMoves) -> Blocks:
    """Chains of the target with flow moves."""
    problem, params, key = basis.problem, basis.params, basis.key
    speed = 1.0 if problem.thermal_speed is None else problem.thermal_speed
    program = make_flow_moves(
        problem.generator,
        problem.target,
        settings,
        speed=speed,
        torsions=torsion_moves(problem),
    )

    def start() -> Arrays:
        x, from_frames = _starts(basis, settings.n_chains)
        chains = start_chains(problem.generator, params, problem.target, x.T, settings)
        return {"from_frames": from_frames, **fetch(chains._asdict())}

    def advance(state: Arrays, block: int) -> tuple[Arrays, Arrays]:
        chains = MovedChains(*(state[name] for name in MovedChains._fields))
        chains, frames = fetch(program(params, chains, key, jnp.int32(block)))
        none = np.zeros(0)
        return state | chains._asdict(), {**frames._asdict(), "swapped": none, "tried": none}

    return Blocks(
        start, advance, settings.n_blocks, settings.n_burn_in // settings.block, settings.block
    )


def torsion_moves(problem: Problem) -> TorsionMoves | None:
    """New values of torsions as the training data have them, each frame as often as training takes it."""
    examples, groups = problem.examples, problem.torsion_groups
    if groups is None or not len(groups[0]):
        return None
    copies = np.ones(len(examples.train), int) if examples.copies is None else examples.copies
    columns = int(groups[0].max()) + 1
    known = np.repeat(examples.train[:, :columns], copies, axis=0)
    return TorsionMoves(problem.coords, *groups, known)


def latent_ladder(basis: Basis, settings: LatentLadder) -> Blocks:
    """Ladders between the flow and the target."""
    problem, params = basis.problem, basis.params
    programs = make_programs(problem.generator, problem.target, settings)
    round_ = make_round(programs, settings)
    key_rungs, key = jax.random.split(basis.key)

    def start() -> Arrays:
        rungs = find_rungs(key_rungs, params, programs, settings)
        walkers, n = starts_of(rungs, settings), settings.n_walkers // len(rungs.b)
        shape = (len(rungs.b), n)
        walkers, from_frames = _half_from_frames(basis, programs, walkers, shape)
        return _state(ladders_of(walkers, rungs.b.astype(np.float32), rungs.log_step)) | {
            "from_frames": from_frames
        }

    def advance(state: Arrays, block: int) -> tuple[Arrays, Arrays]:
        ladders, kept, counts = _ladders(state), [], []
        for i in range(block * settings.block, (block + 1) * settings.block):
            ladders, found = round_(params, ladders, key, i)
            counts.append(found)
            if (i + 1) % settings.stride == 0:
                top = ladders.walkers
                kept.append((top.x[:, -1], top.u[-1], -top.u[-1] - top.log_w[-1]))
        x, u, log_q = (np.stack(part) for part in zip(*fetch(kept), strict=True))
        sums = jax.tree.map(lambda *a: np.sum(a, axis=0), *fetch(counts))
        found = {"x": x, "u": u, "log_q": log_q, "arrivals": sums.arrivals}
        found |= {"acceptance": sums.acceptance / settings.block}
        found |= {
            "swapped": sums.swapped,
            "tried": sums.tried,
            "turned": np.zeros_like(sums.arrivals),
        }
        return _state(ladders) | {"from_frames": state["from_frames"]}, found

    return Blocks(
        start, advance, settings.n_blocks, settings.n_burn_in // settings.block, settings.block
    )


def _state(ladders: Ladders) -> Arrays:
    rest = {name: getattr(ladders, name) for name in Ladders._fields if name != "walkers"}
    return fetch({**ladders.walkers._asdict(), **rest})


def _ladders(state: Arrays) -> Ladders:
    walkers = Walkers(*(state[name] for name in Walkers._fields))
    return Ladders(walkers, *(state[name] for name in Ladders._fields if name != "walkers"))


def _starts(basis: Basis, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Where n chains start ``(n, dim)``, and which of them do from frames ``(n,)`` bool.

    Half of them, where there are any: two groups that disagree until both have forgotten their starts. The others
    are generated samples, resampled by weight.
    """
    rng, frames = np.random.default_rng(basis.seed), basis.frames
    n_frames = 0 if frames is None else min(n // 2, len(frames))
    p = reweighting.relative_weights(basis.log_w)
    rows = np.sort(rng.choice(len(p), 2 * (n - n_frames), p=p / p.sum()))
    drawn = np.asarray(basis.samples[rows], np.float32)
    # a sample at an edge of the coordinates' cells may not be found back
    drawn = drawn[np.isfinite(basis.problem.log_probs(basis.params, drawn, (1.0,))[0])]
    n_frames = n_frames if len(drawn) or frames is None else n
    n_drawn = n - n_frames
    if n_drawn and not len(drawn):
        raise RunError(
            "chains: no sample of the flow with a weight is found back by it: train longer"
        )
    x = [
        np.resize(
            drawn[:: max(1, len(drawn) // max(1, n_drawn))], (n_drawn, basis.samples.shape[1])
        )
    ]
    if frames is not None:
        x.append(
            np.resize(frames[rng.permutation(len(frames))[:n_frames]], (n_frames, frames.shape[1]))
        )
    return np.concatenate(x), np.arange(n) >= n_drawn


def _half_from_frames(
    basis: Basis, programs: LadderPrograms, walkers: Walkers, shape: tuple[int, int]
) -> tuple[Walkers, np.ndarray]:
    """Half of the ladders at frames on all rungs, where there are any, and which ones ``(n,)`` bool.

    The others come from one annealing, whose bias they share: that the halves agree shows that it is forgotten.
    """
    frames, (k, n) = basis.frames, shape
    if frames is None:
        return walkers, np.zeros(n, bool)
    rng = np.random.default_rng(basis.seed)
    x = np.resize(frames[rng.permutation(len(frames))[: k * n]], (k * n, frames.shape[1]))
    z, _ = jax.jit(basis.problem.generator.bijector.inverse)(basis.params, jnp.asarray(x.T))
    there = fetch(programs.locate(basis.params, z))
    there = Walkers(*(np.asarray(a).reshape(*a.shape[:-1], k, n) for a in there))
    from_frames = (np.arange(n) >= n - n // 2) & np.isfinite(there.log_w).all(0)
    new = Walkers(
        *(np.where(from_frames, a, np.asarray(b)) for a, b in zip(there, walkers, strict=True))
    )
    return new, from_frames


CORRECTORS: dict[str, Callable[[Basis, CorrectionPlan], Blocks]] = {
    "moves": lambda basis, plan: flow_moves(basis, plan.moves),
    "ladder": lambda basis, plan: latent_ladder(basis, plan.ladder),
}
