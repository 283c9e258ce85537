"""Markov chains of exp(-u/tau) whose moves are made in the latent space of a generator.

With x = F(z) the density of z is pi(z) = exp(-u(F(z))/tau) |det dF/dz|; the base distribution has no part. Two
kinds of move leave pi unchanged, whatever the flow: Gaussian steps of z, accepted by the ratio of pi, and fresh
samples of the generator, accepted by the ratio of their importance weights (independence Metropolis). A good flow
makes chains fast, a poor one makes them slow, none makes them wrong.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from jbg.generator import Generator
from jbg.interfaces import ConfigError, Key, Params, Target
from jbg.simulation.checks import check_start, check_step, check_stride

Predicate = Callable[[Array], Array]


class LatentChains(NamedTuple):
    """Where chains stand: x ``(dim, n)``, z ``(dim_z, n)`` with x = F(z), ln|det dF/dz| and u, both ``(n,)``.

    z and the determinant belong to one set of network parameters; see `encode`.
    """

    x: Array
    z: Array
    log_det: Array
    u: Array


class LatentMoves(NamedTuple):
    """Which moves are made: numbers, or arrays inside compiled code.

    Attributes:
        step: standard deviation of a local move, in the unit of z.
        tau: relative temperature, of the target and of the base that global moves are drawn from.
        global_moves: share of the moves that are fresh samples of the generator, in [0, 1].
        reach: spread of the lengths of local moves, at least 1: 1 keeps them all at ``step``.
    """

    step: float | Array
    tau: float | Array = 1.0
    global_moves: float | Array = 0.0
    reach: float | Array = 1.0


class LatentRun(NamedTuple):
    """Frames ``(n_chains, n_kept, dim)``, and shares of the moves that were accepted (NaN for a kind not made)."""

    frames: Array
    accepted_local: float
    accepted_global: float
    chains: LatentChains


def encode(generator: Generator, params: Params, x: Array, u: Array) -> LatentChains:
    """Chains at stored configurations, as the network sees them now.

    A chain that goes on after training must start from x: its old z stands for another configuration.

    Args:
        generator, params: the flow.
        x: configurations ``(dim, n)``.
        u: their reduced energies ``(n,)``.
    """
    z, log_det = generator.bijector.inverse(params, x)
    return LatentChains(x, z, -log_det, u)


def latent_metropolis(
    key: Key,
    generator: Generator,
    params: Params,
    target: Target,
    start: ArrayLike | LatentChains,
    *,
    moves: LatentMoves,
    n_steps: int,
    stride: int,
) -> LatentRun:
    """Chains of exp(-u/tau) by moves in z; see `latent_move` for the two kinds and their acceptance.

    Rejected moves repeat their configuration, and the repeats are kept. Moves to energies, determinants or
    configurations that are not finite are rejected: `targets.restrict` keeps chains in a region. To go on, start
    from ``run.chains`` with another key; with other ``params``, start from ``run.chains.x.T``, which is encoded
    anew. One energy per chain and step.

    Args:
        key: PRNG key of this run.
        generator, params: the frozen flow; the same generator object compiles once.
        target: density of x.
        start: ``(n_chains, dim)`` configurations, or the chains of an earlier run with the same params.
        moves: their lengths, kinds and temperature, as numbers.
        n_steps: moves of each chain, a multiple of ``stride``.
        stride: moves between frames.

    Raises:
        ConfigError: settings that cannot be run, or a start of no finite density.
    """
    _check_moves(moves)
    check_stride("latent metropolis", n_steps, stride)
    chains = _started(params, start, generator, target)
    frames, chains, counts = _run(
        key,
        params,
        chains,
        moves,
        generator=generator,
        target=target,
        with_global=bool(moves.global_moves > 0),
        frames=(n_steps // stride, stride),
    )
    local, made_local, far, made_far = np.asarray(counts, np.float64)
    return LatentRun(
        frames=jnp.transpose(frames, (2, 0, 1)),
        accepted_local=local / made_local if made_local else math.nan,
        accepted_global=far / made_far if made_far else math.nan,
        chains=chains,
    )


def _started(
    params: Params, start: ArrayLike | LatentChains, generator: Generator, target: Target
) -> LatentChains:
    """Chains at ``start``, all of them of a finite density."""
    if isinstance(start, LatentChains):
        chains = start
    else:
        x = jnp.asarray(start)
        check_start("latent metropolis", x, target.dim)
        chains = _encode(params, x.T, generator=generator, target=target)
    good = np.isfinite(chains.u) & np.isfinite(chains.log_det) & np.isfinite(chains.z).all(0)
    if not good.all():
        raise ConfigError(
            f"latent metropolis: {np.sum(~good)} of {good.size} starting configurations are of no finite energy or"
            " latent image; start elsewhere"
        )
    return chains


def _check_moves(moves: LatentMoves) -> None:
    step, tau, global_moves, reach = map(float, moves)
    check_step("latent metropolis", step, tau)
    if not (0 <= global_moves <= 1 and math.isfinite(reach) and reach >= 1):
        raise ConfigError(
            "latent metropolis: global_moves must lie in [0, 1] and reach be at least 1,"
            f" got {global_moves} and {reach}"
        )


def latent_move(
    key: Key,
    generator: Generator,
    params: Params,
    target: Target,
    chains: LatentChains,
    moves: LatentMoves,
    *,
    allowed: Predicate | None = None,
    with_global: bool = True,
) -> tuple[LatentChains, Array, Array]:
    """One move of every chain; for use in compiled code. Returns (chains, accepted, was global), ``(n,)`` bool.

    A local move is z' = z + step r g, g normal and ln r uniform on [-ln reach, ln reach], each chain its own,
    taken with probability min(1, A), Noe et al. 2019 (methods, "Adaptive sampling and training") with the signs of

        ln A = -[u(x') - u(x)]/tau + ln R_zx(z') - ln R_zx(z),  R_zx = |det dF/dz|.

    A global one draws z' from the base at tau; then ln A also has ln p_Z(z) - ln p_Z(z'), which makes it
    ln w(x') - ln w(x) with w = exp(-u/tau)/q. Which kind and length is drawn does not depend on z, so that each
    kind, and their mixture, obeys detailed balance.

    Args:
        key: PRNG key of this move.
        generator, params: the flow.
        target: density of x.
        chains: where they stand.
        moves: their lengths, kinds and temperature.
        allowed: x ``(dim, *batch)`` -> bool; restricts the target to where it holds.
        with_global: False leaves global moves out of the program.
    """
    step, tau, global_moves, reach = moves
    k_step, k_length, k_base, k_kind, k_accept = jax.random.split(key, 5)
    n, dtype = chains.u.shape[0], chains.z.dtype
    spread = jax.random.uniform(k_length, (n,), dtype, -1.0, 1.0) * jnp.log(reach)
    length = jnp.broadcast_to(step * jnp.exp(spread), chains.z.shape)
    z = chains.z + length * jax.random.normal(k_step, chains.z.shape, dtype)
    is_global = jnp.zeros((n,), bool)
    if with_global:
        is_global = jax.random.uniform(k_kind, (n,)) < global_moves
        fresh = generator.base.sample(k_base, n, tau).astype(dtype)
        z = jnp.where(is_global[None], fresh, z)
    x, log_det = generator.bijector.forward(params, z)
    u = target.reduced_energy(x)
    log_ratio = -(u - chains.u) / tau + log_det - chains.log_det
    if with_global:
        prior = generator.base.log_prob(chains.z, tau) - generator.base.log_prob(z, tau)
        log_ratio = log_ratio + jnp.where(is_global, prior, 0.0)
    possible = jnp.isfinite(u) & jnp.isfinite(log_det) & jnp.isfinite(x).all(0)
    if allowed is not None:
        possible = possible & allowed(x)
    # -ln of a uniform number is exponential; NaN compares false and is rejected
    accept = possible & (-log_ratio < jax.random.exponential(k_accept, (n,), dtype))
    new = LatentChains(x, z, log_det, u)
    chains = jax.tree.map(lambda a, b: jnp.where(accept, a, b), new, chains)
    return chains, accept, is_global


@functools.partial(jax.jit, static_argnames=("generator", "target"))
def _encode(params: Params, x: Array, *, generator: Generator, target: Target) -> LatentChains:
    return encode(generator, params, x, target.reduced_energy(x))


@functools.partial(jax.jit, static_argnames=("generator", "target", "with_global", "frames"))
def _run(
    key: Key,
    params: Params,
    chains: LatentChains,
    moves: LatentMoves,
    *,
    generator: Generator,
    target: Target,
    with_global: bool,
    frames: tuple[int, int],
) -> tuple[Array, LatentChains, Array]:
    """Frames ``(n_kept, dim, n_chains)``, the chains, and accepted and made moves of each kind.

    ``frames`` is n_kept and the moves between two of them.
    """
    n_kept, stride = frames

    def move(i, carry):
        chains, counts = carry
        chains, accept, far = latent_move(
            jax.random.fold_in(key, i),
            generator,
            params,
            target,
            chains,
            moves,
            with_global=with_global,
        )
        made = jnp.stack([accept & ~far, ~far, accept & far, far]).astype(counts.dtype)
        return chains, counts + made

    def frame(carry, first):
        chains, counts = jax.lax.fori_loop(first, first + stride, move, carry)
        return (chains, counts), chains.x

    counts = jnp.zeros((4, chains.u.shape[0]), jnp.int32)
    (chains, counts), x = jax.lax.scan(frame, (chains, counts), stride * jnp.arange(n_kept))
    return x, chains, counts.astype(jnp.float32).sum(1)
