"""Part of `bench_accelerator`: a ladder of hybrid Monte Carlo on chignolin's slice, and what flows learn from it.

Coordinates were fitted to the short simulation of the prepared file, so figures of quality are those of its slice
and say how fast they are reached, no more.
"""

import argparse
import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from accelerator_file import Prepared, coordinates_of, load_all, target_of
from accelerator_training import spline_config
from record import report

from jbg.flows import normal, product, spline_flow, uniform
from jbg.generator import Generator, pull_back
from jbg.interfaces import Bijector, Target
from jbg.simulation.hmc_ladder import HmcLadder, initial_ladders, make_block
from jbg.simulation.torsion_jumps import torsion_jumps

Cases = Iterator[tuple[str, Callable[[], None]]]

STUDIED = "chignolin"
FRAMES = "ladder.npz"
TAUS = tuple(float(tau) for tau in np.geomspace(1.0, 2.0, 6))  # 300 to 600 K
LADDERS = 256
BLOCK, STRIDE, BURN_IN = 50, 5, 300


class Slice(NamedTuple):
    """The density on the slice, and the flow that learns it."""

    prepared: Prepared
    target: Target  # of x
    coords: Bijector
    flow: Generator  # of v


@functools.cache
def on_slice(path: Path, small: bool) -> Slice:  # noqa: FBT001
    prepared = load_all(path)[STUDIED]
    coords = coordinates_of(prepared)
    n = coords.n_circular, coords.n_linear
    flow = Generator(
        base=product(uniform(n[0]), normal(n[1])),
        bijector=spline_flow(*n, spline_config(small=small)),
    )
    return Slice(prepared, target_of(prepared), coords.bijector, flow)


def ladder(args: argparse.Namespace) -> Cases:
    n = 4 if args.small else LADDERS
    yield f"ladder/{n}", functools.partial(run_ladder, args, n)


def run_ladder(args: argparse.Namespace, n_ladders: int) -> None:
    """Blocks for a third of the seconds, to the end of burn-in at least; frames are kept for the flow."""
    sliced = on_slice(args.prepared, args.small)
    settings = HmcLadder(
        taus=TAUS,
        n_ladders=n_ladders,
        n_rounds=100_000,
        n_burn_in=20 if args.small else BURN_IN,
        block=10 if args.small else BLOCK,
        stride=STRIDE,
    )
    reduced = pull_back(sliced.target, sliced.coords)
    begin = time.perf_counter()
    state = initial_ladders(reduced, settings, spread_rows(sliced.prepared.v, n_ladders))
    block, key = (
        make_block(reduced, settings, torsion_jumps(sliced.prepared.fit)),
        jax.random.key(1),
    )
    state, _ = jax.block_until_ready(block(state, key))
    first, kept, times = time.perf_counter() - begin, [], []
    deadline = time.monotonic() + (2 if args.small else 0.35 * args.seconds)
    while time.monotonic() < deadline or not kept:
        begin = time.perf_counter()
        state, frames = jax.block_until_ready(block(state, key))
        times.append(time.perf_counter() - begin)
        if int(state.round) > settings.n_burn_in:
            kept.append(jax.device_get(frames.v))
    replicas = n_ladders * len(TAUS)
    energies = settings.block * (settings.n_leapfrog + settings.n_jumps) * replicas
    rounds = max(1, int(state.round) - settings.n_burn_in)
    report(
        f"ladder/{STUDIED}",
        energies / float(np.median(times)),
        "energies+forces/s",
        ladders=n_ladders,
        replicas=replicas,
        rounds=rounds,
        acceptance=round(float(np.mean(state.accepted)) / rounds, 3),
        swaps=round(float(np.sum(state.swapped) / max(float(np.sum(state.tried)), 1.0)), 3),
        compile_seconds=round(max(0.0, first - float(np.median(times))), 2),
    )
    np.savez(args.work / FRAMES, v=np.concatenate(kept).transpose(0, 2, 1))  # (n, L, dim)


def spread_rows(rows: np.ndarray, n: int) -> np.ndarray:
    """n of the rows, evenly."""
    return rows[np.linspace(0, len(rows) - 1, n).astype(int)]


class Examples(NamedTuple):
    """Rows ``(n, dim + 1)`` of v and its reduced energy, held-out v ``(n, dim)``, and the median energy of x."""

    rows: np.ndarray
    heldout: np.ndarray
    reference: float
    source: str


def examples_of(args: argparse.Namespace, sliced: Slice) -> Examples:
    """Frames of the ladders, the last eighth of these held out; those of the simulation where there are none."""
    found = args.work / FRAMES
    if found.exists():
        with np.load(found) as arrays:
            v, source = arrays["v"].transpose(1, 0, 2), "ladder"
    else:
        v, source = sliced.prepared.v[:, None], "simulation"
    split = max(1, len(v) // 8)
    train, heldout = (part.reshape(-1, v.shape[-1]) for part in (v[:-split], v[-split:]))

    @jax.jit
    def energies(v):
        x, log_det = sliced.coords.forward((), v)
        u = sliced.target.reduced_energy(x)
        return u, u - log_det

    train = train[:: max(1, len(train) // (512 if args.small else 65_536))]
    pieces = np.array_split(train, max(1, len(train) // 4096))
    size = max(map(len, pieces))
    parts = [
        jax.device_get(energies(jnp.asarray(np.resize(p, (size, p.shape[1])).T))) for p in pieces
    ]
    u_x, u_v = (
        np.concatenate([part[i][: len(p)] for part, p in zip(parts, pieces, strict=True)])
        for i in (0, 1)
    )
    good = np.isfinite(u_v)
    rows = np.column_stack([train, u_v])[good].astype(np.float32)
    return Examples(rows, heldout[:4096], float(np.median(u_x[good])), source)
