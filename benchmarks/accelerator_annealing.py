"""Part of `bench_accelerator`: particles annealed from a flow of chignolin, which learns by example first."""

import argparse
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np
from accelerator_learning import fitted, keep_params, plain_weights, shown, stages_of
from accelerator_slice import STUDIED, Examples, Slice, examples_of, on_slice
from record import report

from jbg.analysis.annealed_weights import annealed_weights
from jbg.interfaces import Params
from jbg.sampling.annealing import anneal
from jbg.sampling.annealing_pilot import find_steps
from jbg.sampling.annealing_program import make_annealer
from jbg.sampling.annealing_settings import Annealing

Cases = Iterator[tuple[str, Callable[[], None]]]

SHARE = 0.45  # of the seconds is for learning


def annealing(args: argparse.Namespace) -> Cases:
    yield f"anneal/{STUDIED}", functools.partial(run_annealing, args)


def run_annealing(args: argparse.Namespace) -> None:
    """A flow learns by example for SHARE of the seconds; particles are then annealed for those left."""
    begin = time.monotonic()
    sliced = on_slice(args.prepared, args.small)
    examples = examples_of(args, sliced)
    params = jax.jit(sliced.flow.init)(jax.random.key(0))
    params = fitted("anneal", sliced, stages_of(args)[0], examples, params, SHARE * args.seconds)
    keep_params(args.work, params)
    anneal_for(args, sliced, examples, params, begin + args.seconds)


def anneal_for(
    args: argparse.Namespace, sliced: Slice, examples: Examples, params: Params, deadline: float
) -> None:
    """Levels and blocks such that they end at the deadline, timed on two levels after compilation.

    Args:
        args: of the script.
        sliced: density and flow.
        examples: their median energy is the reference of softening.
        params: of the flow.
        deadline: of `time.monotonic`.
    """
    batch = 32 if args.small else 2048
    few = Annealing(n_particles=batch, batch=batch, n_levels=2)
    annealer = make_annealer(
        sliced.flow, sliced.target, few, coords=sliced.coords, reference=examples.reference
    )
    begin = time.monotonic()
    steps = find_steps(jax.random.key(3), params, annealer)
    anneal(jax.random.key(4), params, annealer, steps)
    compile_seconds, begin = time.monotonic() - begin, time.monotonic()
    anneal(jax.random.key(4), params, annealer, steps)
    level = (time.monotonic() - begin) / (few.n_levels + 0.25)  # the start costs a quarter of one
    left = max(0.8 * (deadline - time.monotonic()), 0.0)
    n_levels = 4 if args.small else int(np.clip(left / (7 * level), 10, 100))
    n_blocks = 2 if args.small else int(np.clip(left / (n_levels * level) - 2, 1, 50))
    settings = dataclasses.replace(few, n_particles=n_blocks * batch, n_levels=n_levels)
    annealer, begin = dataclasses.replace(annealer, settings=settings), time.monotonic()
    steps = find_steps(jax.random.key(3), params, annealer)
    pilot, begin = time.monotonic() - begin, time.monotonic()
    found = anneal(jax.random.key(4), params, annealer, steps)
    took = time.monotonic() - begin
    counted = {"levels": n_levels, "n": settings.n_particles, "batch": batch}
    about = counted | {
        "pilot_seconds": round(pilot, 2),
        "compile_seconds": round(compile_seconds, 2),
    }
    name, n = f"anneal/{STUDIED}", settings.n_particles
    report(
        f"{name}/particles",
        n / took,
        "1/s",
        acceptance=round(float(found.acceptance.mean()), 3),
        **about,
    )
    report(f"{name}/energies", n * settings.evaluations_each / took, "energies+forces/s", **about)
    numbers = annealed_weights(found.log_w, found.block, evaluations=settings.evaluations)
    report(
        f"{name}/ess",
        numbers.ess_fraction,
        "of n",
        effective_per_second=shown(numbers.effective / (pilot + took)),
        per_million_energies=shown(numbers.per_million),
        largest_share=shown(numbers.largest_share),
        pareto_k=shown(numbers.pareto_k),
        log_z=shown(numbers.log_z),
        block_spread=shown(numbers.block_spread),
        **counted,
    )
    plain_weights("anneal", found.log_w_plain, counted)
