"""Part of `bench_accelerator`: training steps of the split flow with gated attention, its baseline, a spline flow.

Steps are those of `jbg.training` by example (optimiser, running average and dropout included) on random data.
Products of matrices are counted in the traced program, what is computed again for the gradient included; splines
and other arithmetic are not. Their share of the peak is that of the rate measured here for one large product: of
float32 as JAX has it by default (TF32 on such cards), and of bfloat16.
"""

import argparse
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from bench_split_flow import PROTEIN_G, made_up_tokens
from record import median_seconds, report

from jbg.flows import (
    MLP,
    GatedAttention,
    SplineFlowConfig,
    SplitFlowConfig,
    baseline,
    normal,
    product,
    spline_flow,
    split_base,
    split_flow,
    uniform,
)
from jbg.flows.split import count_parameters
from jbg.generator import Generator
from jbg.losses import NLL
from jbg.training import Stage, begin_stage, device_mesh, make_chunk, replicate, stage_losses

Cases = Iterator[tuple[str, Callable[[], None]]]

# variables: circular and linear of the backbone, then of the side chains; phi, psi and hydrogen rotors circular
SIZES = {"protein_g": PROTEIN_G, "hp35": (68, 138, 26, 69), "small": (4, 6, 2, 2)}
CHIGNOLIN = (10, 63)  # circular, linear
STEPS = 4  # of a call
ROWS = 4096  # of data
# in the order of their worth: flow, molecule, precision, batch
TESTS = (
    ("split", "protein_g", "float32", 256),
    ("split", "protein_g", "bfloat16", 256),
    ("spline", "chignolin", "float32", 256),
    ("split", "hp35", "bfloat16", 1024),
    ("split", "protein_g", "bfloat16", 1024),
    ("spline", "chignolin", "float32", 1024),
    ("split", "hp35", "float32", 256),
    ("split", "protein_g", "float32", 1024),
    ("split", "hp35", "bfloat16", 256),
    ("split", "hp35", "float32", 1024),
    ("spline", "chignolin", "bfloat16", 1024),
    ("baseline", "protein_g", "float32", 256),
    ("spline", "chignolin", "bfloat16", 256),
    ("baseline", "protein_g", "float32", 1024),
)
SMALL_TESTS = (("split", "small", "bfloat16", 16),)


def train(args: argparse.Namespace) -> Cases:
    peaks: dict[str, float] = {}
    side = 256 if args.small else 8192
    for precision in ("float32", "bfloat16"):
        yield f"train/product/{precision}", functools.partial(peak, peaks, precision, side)
    for flow, molecule, precision, batch in SMALL_TESTS if args.small else TESTS:
        case = functools.partial(steps, peaks, flow, molecule, precision, batch)
        yield f"train/{flow}/{molecule}/{precision}/{batch}", case


def peak(peaks: dict[str, float], precision: str, side: int) -> None:
    """Floating-point operations a second of a product of square matrices."""
    a = jax.random.normal(jax.random.key(0), (side, side), jnp.dtype(precision))
    seconds = median_seconds(functools.partial(jax.jit(lambda a: a @ a), a))
    peaks[precision] = 2 * side**3 / seconds
    report(f"train/product/{precision}", peaks[precision] / 1e12, "TFLOP/s", side=side)


def generator_of(flow: str, molecule: str, precision: str) -> Generator:
    """The flow of a test; the spline flow is that of chignolin's study."""
    if flow == "spline":
        bijector = spline_flow(*CHIGNOLIN, spline_config())
        base = product(uniform(CHIGNOLIN[0]), normal(CHIGNOLIN[1]))
        return Generator(base=base, bijector=bijector)
    tokens = made_up_tokens(SIZES[molecule])
    config = SplitFlowConfig(conditioner=GatedAttention(precision=precision))
    if molecule == "small":
        config = SplitFlowConfig(
            n_backbone_couplings=2,
            n_joint_couplings=2,
            n_bins=4,
            conditioner=GatedAttention(width=16, precision=precision),
        )
    if flow == "baseline":
        config = baseline(tokens, config)
    return Generator(base=split_base(tokens, config), bijector=split_flow(tokens, config))


def spline_config(*, small: bool = False) -> SplineFlowConfig:
    """Of the study of a protein, which trains 25 to 40 times faster on a CPU than gated attention."""
    if small:
        return SplineFlowConfig(
            n_blocks=1, n_circular_blocks=1, conditioner=MLP(hidden=(16,)), n_bins=4, floor=1e-2
        )
    return SplineFlowConfig(
        n_blocks=4, n_circular_blocks=2, conditioner=MLP(hidden=(128, 128)), floor=1e-2
    )


def steps(peaks: dict[str, float], flow: str, molecule: str, precision: str, batch: int) -> None:
    """Steps a second, operations, memory, compilation.

    Args:
        peaks: operations a second by precision.
        flow: "split", "baseline" or "spline".
        molecule: whose sizes.
        precision: of products of matrices; networks without such a setting get it from JAX.
        batch: events of a step.
    """
    generator = generator_of(flow, molecule, precision)
    by_jax = "bfloat16" if precision == "bfloat16" and flow != "split" else None
    stage = Stage(name="steps", steps=STEPS, log_every=STEPS, losses=(NLL(),), batch_size=batch)
    mesh, optimiser = device_mesh(), stage.optimiser()
    loss = stage_losses(generator, None)(stage, mesh)
    key = jax.random.key(0)
    chunk = make_chunk(loss, optimiser, mesh=mesh, data_batch=batch, n_steps=STEPS, ema=stage.ema)
    begin = time.perf_counter()
    with jax.default_matmul_precision(by_jax):
        params = jax.jit(generator.init)(key)
        state, data = replicate(
            (begin_stage(params, optimiser, key), generator.base.sample(key, ROWS).T), mesh
        )
        init_seconds, begin = time.perf_counter() - begin, time.perf_counter()
        traced = chunk.trace(state, data)
        trace_seconds, begin = time.perf_counter() - begin, time.perf_counter()
        compiled = traced.lower().compile()
    compile_seconds, memory = time.perf_counter() - begin, compiled.memory_analysis()

    def call() -> dict[str, jax.Array]:
        nonlocal state  # each chunk donates the state it is given
        state, logs = compiled(state, data)
        return logs

    seconds = median_seconds(call, repeats=3) / STEPS
    logs = call()
    if not np.isfinite(logs["loss"]) or logs["skipped"]:
        raise RuntimeError("training steps were skipped, so the timing means nothing")
    work = product_operations(traced.jaxpr) / STEPS
    report(
        f"train/{flow}/{molecule}",
        1 / seconds,
        "steps/s",
        batch=batch,
        precision=precision,
        dim=generator.base.dim,
        parameters=count_parameters(generator.bijector),
        samples_per_second=round(batch / seconds),
        product_gflop=round(work / 1e9, 3),
        share_of_peak=round(work / seconds / peaks[precision], 5) if precision in peaks else None,
        temporary_mib=memory and round(memory.temp_size_in_bytes / 2**20, 1),
        init_seconds=round(init_seconds, 2),
        trace_seconds=round(trace_seconds, 2),
        compile_seconds=round(compile_seconds, 2),
    )


def product_operations(program: Any) -> float:
    """Additions and multiplications of the products of matrices in a jaxpr: 2 M N K of each, loops by their
    lengths (1 where it is not known), of branches the largest."""
    total = 0.0
    for equation in getattr(program, "jaxpr", program).eqns:
        name, settings = equation.primitive.name, equation.params
        if name == "dot_general":
            (contracted, _), _ = settings["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            summed = np.prod([shape[i] for i in contracted])
            total += 2.0 * summed * np.prod(equation.outvars[0].aval.shape)
            continue
        parts = [part for value in settings.values() for part in _programs(value)]
        found = [product_operations(part) for part in parts]
        if name == "cond":
            total += max(found, default=0.0)
        else:
            total += settings.get("length", 1) * sum(found) if name == "scan" else sum(found)
    return total


def _programs(value: Any) -> list[Any]:
    """Jaxprs that a setting of an equation holds."""
    if isinstance(value, tuple | list):
        return [part for each in value for part in _programs(each)]
    return [value] if hasattr(value, "eqns") or hasattr(value, "jaxpr") else []
