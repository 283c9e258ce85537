"""Annealed importance sampling from a flow to its target, in the flow's coordinates v, block by block.

Particles start as samples v_0 of the flow q and pass the levels 0 = b_0 < b_1 < ... < b_K = 1, b_k = (k/K)^power,
of

    pi_k(v) ~ q(v) w(v)^b_k,    ln w(v) = -s(u(x(v))) + ln|det dx/dv| - ln q(v),

with the energy u softened by s on the way, so that clashes do not stop them. At level k the weight grows first,
then jumps of torsions and one trajectory of hybrid Monte Carlo, which leave pi_k invariant, move v_{k-1} to v_k
(`annealing_moves`). The true energy enters at the end:

    ln W = sum_k (b_k - b_{k-1}) ln w(v_{k-1}) + [ln w_true(v_K) - ln w(v_K)]

(Neal, Statistics and Computing 11, 125, 2001, Eq. 11). The bracket is s(u) - u: with it <W> = Z, the integral of
exp(-u), and <W f(x)> / <W> is the mean of f, for any softening, any number of levels and any time steps that
were fixed before the particles started. ln of a mean of n weights lies below ln Z in expectation.

The same path run backwards starts from v_K of the target: for k = K ... 1 the particle moves at level k, in the
reverse order, then (b_k - b_{k-1}) ln w(v_{k-1}) is added at the place it reached; the bracket is that of its
start. Each move is reversible, so <1/W> = 1/Z over backward paths, -ln <1/W> lies above ln Z in expectation, and
the acceptance ratio joins both (Crooks, Phys. Rev. E 61, 2361, 2000). Particles that end in clashes which no frame
shows, a share c of them, raise the backward value by -ln(1 - c), which `analysis.two_sided` takes off.

A particle keeps ln q, ln w, their gradients and the energy where it stands, none of which depends on b: a
trajectory of L steps costs L energies with forces, and jumps one each without forces and one more with forces
after them. One program serves the first evaluation, the pilot run and all levels in both directions. Where the
flow has no finite density, or the coordinates no finite log-determinant, w = 0: a particle that starts there has
weight zero and stays, and no other is moved in.

Block i draws from fold_in(key, i) only, and each block is one file written whole: a run that was killed ends with
the same bits.

    annealer = make_annealer(flow, target, settings, coords=coords, reference=median_u)  # annealing_program
    steps = find_steps(key_pilot, params, annealer)  # annealing_pilot
    found = anneal(key, params, annealer, steps)
    numbers = annealed_weights(found.log_w, found.block, evaluations=settings.evaluations)  # analysis
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jbg.interfaces import ConfigError, Key, Params
from jbg.runs import storage
from jbg.sampling.annealing_files import Arrays, kept, origin_of
from jbg.sampling.annealing_pilot import AnnealingSteps
from jbg.sampling.annealing_program import Annealer, evaluated, level_of, started
from jbg.training.mesh import fetch, replicate


class Annealed(NamedTuple):
    """Particles that were annealed to the target; host arrays, batch first, float64 where they are logs.

    Attributes:
        x: ``(n, dim)``.
        u: true reduced energies ``(n,)``.
        log_w: ln W, whose mean weight is Z ``(n,)``; -inf for weight zero.
        log_w_plain: -u - ln q of the sample that each started from ``(n,)``.
        block: number of the block ``(n,)``; blocks are independent.
        acceptance: of the trajectories of each level ``(K,)``.
    """

    x: np.ndarray
    u: np.ndarray
    log_w: np.ndarray
    log_w_plain: np.ndarray
    block: np.ndarray
    acceptance: np.ndarray


class AnnealedBack(NamedTuple):
    """Frames of the target that were annealed to the flow; host arrays of ``(n_chains, n_frames)`` in float64.

    Attributes:
        log_w: ln W of the path in its forward sense; the mean of 1/W is 1/Z. +inf where the coordinates do not
            have the frame.
        log_w_plain: -u - ln q of the frames.
        u: true reduced energies of the frames as the coordinates make them again: differences from those of the
            frames show where its inverse is not accurate.
        acceptance: of the trajectories of each level ``(K,)``.
    """

    log_w: np.ndarray
    log_w_plain: np.ndarray
    u: np.ndarray
    acceptance: np.ndarray


def anneal(
    key: Key,
    params: Params,
    annealer: Annealer,
    steps: AnnealingSteps,
    *,
    folder: Path | None = None,
    on_block: Callable[[int], None] = lambda done: None,
) -> Annealed:
    """Particles from the flow to the target, with their weights.

    Args:
        key: PRNG key of all blocks.
        params: of the flow.
        annealer: from `make_annealer`.
        steps: from `find_steps`.
        folder: where blocks are kept, and found again by the next call; None for nowhere.
        on_block: told the number of particles done after each block.

    Raises:
        ConfigError: blocks in ``folder`` are damaged, or of other parameters, settings or steps.
        RunError: disk full.
    """
    settings = annealer.settings
    origin, blocks = origin_of(key, params, annealer, [steps.step, steps.metric]), []
    for i in range(settings.n_blocks):
        make = lambda i=i: _forward(jax.random.fold_in(key, i), params, annealer, steps)
        blocks.append(kept(folder, f"forward-{i:05d}", origin, make))
        on_block((i + 1) * settings.batch)
    joined = {name: np.concatenate([b[name] for b in blocks]) for name in ("x", "u")}
    logs = {n: _joined_logs(blocks, n) for n in ("log_w", "log_w_plain")}
    block = np.repeat(np.arange(settings.n_blocks), settings.batch)
    acceptance = np.mean([b["acceptance"] for b in blocks], axis=0)
    return Annealed(**joined, **logs, block=block, acceptance=acceptance)


def annealed_positions(folder: Path, n_blocks: int) -> np.ndarray:
    """Where the particles that `anneal` kept in ``folder`` ended, ``(n, dim)``, block by block.

    Raises:
        ConfigError: a file is missing or damaged.
    """
    again = f"delete {folder} to anneal anew"
    paths = [folder / f"forward-{i:05d}.npz" for i in range(n_blocks)]
    return np.concatenate([storage.read_arrays(path, again)["x"] for path in paths])


def anneal_back(
    key: Key,
    params: Params,
    annealer: Annealer,
    steps: AnnealingSteps,
    frames: ArrayLike,
    *,
    folder: Path | None = None,
    on_block: Callable[[int], None] = lambda done: None,
) -> AnnealedBack:
    """Frames of the target's exact density through the same levels in reverse order.

    Args:
        key: PRNG key of all blocks, another than that of `anneal`.
        params: of the flow.
        annealer: from `make_annealer`.
        steps: from `find_steps`, the same as those of the particles that the result is compared with.
        frames: of independent chains of exp(-u), ``(n_chains, n_frames, dim)``. The last block is filled up by
            the first frames again, which are then left out.
        folder: where blocks are kept, and found again by the next call; None for nowhere.
        on_block: told the number of frames done after each block.

    Raises:
        ConfigError: frames of another shape or not finite; blocks in ``folder`` are damaged, or of other
            parameters, settings, steps or frames.
        RunError: disk full.
    """
    frames = np.asarray(frames, np.float32)
    if frames.ndim != 3 or frames.shape[2] != annealer.dim or not frames.size:
        raise ConfigError(
            f"annealing: frames must be (n_chains, n_frames, {annealer.dim}), got {frames.shape}"
        )
    if not np.isfinite(frames).all():
        raise ConfigError("annealing: frames must be finite: leave out those that are not")
    rows, batch = frames.reshape(-1, annealer.dim), annealer.settings.batch
    origin, blocks = origin_of(key, params, annealer, [steps.step, steps.metric, frames]), []
    for i, start in enumerate(range(0, len(rows), batch)):
        block = np.take(rows, np.arange(start, start + batch), axis=0, mode="wrap")
        make = lambda i=i, block=block: _backward(
            jax.random.fold_in(key, i), params, annealer, steps, block
        )
        blocks.append(kept(folder, f"backward-{i:05d}", origin, make))
        on_block(min(start + batch, len(rows)))
    of = lambda name: _joined_logs(blocks, name)[: len(rows)].reshape(frames.shape[:2])
    accepted = np.mean([b["acceptance"] for b in blocks], axis=0)
    return AnnealedBack(of("log_w"), of("log_w_plain"), of("u"), accepted)


def _joined_logs(blocks: list[Arrays], name: str) -> np.ndarray:
    return np.concatenate([b[name] for b in blocks]).astype(np.float64)


def _forward(key: Key, params: Params, annealer: Annealer, steps: AnnealingSteps) -> Arrays:
    """One block from the flow to the target."""
    b = annealer.settings.b
    params, key, particles = started(params, key, annealer)
    plain, accepted = particles.log_w + particles.correction, []
    for k in range(1, len(b)):
        level = level_of(annealer, *steps.of(k), b[k], before=b[k] - b[k - 1])
        particles, acceptance = annealer.level(params, particles, level, key, jnp.int32(k))
        accepted.append(acceptance)
    log_w = particles.total + particles.correction
    found = {"x": particles.x.T, "u": particles.u, "log_w": log_w, "log_w_plain": plain}
    return fetch({**found, "acceptance": jnp.stack(accepted)})


def _backward(
    key: Key, params: Params, annealer: Annealer, steps: AnnealingSteps, rows: np.ndarray
) -> Arrays:
    """One block of frames ``(batch, dim)`` from the target to the flow."""
    b = annealer.settings.b
    params, key, x = replicate((params, key, jnp.asarray(rows.T)), annealer.mesh)
    particles, inside = annealer.encode(x)
    particles = evaluated(params, key, annealer, particles)
    u, correction = particles.u, particles.correction
    plain, accepted = particles.log_w + correction, []
    for k in range(len(b) - 1, 0, -1):
        # what comes last on the way forth comes first on the way back
        at = annealer, *steps.of(k), b[k]
        level = level_of(*at, n_jumps=0)
        particles, acceptance = annealer.level(params, particles, level, key, jnp.int32(k))
        accepted.append(acceptance)
        level = level_of(*at, after=b[k] - b[k - 1], n_leapfrog=0)
        particles, _ = annealer.level(params, particles, level, key, jnp.int32(len(b) + k))
    possible = inside & jnp.isfinite(plain)
    log_w = jnp.where(possible, particles.total + correction, jnp.inf)
    plain = jnp.where(possible, plain, jnp.inf)
    found = {"log_w": log_w, "log_w_plain": plain, "u": u}
    return fetch({**found, "acceptance": jnp.stack(accepted[::-1])})
