"""Compile time, time of a training step and scratch memory of the split flow of a protein.

    python benchmarks/bench_split_flow.py [--batch 32] [--scratch-batch 256] [--precision bfloat16] [--small]

The step is the mean negative log-likelihood of random data with its gradient, dropout included. Sizes are those of
protein G unless told otherwise: circular and linear variables of the backbone, then of the side chains. Seconds
are CPU seconds of the process (`time.process_time`), which a busy machine lengthens less than wall time; wall
seconds stand beside them. On an accelerator read the wall seconds. ``--conditioner mlp`` takes the baseline of as
many parameters.
"""

import argparse
import statistics
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from record import report

from jbg.flows import (
    GatedAttention,
    SplitFlowConfig,
    Tokens,
    baseline,
    count_parameters,
    split_base,
    split_flow,
)
from jbg.generator import Generator

PROTEIN_G = (110, 223, 40, 114)
SMALL = (6, 10, 2, 6)


class Seconds(NamedTuple):
    cpu: float
    wall: float


def clock() -> Seconds:
    return Seconds(time.process_time(), time.perf_counter())


def since(begin: Seconds) -> Seconds:
    return Seconds(*(round(a - b, 3) for a, b in zip(clock(), begin, strict=True)))


def made_up_tokens(sizes: tuple[int, ...]) -> Tokens:
    """A chain whose variables of each kind are spread evenly along it, about seven to a residue."""
    circular, linear, side_circular, side_linear = sizes
    n_places = circular + linear
    place = np.concatenate(
        [
            np.linspace(0, n_places - 1, n).astype(int)
            for n in (circular, side_circular, linear, side_linear)
        ]
    )
    return Tokens(
        place=place,
        residue=place // 7 * 7919 % 20,  # one of 20 classes for each residue
        kind=np.arange(len(place)) % 12,
        n_circular=circular + side_circular,
        n_backbone_circular=circular,
        n_backbone_linear=linear,
    )


def make_generator(args: argparse.Namespace) -> Generator:
    tokens = made_up_tokens(SMALL if args.small else tuple(args.sizes))
    n_backbone, n_joint = (4, 2) if args.small else args.couplings
    config = SplitFlowConfig(
        n_backbone_couplings=n_backbone,
        n_joint_couplings=n_joint,
        conditioner=GatedAttention(
            width=args.width, n_units=args.units, precision=args.precision, dropout=args.dropout
        ),
    )
    if args.conditioner == "mlp":
        config = baseline(tokens, config)
    return Generator(base=split_base(tokens, config), bijector=split_flow(tokens, config))


def bench(args: argparse.Namespace) -> None:
    """Reports compile time, step time and scratch."""
    generator = make_generator(args)
    settings = {
        "conditioner": args.conditioner,
        "precision": args.precision,
        "dim": generator.base.dim,
        "parameters": count_parameters(generator.bijector),
    }
    name = "split_flow_small" if args.small else "split_flow"

    def loss(params, x, key):
        return -generator.keyed(key).log_prob(params, x).mean()

    step, key = jax.jit(jax.value_and_grad(loss)), jax.random.key(0)
    begin = clock()
    params = jax.block_until_ready(jax.jit(generator.init)(key))
    spent = since(begin)
    report(f"{name}/init", spent.cpu, "CPU s", wall_seconds=spent.wall, **settings)
    for batch in sorted({args.batch, args.scratch_batch}):
        settings["batch"] = batch
        x = jax.ShapeDtypeStruct((generator.base.dim, batch), jnp.float32)
        begin = clock()
        compiled = step.lower(params, x, key).compile()
        spent = since(begin)
        report(f"{name}/compile", spent.cpu, "CPU s", wall_seconds=spent.wall, **settings)
        memory = compiled.memory_analysis()
        if memory is not None:
            report(f"{name}/scratch", memory.temp_size_in_bytes / 2**30, "GiB", **settings)
        if batch == args.batch:
            spent = time_step(compiled, params, generator, batch, repeats=args.repeats)
            report(f"{name}/step", spent.cpu, "CPU s", wall_seconds=spent.wall, **settings)


def time_step(compiled, params, generator: Generator, batch: int, *, repeats: int) -> Seconds:
    """Medians over steps, the first of which only warms up.

    Args:
        compiled: (params, x, key) -> (loss, gradient).
        params: of the generator.
        generator: its base makes the data.
        batch: number of events.
        repeats: number of steps that are timed.
    """
    x = generator.base.sample(jax.random.key(1), batch)
    times = []
    for i in range(repeats + 1):
        key = jax.random.key(i)
        begin = clock()
        value, _ = jax.block_until_ready(compiled(params, x, key))
        times.append(since(begin))
        if not jnp.isfinite(value):
            raise RuntimeError("the loss is not finite, so the timing means nothing")
    return Seconds(*(statistics.median(column) for column in zip(*times[1:], strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = ("BACKBONE_CIRCULAR", "BACKBONE_LINEAR", "SIDE_CIRCULAR", "SIDE_LINEAR")
    parser.add_argument("--sizes", type=int, nargs=4, default=PROTEIN_G, metavar=sizes)
    parser.add_argument(
        "--couplings", type=int, nargs=2, default=(48, 10), metavar=("BACKBONE", "JOINT")
    )
    parser.add_argument("--batch", type=int, default=32, help="events of the step that is timed")
    parser.add_argument(
        "--scratch-batch", type=int, default=256, help="events of a step that is only compiled"
    )
    parser.add_argument(
        "--conditioner", choices=("gated-attention", "mlp"), default="gated-attention"
    )
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--width", type=int, default=128, help="of the tokens")
    parser.add_argument("--units", type=int, default=1, help="attention units of each coupling")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--repeats", type=int, default=3, help="steps that are timed")
    parser.add_argument("--small", action="store_true", help="24 variables and 4 + 2 couplings")
    bench(parser.parse_args())


if __name__ == "__main__":
    main()
