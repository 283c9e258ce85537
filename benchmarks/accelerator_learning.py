"""Part of `bench_accelerator`: chignolin's flow learns from its own samples, for the seconds left.

It goes on from the parameters that learning by example left before the annealing, from new ones where there are
none. Frames are those of the ladder (`accelerator_slice`), or of the prepared file where there are none.
"""

import argparse
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from accelerator_slice import STUDIED, Examples, Slice, examples_of, on_slice
from record import report

from jbg.flows import chain
from jbg.generator import Generator
from jbg.interfaces import Params
from jbg.reweighting import (
    drop_non_finite,
    ess_fraction,
    largest_weight_share,
    log_weights,
    log_z_estimate,
    pareto_k,
)
from jbg.sampling.generate import make_draw
from jbg.studies.protein.stages import make_stages
from jbg.training import Stage, begin_stage, device_mesh, make_chunk, replicate, stage_losses

Cases = Iterator[tuple[str, Callable[[], None]]]

PARAMS = "params.npz"
SHARE = 0.75  # of the seconds is for training; the rest for drawing


def learn(args: argparse.Namespace) -> Cases:
    yield f"learn/{STUDIED}", functools.partial(own_samples, args)


def own_samples(args: argparse.Namespace) -> None:
    """Own samples from where learning by example left, and what samples weigh then."""
    sliced = on_slice(args.prepared, args.small)
    examples = examples_of(args, sliced)
    params, (_, stage) = kept_params(args.work, sliced.flow), stages_of(args)
    params = fitted("learn", sliced, stage, examples, params, SHARE * args.seconds)
    draw(args, sliced, params, f"learn/{stage.name}")


def draw(args: argparse.Namespace, sliced: Slice, params: Any, name: str) -> None:
    """Samples a second with their energies, and the plain weights of a million at most.

    Args:
        args: of the script.
        sliced: density and flow.
        params: of the flow.
        name: of the figures.
    """
    batch, blocks = (64, 2) if args.small else (8192, 25)
    bijector = chain(sliced.flow.bijector, sliced.coords)
    generator = Generator(base=sliced.flow.base, bijector=bijector)
    block = make_draw(generator, sliced.target, batch)
    begin = time.perf_counter()
    keys = jax.random.split(jax.random.key(5), blocks)
    jax.block_until_ready(block((params, ()), keys[0]))
    first, begin = time.perf_counter() - begin, time.perf_counter()
    found = [jax.device_get(block((params, ()), key)[1:]) for key in keys]
    took = time.perf_counter() - begin
    log_q, u = (np.concatenate(part) for part in zip(*found, strict=True))
    settings = {"n": batch * blocks, "batch": batch}
    compile_seconds = round(max(0.0, first - took / blocks), 2)
    report(
        f"{name}/{STUDIED}/samples",
        len(u) / took,
        "1/s with energies",
        compile_seconds=compile_seconds,
        median_energy=shown(float(np.median(u))),
        **settings,
    )
    plain_weights(name, log_weights(u, log_q), settings)


def fitted(
    name: str, sliced: Slice, stage: Stage, examples: Examples, params: Params, seconds: float
) -> Params:
    """Averaged parameters after as many chunks of steps as the seconds allow, compilation included."""
    make_loss = stage_losses(
        sliced.flow, sliced.target, sliced.coords, columns=("u",), u_reference=examples.reference
    )
    begin, mesh, optimiser = time.monotonic(), device_mesh(), stage.optimiser()
    chunk = make_chunk(
        make_loss(stage, mesh),
        optimiser,
        mesh=mesh,
        data_batch=stage.batch_size,
        n_steps=stage.log_every,
        ema=stage.ema,
    )
    state = begin_stage(params, optimiser, jax.random.key(2))
    state, data = replicate((state, jnp.asarray(examples.rows)), mesh)
    compiled = chunk.lower(state, data).compile()
    compile_seconds, started, n, skipped = time.monotonic() - begin, time.monotonic(), 0, 0.0
    while n == 0 or (time.monotonic() < begin + seconds and n < stage.steps):
        state, logs = jax.block_until_ready(compiled(state, data))
        n, skipped = n + stage.log_every, skipped + float(logs["skipped"])
    took = time.monotonic() - started
    held = jax.jit(lambda params, v: -sliced.flow.log_prob(params, v).mean())
    report(
        f"{name}/{stage.name}",
        n / took,
        "steps/s",
        batch=stage.batch_size,
        steps=n,
        skipped=skipped,
        heldout_nll=shown(float(held(state.average, jnp.asarray(examples.heldout.T)))),
        frames=len(examples.rows),
        frames_of=examples.source,
        compile_seconds=round(compile_seconds, 2),
    )
    return state.average


def stages_of(args: argparse.Namespace) -> tuple[Stage, Stage]:
    """By example, then from own samples, both at a constant rate: they end when their time does."""
    batch, every = (32, 10) if args.small else (256, 100)
    stages = make_stages("own-samples", steps=20 if args.small else 20_000, batch=batch)
    change = {"decay": "none", "log_every": every, "eval_every": 0, "keep_best": False}
    by_example, own = (dataclasses.replace(stage, **change) for stage in stages)
    return by_example, own


def plain_weights(name: str, log_w: np.ndarray, settings: dict[str, Any]) -> None:
    """What the flow's own samples weigh."""
    log_w, n_invalid = drop_non_finite(log_w)
    report(
        f"{name}/{STUDIED}/plain_ess",
        ess_fraction(log_w),
        "of n",
        invalid=n_invalid,
        largest_share=shown(largest_weight_share(log_w)),
        pareto_k=shown(pareto_k(log_w)),
        log_z=shown(log_z_estimate(log_w).value),
        **settings,
    )


def shown(value: float) -> float | None:
    """With four digits; None where it is not finite, which JSON does not know."""
    return float(f"{value:.4g}") if np.isfinite(value) else None


def keep_params(work: Path, params: Params) -> None:
    np.savez(work / PARAMS, *jax.device_get(jax.tree.leaves(params)))


def kept_params(work: Path, flow: Generator) -> Params:
    """Those of the annealing, of a new flow where there are none."""
    params = jax.jit(flow.init)(jax.random.key(0))
    if not (work / PARAMS).exists():
        return params
    with np.load(work / PARAMS) as arrays:
        leaves = [jnp.asarray(arrays[name]) for name in arrays.files]
    return jax.tree.unflatten(jax.tree.structure(params), leaves)
